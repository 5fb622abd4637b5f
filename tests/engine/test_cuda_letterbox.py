"""The CUDA letterbox, compiled for the CPU, against OpenCV's and against the exact mean.

The source is the very one that a GPU compiles; here the compiler of the host does, and every thread
runs in turn (tests/oracles/host_cuda.py).
"""

from __future__ import annotations

import itertools
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from fake_cuda import FakeCuda
from host_cuda import COMPILER, host_kernel
from hypothesis import given, settings
from hypothesis import strategies as st

from jdetrt.engine.cuda import letterbox as cuda_preprocess
from jdetrt.engine.cuda.letterbox import SOURCE, LetterboxKernel, letterbox_arguments
from jdetrt.runtime.pixels import Pixels, RawImage
from jdetrt.runtime.preprocess import BORDER, Letterbox, letterbox
from jdetrt.synthetic.clip import SyntheticClip
from jdetrt.types import Array

needs_compiler = pytest.mark.skipif(
    COMPILER is None, reason="no C++ compiler here (Debian: apt-get install g++)"
)
NETWORKS = [(1088, 608), (864, 480), (576, 320)]
SOURCES = [(1920, 1080), (960, 540), (640, 480), (3840, 2160), (320, 180), (1279, 719), (101, 997)]


def _noise(size: tuple[int, int]) -> Array:
    """The hardest of pictures: neighbours have nothing in common."""
    return np.random.default_rng(size).integers(0, 256, (size[1], size[0], 3), np.uint8)


def _smooth(size: tuple[int, int]) -> Array:
    """A picture whose neighbours are alike, as a camera's are."""
    return cv2.GaussianBlur(_noise(size), (0, 0), 3.0)


def _on_host(
    image: Array, network: tuple[int, int], dtype: str = "float32", pixels: Pixels = "bgr"
) -> Array:
    """What the kernel gives, through the launch of a GPU."""
    out = np.full((3, network[1], network[0]), np.nan, dtype)
    fit = Letterbox.fit(RawImage(image, pixels).size, network)
    name = f"letterbox_{pixels}_{dtype}"

    def run(cuda: FakeCuda, grid: object, block: object, arguments: object) -> None:
        numbers = letterbox_arguments(image.ctypes.data, out.ctypes.data, fit)
        numbers[2:] = list(arguments)[2:]  # type: ignore[call-overload]
        host_kernel(SOURCE, name)(grid, block, numbers)  # type: ignore[arg-type]

    cuda: Any = FakeCuda(kernels={name: run})
    with cuda.current():
        kernel, stream = LetterboxKernel(cuda, dtype, pixels), cuda.stream()
        kernel.bind(cuda.buffer(1), cuda.buffer(1), fit)(stream)
        stream.synchronize()
        kernel.free()
    return out


def _levels(tensor: Array) -> Array:
    return np.rint(tensor.astype(np.float64) * 255)


def _means(n: int, m: int) -> Array:
    """``(m, n)``: how much each of n source pixels weighs in each of m, by area; written out."""
    edges = np.arange(m + 1) * n / m
    cells = np.arange(n)
    overlap = np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells)
    weights: Array = np.clip(overlap, 0, None) * m / n
    return weights


@needs_compiler
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("size", SOURCES)
def test_is_the_letterbox_of_opencv(size: tuple[int, int], network: tuple[int, int]) -> None:
    image = _smooth(size)
    reference, fit = letterbox(image, network)
    tensor = _on_host(image, network)
    difference = np.abs(_levels(tensor) - _levels(reference))
    upwards = fit.gain > 1
    # OpenCV rounds its weights: to 1/2048 upwards, to float32 downwards.
    assert difference.mean() < (0.15 if upwards else 0.002)
    # Where a position is a whole number, OpenCV's floating point may fall short of it and take the
    # pixel before: single rows or columns, upwards.
    assert (difference > 1).mean() <= (0.005 if upwards else 0)
    # The border is the same to the bit.
    border = np.ones(tensor.shape[1:], bool)
    inside = np.s_[
        fit.top : fit.top + fit.resized_size[1], fit.left : fit.left + fit.resized_size[0]
    ]
    border[inside] = False
    np.testing.assert_array_equal(tensor[:, border], np.float32(BORDER) / np.float32(255))


