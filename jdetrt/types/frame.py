"""Frame: one image of a source, with its number and time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Frame"]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One image of a source.

    Attributes:
        image: ``(H, W, 3)`` uint8, BGR as OpenCV reads it.
        index: frame number in the source, from 1 (MOT Challenge counts so).
        timestamp: capture time in seconds, or None where the source has none.
        name: file name of the image where there is one, else "".
    """

    image: npt.NDArray[np.uint8]
    index: int
    timestamp: float | None = None
    name: str = ""
