"""Images as decoders give them: BGR, BGRx or NV12."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from jdetrt.errors import DataError

__all__ = ["Pixels", "RawImage"]

# NV12 of limited range, by its matrix: a stream says which; without a word BT.709 from 720 rows on.
Pixels = Literal["bgr", "bgrx", "nv12_bt601", "nv12_bt709"]


@dataclass(frozen=True, slots=True, eq=False)
class RawImage:
    """An image for an input buffer of a GPU, in the form in which it was decoded.

    Attributes:
        data: C-contiguous uint8: ``(H, W, 3)`` of BGR, ``(H, W, 4)`` of BGRx; ``(3 H / 2, W)`` of
            NV12, H and W even: H rows of luma, then rows of chroma, U and V in turn.
        pixels: which of these it is.

    Raises:
        DataError: the array is no such image.
    """

    data: npt.NDArray[np.uint8]
    pixels: Pixels = "bgr"

    def __post_init__(self) -> None:
        shape = self.data.shape
        if self.pixels.startswith("nv12"):
            fits = len(shape) == 2 and shape[0] % 3 == 0 and shape[1] % 2 == 0
            expected = "(3 H / 2, W), H and W even"
        else:
            channels = 4 if self.pixels == "bgrx" else 3
            fits = len(shape) == 3 and shape[2] == channels
            expected = f"(H, W, {channels})"
        if self.data.dtype != np.uint8 or not fits or 0 in shape:
            raise DataError(
                f"image: expected uint8 of shape {expected}, got {self.data.dtype} of shape {shape}"
            )

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        height, width = self.data.shape[:2]
        return width, height * 2 // 3 if self.pixels.startswith("nv12") else height