@needs_compiler
@pytest.mark.parametrize(
    ("size", "network"),
    [((1920, 1080), (864, 480)), ((960, 540), (1088, 608)), ((640, 480), (576, 320))],
)
def test_is_the_mean_over_the_area(size: tuple[int, int], network: tuple[int, int]) -> None:
    image = _noise(size)
    fit = Letterbox.fit(size, network)
    columns, rows = (_means(n, m) for n, m in zip(size, fit.resized_size, strict=True))
    exact = np.stack([rows @ image[:, :, c].astype(np.float64) @ columns.T for c in (2, 1, 0)])
    y, x = fit.top, fit.left
    inside = _on_host(image, network)[:, y : y + exact.shape[1], x : x + exact.shape[2]]
    assert np.abs(_levels(inside) - exact).max() < 0.5 + 1e-4  # float32 holds 255 to 1.5e-5


@needs_compiler
@pytest.mark.parametrize("size", [(576, 320), (1152, 640)])
def test_is_the_same_to_the_bit_where_weights_need_no_rounding(size: tuple[int, int]) -> None:
    image = _noise(size)
    network = (576, 320)
    np.testing.assert_array_equal(_on_host(image, network), letterbox(image, network)[0])


@needs_compiler
@settings(max_examples=60)
@given(
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    network=st.tuples(st.integers(1, 70), st.integers(1, 70)),
)
def test_any_size(size: tuple[int, int], network: tuple[int, int]) -> None:
    image = _noise(size)
    fit = Letterbox.fit(size, network)
    tensor = _on_host(image, network)
    columns, rows = (_means(n, m) for n, m in zip(size, fit.resized_size, strict=True))
    exact = np.stack([rows @ image[:, :, c].astype(np.float64) @ columns.T for c in (2, 1, 0)])
    # A border may be a pixel short of the resized size, when both sides are rounded down.
    y, x = max(fit.top, 0), max(fit.left, 0)
    inside = tensor[:, y : y + exact.shape[1], x : x + exact.shape[2]]
    exact = exact[:, y - fit.top :, x - fit.left :][:, : inside.shape[1], : inside.shape[2]]
    assert np.abs(_levels(inside) - exact).max() < 0.5 + 1e-4


@needs_compiler
def test_half_precision_is_that_of_numpy() -> None:
    image = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 256, 3).repeat(8, axis=0)
    full, half = (_on_host(image, (256, 8), dtype) for dtype in ("float32", "float16"))
    assert len(np.unique(full)) == 256
    np.testing.assert_array_equal(half, full.astype(np.float16))


