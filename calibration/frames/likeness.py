"""What of a picture says whether it is like another: a perceptual hash, and its brightness.

The hash has a bit for each of 16 x 16 places: whether the picture gets brighter from there to the
right ("difference hash"). Storing a picture anew, smaller or more strongly compressed, changes next
to none of them; somebody walking through it changes several.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jdetrt.runtime.opencv import load_cv2

__all__ = ["SAME_BITS", "Look", "distinct", "look"]

_SIDE = 16
# Of 256 bits. At 30 frames a second a street changes 1 to 5 bits from one frame to the next.
SAME_BITS = 2
# Standard deviation in grey levels below which there is nothing in a picture but noise.
_LEAST_CONTRAST = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """A picture in a few numbers.

    Attributes:
        bits: ``(32,)`` uint8, the 256 bits of its hash.
        brightness: mean grey level, 0 to 255.
        blank: whether it is of one colour, but for noise.
    """

    bits: npt.NDArray[np.uint8]
    brightness: float
    blank: bool


def look(image: npt.NDArray[np.uint8]) -> Look:
    """Look at a picture, ``(H, W, 3)`` uint8 BGR.

    >>> look(np.full((48, 64, 3), 7, np.uint8)).blank
    True
    """
    cv2 = load_cv2()
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    small = cv2.resize(grey, (_SIDE + 1, _SIDE), interpolation=cv2.INTER_AREA)
    return Look(
        bits=np.packbits(small[:, 1:] > small[:, :-1]),
        brightness=float(small.mean()),
        blank=float(small.std()) < _LEAST_CONTRAST,
    )


def distinct(hashes: npt.NDArray[np.uint8], same_bits: int = SAME_BITS) -> list[int]:
    """Choose pictures of which no two are alike; of those that are, the first.

    Args:
        hashes: ``(N, 32)`` uint8.
        same_bits: so many bits that differ still make two pictures alike.

    Returns:
        Their indices, ascending.

    >>> distinct(np.array([[0], [1], [255]], np.uint8))
    [0, 2]
    """
    bits = np.unpackbits(hashes, axis=1).view(np.bool_)
    kept: list[int] = []
    for i in range(len(bits)):
        if not kept or (bits[kept] != bits[i]).sum(axis=1).min() > same_bits:
            kept.append(i)
    return kept
