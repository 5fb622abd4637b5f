"""Letterbox: from an image to the network's input, and boxes back to the pixels of the image.

The letterbox is the reference's (Towards-Realtime-MOT e9fa1e8, utils/datasets.py and
utils/utils.py): resize with INTER_AREA to the largest size that fits, grey to the left and right
or above and below, then BGR to RGB and 0..255 to 0..1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from jdetrt.errors import DataError
from jdetrt.runtime.jit import kernel
from jdetrt.runtime.opencv import load_cv2
from jdetrt.types import Size

__all__ = ["Letterbox", "letterbox", "to_source"]

BORDER = 128  # the reference writes 127.5, which OpenCV rounds for uint8

# value / 255 in float32, exactly: a multiplication by 1/255 differs in the last bit.
_UNIT = np.arange(256, dtype=np.float32) / np.float32(255)


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Place of an image inside the network's input.

    Attributes:
        source_size: width and height of the image, in pixels.
        network_size: width and height of the network's input, in pixels.
        resized_size: width and height of the image inside the input, whole pixels.
        left: border columns on the left; ``right``, ``top`` and ``bottom`` likewise.
        gain: network pixels per source pixel.
        pad_x: border on the left as the inverse mapping takes it, from sizes that were not
            rounded. It is up to half a pixel from ``left``; so it is in the reference, and with it
            trained boxes fit.
        pad_y: the same for the border above.
    """

    source_size: tuple[int, int]
    network_size: tuple[int, int]
    resized_size: tuple[int, int]
    left: int
    right: int
    top: int
    bottom: int
    gain: float
    pad_x: float
    pad_y: float

    @classmethod
    def fit(cls, source_size: tuple[int, int], network_size: tuple[int, int]) -> Letterbox:
        """Fit an image of ``source_size`` (width, height) into ``network_size`` (width, height).

        Raises:
            DataError: a width or height below 1.

        >>> box = Letterbox.fit((1920, 1080), (1088, 608))
        >>> box.resized_size, box.left, box.right, box.top, box.bottom
        ((1081, 608), 3, 4, 0, 0)
        """
        width, height = source_size
        net_width, net_height = network_size
        if min(width, height, net_width, net_height) < 1:
            raise DataError(
                f"letterbox: expected sizes of at least 1 x 1, got {width} x {height} into "
                f"{net_width} x {net_height}"
            )
        gain = min(net_height / height, net_width / width)
        # An image thousands of times wider than high would round to no row at all.
        resized = (max(round(width * gain), 1), max(round(height * gain), 1))
        spare_x = (net_width - resized[0]) / 2
        spare_y = (net_height - resized[1]) / 2
        return cls(
            source_size=(width, height),
            network_size=(net_width, net_height),
            resized_size=resized,
            left=round(spare_x - 0.1),
            right=round(spare_x + 0.1),
            top=round(spare_y - 0.1),
            bottom=round(spare_y + 0.1),
            gain=gain,
            pad_x=(net_width - width * gain) / 2,
            pad_y=(net_height - height * gain) / 2,
        )


def letterbox(
    image: npt.NDArray[np.uint8],
    network_size: tuple[int, int],
    *,
    out: npt.NDArray[np.float32] | None = None,
) -> tuple[npt.NDArray[np.float32], Letterbox]:
    """Turn an image into one input of the network.

    Args:
        image: ``(H, W, 3)`` uint8, BGR.
        network_size: width and height of the network's input.
        out: C-contiguous ``(3, height, width)`` float32 to write into, every element of it;
            a new array where it is None.

    Returns:
        ``(3, height, width)`` float32, RGB, 0..1 (``out`` where it was given), and the letterbox
        that ``to_source`` needs.

    Raises:
        DataError: ``image`` or ``out`` has another dtype or shape.
        MissingDependencyError: the image must be resized and OpenCV is not installed.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise DataError(
            f"image: expected uint8 of shape (H, W, 3), got {image.dtype} of shape {image.shape}"
        )
    fit = Letterbox.fit(Size.of(image), network_size)
    shape = (3, network_size[1], network_size[0])
    if out is None:
        out = np.empty(shape, np.float32)
    elif out.dtype != np.float32 or out.shape != shape or not out.flags.c_contiguous:
        raise DataError(
            f"out: expected contiguous float32 of shape {shape}, got {out.dtype} of shape "
            f"{out.shape}"
        )
    if fit.resized_size != fit.source_size:
        cv2 = load_cv2()
        image = cv2.resize(image, fit.resized_size, interpolation=cv2.INTER_AREA)
    _place(np.ascontiguousarray(image), out, fit.left, fit.top, _UNIT, _UNIT[BORDER])
    return out, fit


@kernel
def _place(image: Any, out: Any, left: int, top: int, unit: Any, border: Any) -> None:
    """Write a BGR image into ``out`` as RGB planes, looked up in ``unit``, border around it."""
    height, width, _ = image.shape
    right, bottom = left + width, top + height
    out[:, :top] = border
    out[:, bottom:] = border
    out[:, top:bottom, :left] = border
    out[:, top:bottom, right:] = border
    for y in range(height):
        for x in range(width):
            out[0, top + y, left + x] = unit[image[y, x, 2]]
            out[1, top + y, left + x] = unit[image[y, x, 1]]
            out[2, top + y, left + x] = unit[image[y, x, 0]]


def to_source(boxes: npt.NDArray[np.float32], fit: Letterbox) -> npt.NDArray[np.float32]:
    """Map boxes from network pixels to source pixels.

    As in the reference (``scale_coords``) the borders are not rounded and only negative
    coordinates are clamped: a box may reach beyond the right and lower edge of the image.

    Args:
        boxes: ``(N, 4)`` float32, x1 y1 x2 y2 in network pixels.
        fit: the letterbox of the image.

    Returns:
        ``(N, 4)`` float32, x1 y1 x2 y2 in source pixels.

    >>> fit = Letterbox.fit((1920, 1080), (576, 320))
    >>> to_source(np.array([[200, 100, 260, 280]], np.float32), fit).round(2).tolist()
    [[663.0, 337.5, 865.5, 945.0]]
    """
    pads = np.array([fit.pad_x, fit.pad_y, fit.pad_x, fit.pad_y], np.float32)
    mapped: npt.NDArray[np.float32] = (boxes - pads) / np.float32(fit.gain)
    np.maximum(mapped, np.float32(0), out=mapped)
    return mapped