def _nv12(size: tuple[int, int], seed: int = 0) -> Array:
    """Noise within the limited range: any luma beside any chroma."""
    width, height = size
    rng = np.random.default_rng(seed)
    luma = rng.integers(16, 236, (height, width), np.uint8)
    chroma = rng.integers(16, 241, (height // 2, width), np.uint8)
    return np.concatenate([luma, chroma])


@needs_compiler
def test_bgrx_is_bgr_to_the_bit() -> None:
    image = _noise((640, 480))
    fourth = np.random.default_rng(1).integers(0, 256, (480, 640, 1), np.uint8)
    bgrx = np.concatenate([image, fourth], -1)
    for dtype in ("float32", "float16"):
        got = _on_host(bgrx, (576, 320), dtype, "bgrx")
        np.testing.assert_array_equal(got, _on_host(image, (576, 320), dtype))


@needs_compiler
@pytest.mark.parametrize("size", [(576, 320), (64, 36)])
def test_nv12_is_that_of_opencv(size: tuple[int, int]) -> None:
    """OpenCV knows BT.601 alone."""
    image = _nv12(size)
    bgr: Any = cv2.cvtColor(image, cv2.COLOR_YUV2BGR_NV12)
    wanted, _ = letterbox(bgr, size)
    got = _on_host(image, size, pixels="nv12_bt601")
    assert np.abs(_levels(got) - _levels(wanted)).max() <= 1


@needs_compiler
@pytest.mark.parametrize(("pixels", "matrix"), [("nv12_bt601", "bt601"), ("nv12_bt709", "bt709")])
def test_nv12_is_that_of_ffmpeg(pixels: Pixels, matrix: str) -> None:
    """FFmpeg's exact path; its fast one is up to three levels too dark."""
    av = pytest.importorskip("av", reason="PyAV is not installed")
    size = (576, 320)
    image = _nv12(size)
    graph = av.filter.Graph()
    exact = "flags=neighbor+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"
    steps = [
        graph.add_buffer(width=size[0], height=size[1], format="nv12", time_base=Fraction(1, 30)),
        graph.add("scale", f"in_color_matrix={matrix}:in_range=tv:out_range=pc:{exact}"),
        graph.add("format", "pix_fmts=gbrp"),
        graph.add("buffersink"),
    ]
    for step, following in itertools.pairwise(steps):
        step.link_to(following)
    graph.configure()
    graph.push(av.VideoFrame.from_ndarray(image, format="nv12"))
    rgb = graph.pull().to_ndarray(format="gbrp")
    got = _levels(_on_host(image, size, pixels=pixels)).transpose(1, 2, 0)
    assert np.abs(got - rgb).max() <= 1


@needs_compiler
@pytest.mark.parametrize("pixels", ["nv12_bt601", "nv12_bt709"])
def test_nv12_by_the_formula_of_its_standard(pixels: Pixels) -> None:
    """ITU-R BT.601-7 and BT.709-6 written out in double precision, also beyond the limits."""
    red, blue = {"nv12_bt601": (0.299, 0.114), "nv12_bt709": (0.2126, 0.0722)}[pixels]
    size = (64, 36)
    image = np.random.default_rng(4).integers(0, 256, (54, 64), np.uint8)
    luma = (image[:36].astype(float) - 16) / 219
    chroma = (image[36:].reshape(18, 32, 2).astype(float) - 128) / 224
    u, v = chroma.repeat(2, 0).repeat(2, 1).transpose(2, 0, 1)
    r, b = luma + 2 * (1 - red) * v, luma + 2 * (1 - blue) * u
    g = (luma - red * r - blue * b) / (1 - red - blue)
    wanted = np.clip(np.stack([r, g, b]) * 255, 0, 255)
    assert np.abs(_levels(_on_host(image, size, pixels=pixels)) - wanted).max() < 0.501


@needs_compiler
def test_nv12_is_averaged_over_the_area_as_its_bgr() -> None:
    image = _nv12((640, 360))
    own = _levels(_on_host(image, (640, 360), pixels="nv12_bt709")).transpose(1, 2, 0)
    bgr = np.ascontiguousarray(own[:, :, ::-1]).astype(np.uint8)
    for network in ((576, 320), (200, 300)):
        got = _on_host(image, network, pixels="nv12_bt709")
        np.testing.assert_array_equal(got, _on_host(bgr, network))


@needs_compiler
def test_a_rendered_scene() -> None:
    """Nearly all levels of a picture as a camera gives it are those of OpenCV."""
    frame, _ = next(iter(SyntheticClip(frames=1, size=(1920, 1080), seed=3)))
    image = frame.image
    difference = np.abs(
        _levels(_on_host(image, (576, 320))) - _levels(letterbox(image, (576, 320))[0])
    )
    assert difference.max() <= 1
    assert difference.mean() < 0.001


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not installed")
def test_it_compiles_for_a_jetson(tmp_path: Path) -> None:
    source = tmp_path / "letterbox.cu"
    source.write_text(cuda_preprocess.SOURCE)
    command = ["nvcc", "-arch=sm_87", "--cubin", "-Werror", "all-warnings", "-o"]
    subprocess.run([*command, str(tmp_path / "letterbox.cubin"), str(source)], check=True)
    cubin = (tmp_path / "letterbox.cubin").read_bytes()
    assert b"letterbox_bgr_float32" in cubin
    assert b"letterbox_bgr_float16" in cubin
