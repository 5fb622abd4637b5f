from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jdetrt.errors import DataError
from jdetrt.runtime.preprocess import Letterbox, letterbox, to_source

SIZES = st.tuples(st.integers(1, 4000), st.integers(1, 4000))


@pytest.mark.parametrize(
    ("source", "network", "resized", "borders"),
    [  # golden: measured with the reference's own function
        ((1920, 1080), (1088, 608), (1081, 608), (3, 4, 0, 0)),
        ((1920, 1080), (864, 480), (853, 480), (5, 6, 0, 0)),
        ((1920, 1080), (576, 320), (569, 320), (3, 4, 0, 0)),
        ((640, 480), (1088, 608), (811, 608), (138, 139, 0, 0)),
    ],
)
def test_golden_letterbox(
    source: tuple[int, int],
    network: tuple[int, int],
    resized: tuple[int, int],
    borders: tuple[int, int, int, int],
) -> None:
    fit = Letterbox.fit(source, network)
    assert fit.resized_size == resized
    assert (fit.left, fit.right, fit.top, fit.bottom) == borders


@pytest.mark.parametrize(
    ("network", "expected"),
    [  # golden
        ((1088, 608), (348.947, 177.632, 455.526, 497.368)),
        ((864, 480), (438, 225, 573, 630)),
        ((576, 320), (663, 337.5, 865.5, 945)),
    ],
)
def test_golden_inverse(network: tuple[int, int], expected: tuple[float, ...]) -> None:
    fit = Letterbox.fit((1920, 1080), network)
    box = np.array([[200, 100, 260, 280]], np.float32)
    mapped = to_source(box, fit)
    assert mapped.dtype == np.float32
    np.testing.assert_allclose(mapped[0], expected, atol=1e-3)


def test_the_inverse_clamps_below_only_and_leaves_its_input_alone() -> None:
    fit = Letterbox.fit((640, 480), (1088, 608))
    box = np.array([[0, -5, 2000, 700]], np.float32)
    before = box.copy()
    x1, y1, x2, y2 = to_source(box, fit)[0]
    assert (x1, y1) == (0, 0)
    assert x2 > 640
    assert y2 > 480
    np.testing.assert_array_equal(box, before)


@given(source=SIZES, network=SIZES)
def test_the_picture_and_its_borders_fill_the_input(
    source: tuple[int, int], network: tuple[int, int]
) -> None:
    fit = Letterbox.fit(source, network)
    assert fit.left + fit.resized_size[0] + fit.right == network[0]
    assert fit.top + fit.resized_size[1] + fit.bottom == network[1]
    assert min(fit.left, fit.right, fit.top, fit.bottom) >= 0
    # The whole picture mapped into the network and back is itself.
    corners = np.array(
        [
            fit.pad_x,
            fit.pad_y,
            fit.pad_x + source[0] * fit.gain,
            fit.pad_y + source[1] * fit.gain,
        ],
        np.float32,
    )
    back = to_source(corners[None], fit)[0]
    np.testing.assert_allclose(back, (0, 0, *source), atol=2e-3 / fit.gain + 1e-3)


def _by_numpy(image: np.ndarray, network: tuple[int, int]) -> np.ndarray:
    """The reference's steps with OpenCV and NumPy: resize, border, RGB, CHW, divide."""
    height, width = image.shape[:2]
    ratio = min(network[1] / height, network[0] / width)
    size = round(width * ratio), round(height * ratio)
    dw, dh = (network[0] - size[0]) / 2, (network[1] - size[1]) / 2
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    image = cv2.copyMakeBorder(
        image,
        round(dh - 0.1),
        round(dh + 0.1),
        round(dw - 0.1),
        round(dw + 0.1),
        cv2.BORDER_CONSTANT,
        value=(127.5, 127.5, 127.5),
    )
    planes = np.ascontiguousarray(image[:, :, ::-1].transpose(2, 0, 1), np.float32)
    planes /= 255.0
    return planes


@pytest.mark.parametrize("source", [(192, 108), (64, 48), (60, 90), (64, 32), (1, 1), (31, 200)])
def test_equals_the_steps_written_out_bit_for_bit(source: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (source[1], source[0], 3), np.uint8)
    tensor, fit = letterbox(image, (64, 32))
    assert tensor.dtype == np.float32
    assert tensor.flags.c_contiguous
    assert fit == Letterbox.fit(source, (64, 32))
    np.testing.assert_array_equal(tensor, _by_numpy(image, (64, 32)))


def test_every_value_is_exactly_a_255th() -> None:
    image = np.arange(256, dtype=np.uint8).repeat(3).reshape(8, 32, 3)
    tensor, _ = letterbox(image, (32, 8))
    values = np.arange(256, dtype=np.float32) / np.float32(255)
    np.testing.assert_array_equal(tensor[0].ravel(), values)


def test_a_buffer_is_filled_whole_and_given_back() -> None:
    image = np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8)
    out = np.full((3, 32, 96), np.nan, np.float32)
    tensor, _ = letterbox(image, (96, 32), out=out)
    assert tensor is out
    np.testing.assert_array_equal(out, letterbox(image, (96, 32))[0])


def test_takes_a_view_and_does_not_change_it() -> None:
    whole = np.random.default_rng(2).integers(0, 256, (64, 128, 3), np.uint8)
    view = whole[:32, 64:]
    before = whole.copy()
    tensor, _ = letterbox(view, (64, 32))
    np.testing.assert_array_equal(tensor, letterbox(view.copy(), (64, 32))[0])
    np.testing.assert_array_equal(whole, before)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((10, 10), np.uint8),
        np.zeros((10, 10, 4), np.uint8),
        np.zeros((10, 10, 3), np.float32),
        np.zeros((0, 0, 3), np.uint8),
    ],
)
def test_refuses_other_pictures(image: np.ndarray) -> None:
    with pytest.raises(DataError, match="expected"):
        letterbox(image, (64, 32))


@pytest.mark.parametrize(
    "out", [np.zeros((3, 32, 65), np.float32), np.zeros((3, 32, 64)), np.zeros((3, 32, 128), "f4")]
)
def test_refuses_other_buffers(out: np.ndarray) -> None:
    if out.shape[2] == 128:
        out = out[:, :, ::2]  # of the right shape, not contiguous
    with pytest.raises(DataError, match="out: expected contiguous float32"):
        letterbox(np.zeros((8, 8, 3), np.uint8), (64, 32), out=out)
