"""Plans, sessions and kernels on a real GPU, skipped elsewhere.

`jdetrt selftest gpu` runs them; docs/guide/gpu.md says what has been run.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jdetrt.engine.cuda.api import CudaMemoryError, free_later, open_cuda
from jdetrt.engine.cuda.letterbox import LetterboxKernel
from jdetrt.engine.tensorrt.compat import TensorRt
from jdetrt.engine.tensorrt.plan import sidecar_path
from jdetrt.engine.tensorrt.session import TensorRtSession
from jdetrt.errors import PlanMismatchError, SessionError
from jdetrt.runtime.input_buffer import BufferedSession
from jdetrt.runtime.preprocess import Letterbox, letterbox
from jdetrt.types import Array

pytestmark = pytest.mark.gpu

SIZE = (128, 64)
# TensorRT may multiply float32 as TF32, with 10 bits of mantissa; INT8 differs in how it rounds.
LIMITS = {"fp32": 0.02, "fp16": 0.05, "int8": 0.2}
_MIB = 1 << 20


def _images(seed: int = 0) -> Array:
    return np.random.default_rng(seed).random((1, 3, 64, 128), np.float32)


def _picture(width: int, height: int) -> Array:
    rng = np.random.default_rng((width, height))
    return rng.integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_plan_gives_what_onnx_runtime_gives(
    precision: str, plans: dict[str, Path], models: dict[str, Path], library: str
) -> None:
    pytest.importorskip("onnxruntime", reason="ONNX Runtime, which is compared with, is missing")
    from jdetrt.engine.onnxruntime import OrtSession

    with (
        TensorRtSession(plans[precision]) as session,
        OrtSession(models[precision], provider="cpu") as reference,
    ):
        assert session.metadata["precision"] == precision
        for seed in range(5):
            got = session.infer({"images": _images(seed)})
            wanted = reference.infer({"images": _images(seed)})
            for name, array in wanted.items():
                assert got[name].shape == array.shape
                np.testing.assert_allclose(got[name], array, atol=LIMITS[precision], rtol=0)
        assert session.last_run_seconds is not None
        assert session.last_run_seconds > 0


def test_runs_are_repeatable_and_outputs_belong_to_the_caller(
    plans: dict[str, Path], library: str
) -> None:
    with TensorRtSession(plans["fp32"]) as session:
        first = session.infer({"images": _images(1)})
        kept = {name: array.copy() for name, array in first.items()}
        other = session.infer({"images": _images(2)})
        again = session.infer({"images": _images(1)})
    for name, array in kept.items():
        np.testing.assert_array_equal(first[name], array)
        np.testing.assert_array_equal(again[name], array)
        assert not np.array_equal(other[name], array)


@pytest.mark.parametrize("on_gpu", [False, True])
def test_frames_through_buffers(on_gpu: bool, plans: dict[str, Path], library: str) -> None:
    sizes = [(128, 64), (192, 108), (640, 480), (1920, 1080), (101, 77), (192, 108)]
    pictures = [_picture(*size) for size in sizes] * 5
    with TensorRtSession(plans["fp32"], gpu_letterbox=on_gpu) as session:
        assert isinstance(session, BufferedSession)
        buffers = session.frame_buffers(SIZE, 3)
        free, ready = threading.Semaphore(3), threading.Semaphore(0)

        def read() -> None:
            for i, picture in enumerate(pictures):
                assert free.acquire(timeout=60)
                buffers[i % 3].fill(picture)
                ready.release()

        reader = threading.Thread(target=read)
        reader.start()
        results = []
        for i in range(len(pictures)):
            assert ready.acquire(timeout=60)
            buffers[i % 3].submit()
            results.append(session.wait())
            free.release()
        reader.join()
        for picture, outputs in zip(pictures, results, strict=True):
            wanted = session.infer({"images": letterbox(picture, SIZE)[0][None]})
            for name, array in wanted.items():
                if on_gpu:  # a level of 255 more or less here and there
                    np.testing.assert_allclose(outputs[name], array, atol=0.05)
                else:
                    np.testing.assert_array_equal(outputs[name], array)


@pytest.mark.parametrize("graphs", [False, True])
def test_a_frame_queues_behind_the_one_at_work(
    graphs: bool, plans: dict[str, Path], library: str
) -> None:
    pictures = [_picture(640 + 2 * i, 480) for i in range(30)]
    with TensorRtSession(plans["fp32"], graphs=graphs) as session:
        buffers = session.frame_buffers(SIZE, 3)
        alone = []
        for picture in pictures:
            buffers[0].fill(picture)
            buffers[0].submit()
            alone.append(session.wait())
        queued = []
        for i, picture in enumerate(pictures):
            buffers[i % 3].fill(picture)
            if i >= session.depth:
                queued.append(session.wait())
            buffers[i % 3].submit()
        queued += [session.wait() for _ in range(session.depth)]
        assert min(session.last_stage_seconds.values()) > 0
    for one, other in zip(alone, queued, strict=True):
        for name, array in one.items():
            np.testing.assert_array_equal(other[name], array)


def test_a_cuda_graph_gives_the_same(plans: dict[str, Path], library: str) -> None:
    with (
        TensorRtSession(plans["fp16"], graphs=False) as plain,
        TensorRtSession(plans["fp16"]) as replayed,
    ):
        for seed in range(6):
            wanted = plain.infer({"images": _images(seed)})
            got = replayed.infer({"images": _images(seed)})
            for name, array in wanted.items():
                np.testing.assert_array_equal(got[name], array)
        (buffer,) = replayed.frame_buffers(SIZE, 1)
        picture = _picture(128, 64)
        buffer.fill(picture)
        buffer.submit()
        got = replayed.wait()
        wanted = plain.infer({"images": letterbox(picture, SIZE)[0][None]})
        for name, array in wanted.items():
            np.testing.assert_array_equal(got[name], array)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("network", [(1088, 608), (864, 480), (576, 320)])
@pytest.mark.parametrize("size", [(1920, 1080), (960, 540), (640, 480), (320, 180), (1279, 719)])
def test_the_letterbox_of_the_gpu_is_that_of_opencv(
    size: tuple[int, int], network: tuple[int, int], dtype: str, library: str
) -> None:
    cuda = open_cuda()
    if not cuda.has_kernels():
        pytest.skip(f"{library} finds no compiler for kernels")
    picture = _picture(*size)
    fit = Letterbox.fit(size, network)
    shape = (3, network[1], network[0])
    with cuda.current(), ExitStack() as cleanup:
        stream = free_later(cleanup, cuda.stream())
        kernel = free_later(cleanup, LetterboxKernel(cuda, dtype))
        up = free_later(cleanup, cuda.pinned(picture.shape, "uint8"))
        down = free_later(cleanup, cuda.pinned(shape, dtype))
        image = free_later(cleanup, cuda.buffer(up.array.nbytes))
        out = free_later(cleanup, cuda.buffer(down.array.nbytes))
        up.array[:] = picture
        cuda.upload(image, up.array, stream)
        kernel.bind(image, out, fit)(stream)
        cuda.download(down.array, out, stream)
        stream.synchronize()
        tensor = down.array.astype(np.float64)
    cuda.close()
    reference, _ = letterbox(picture, network)
    difference = np.abs(np.rint(tensor * 255) - np.rint(reference * 255.0))
    # As in tests/engine/test_cuda_preprocess.py, where the same source runs on the CPU.
    upwards = fit.gain > 1
    assert difference.mean() < (0.3 if upwards else 0.002)
    assert (difference > 1).mean() <= (0.005 if upwards else 0)


def test_memory_is_given_back(plans: dict[str, Path], library: str) -> None:
    cuda = open_cuda()

    def free_memory() -> int:
        with cuda.current():
            return cuda.memory()[0]

    def run() -> None:
        with TensorRtSession(plans["fp32"]) as session:
            (buffer,) = session.frame_buffers(SIZE, 1)
            buffer.fill(_picture(1920, 1080))
            buffer.submit()
            session.wait()
            use = session.memory()
            assert 0 < use.buffers <= use.peak
            assert use.free < use.total

    run()  # loads the libraries' own code, which stays
    before = free_memory()
    for _ in range(10):
        run()
    assert before - free_memory() < 16 * _MIB
    cuda.close()


def test_not_enough_memory(plans: dict[str, Path], library: str) -> None:
    with TensorRtSession(plans["fp32"]):
        pass  # the libraries are loaded
    cuda = open_cuda()
    hoard: list[Any] = []
    try:
        with cuda.current():
            for size in (1024 * _MIB, 64 * _MIB, 4 * _MIB, _MIB // 4):
                with suppress(CudaMemoryError):
                    while True:
                        hoard.append(cuda.buffer(size))
        with pytest.raises(SessionError) as caught:
            TensorRtSession(plans["fp32"])
        assert "fp32.plan" in str(caught.value)
        assert "memory" in str(caught.value).lower()
    finally:
        with cuda.current():
            for buffer in hoard:
                buffer.free()
        cuda.close()
    with TensorRtSession(plans["fp32"]) as session:
        session.infer({"images": _images()})


def test_damaged_plans(plans: dict[str, Path], tmp_path: Path, library: str) -> None:
    plan = tmp_path / "cut.plan"
    data = plans["fp32"].read_bytes()
    sidecar_path(plan).write_bytes(sidecar_path(plans["fp32"]).read_bytes())
    plan.write_bytes(data[: len(data) // 2])
    with pytest.raises(PlanMismatchError, match="cut short"):
        TensorRtSession(plan)
    plan.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(PlanMismatchError, match="changed"):
        TensorRtSession(plan)


def test_what_tensorrt_says_of_a_file_that_is_no_plan(
    plans: dict[str, Path], tmp_path: Path, library: str, trt: TensorRt
) -> None:
    """Past our own checks: TensorRT's refusal becomes one error, with its reason."""
    from jdetrt.engine.tensorrt.compat import Log, deserialize

    cuda = open_cuda()
    data = plans["fp32"].read_bytes()
    with cuda.current():
        for wrong in (b"not a plan at all", data[: len(data) // 2]):
            with pytest.raises(SessionError, match=r"refuses the plan: .+"):
                deserialize(trt, Log(trt), wrong, host_code=False)
    cuda.close()
