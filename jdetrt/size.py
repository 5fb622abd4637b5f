"""Size of an image or of a network's input: width and height, read from ``1088x608``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from msgspec import Meta

from jdetrt.errors import DataError

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Size"]

Side = Annotated[int, Meta(ge=1, le=1 << 16)]  # pixels; checked where a file is decoded


class Size(NamedTuple):
    """Width and height in pixels, in this order; a plain tuple ``(width, height)`` equals it.

    >>> Size.parse("1088x608")
    Size(width=1088, height=608)
    >>> str(Size(1088, 608)), Size(1088, 608).shape
    ('1088x608', (608, 1088))
    """

    width: Side
    height: Side

    @classmethod
    def parse(cls, text: str) -> Size:
        """Read ``WIDTHxHEIGHT``, such as ``1088x608``.

        Raises:
            DataError: the text has another form, or a side is 0.
        """
        match = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", text.strip().lower())
        if match is None:
            raise DataError(f"{text!r}: expected WIDTHxHEIGHT in pixels, such as 1088x608")
        return cls(int(match[1]), int(match[2]))

    @classmethod
    def of(cls, image: npt.NDArray[Any]) -> Size:
        """Size of an image ``(H, W)`` or ``(H, W, C)``."""
        return cls(image.shape[1], image.shape[0])

    def question(self) -> str | None:
        """Question a size that is higher than wide, in words; None for any other.

        Such a network is right for a camera turned on its side; mostly it is a slip, and wide
        frames then fill a small part of it.
        """
        if self.height <= self.width:
            return None
        return (
            f"Is {self} right? It is {self.width} pixels wide and {self.height} high; for wide "
            f"frames the size is {self.height}x{self.width} (width first)."
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width, as the first two axes of an array."""
        return self.height, self.width

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"
