"""Declared size of an image, read from its header before anything is decoded.

A file of a kilobyte may declare an image of gigabytes, and decoders make room for all of it first.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

from jdetrt.errors import JdetrtError
from jdetrt.types import Size

__all__ = ["LARGEST_IMAGE", "check_pixels", "declared_size"]

LARGEST_IMAGE = 100_000_000  # pixels of an image or a frame; 10000x10000

# A marker of a JPEG file (ITU-T T.81, annex B): fill bytes, then what is neither 00 nor a restart
# nor the start of the image.
_JPEG_MARKER = re.compile(rb"\xff+([^\x00\x01\xff\xd0-\xd8])")
_NO_FRAME = (0xC4, 0xC8, 0xCC)  # tables within the markers of frames, C0 to CF
_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_TILE_WIDTH, _TIFF_TILE_HEIGHT = 256, 257, 322, 323
_TIFF_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}


def check_pixels(where: object, size: tuple[int, int], error: type[JdetrtError]) -> None:
    """Refuse a declared size of nothing, or of more than `LARGEST_IMAGE` pixels.

    Args:
        where: the file, for the message.
        size: width and height.
        error: raised where it is refused.
    """
    width, height = size
    if not (width > 0 and height > 0 and width * height <= LARGEST_IMAGE):
        raise error(
            f"{where}: declares {width}x{height} pixels; expected an image of 1 to "
            f"{LARGEST_IMAGE // 1_000_000} megapixels"
        )


def declared_size(data: bytes) -> Size | None:
    """Width and height that a JPEG, PNG, BMP, GIF, WebP or TIFF declares, not turned by EXIF data.

    Args:
        data: the file, or its beginning up to the header of the image.

    Returns:
        None for another format, or where the header is cut short.
    """
    try:
        for mark, at, read in _FORMATS:
            if data.startswith(mark, at):
                size = read(data)
                return None if size is None else Size(*size)
    except (struct.error, IndexError):
        pass
    return None


def _jpeg(data: bytes) -> tuple[int, int] | None:
    position = 2
    while marker := _JPEG_MARKER.search(data, position):
        position = marker.end()
        if 0xC0 <= marker[1][0] <= 0xCF and marker[1][0] not in _NO_FRAME:
            height, width = struct.unpack_from(">HH", data, position + 3)
            return width, height
        position += struct.unpack_from(">H", data, position)[0]
    return None


def _png(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def _bmp(data: bytes) -> tuple[int, int]:
    (header,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if header == 12 else "<ii", data, 18)
    return abs(width), abs(height)  # rows from the top: a negative height


def _gif(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from("<HH", data, 6)
    return width, height


def _webp(data: bytes) -> tuple[int, int] | None:
    if data.startswith(b"VP8 ", 12):
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    if data.startswith(b"VP8L", 12):
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if data.startswith(b"VP8X", 12):
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        return width, height
    return None


def _tiff(data: bytes) -> tuple[int, int] | None:
    """First image of a TIFF file (TIFF 6.0; BigTIFF has 43 for 42 and wider numbers)."""
    order = "<" if data.startswith(b"II") else ">"
    (version,) = struct.unpack_from(f"{order}H", data, 2)
    big = version == 43
    (start,) = struct.unpack_from(f"{order}{'Q' if big else 'I'}", data, 8 if big else 4)
    (count,) = struct.unpack_from(f"{order}{'Q' if big else 'H'}", data, start)
    first, step, inside = (start + 8, 20, 12) if big else (start + 2, 12, 8)
    values = {}
    for entry in range(first, min(first + count * step, len(data)), step):
        tag, kind = struct.unpack_from(f"{order}HH", data, entry)
        if kind in _TIFF_TYPES:
            (values[tag],) = struct.unpack_from(order + _TIFF_TYPES[kind], data, entry + inside)
    # A tile is decoded whole, however little of it the image has.
    sides = ((_TIFF_WIDTH, _TIFF_TILE_WIDTH), (_TIFF_HEIGHT, _TIFF_TILE_HEIGHT))
    if any(image not in values for image, _ in sides):
        return None
    width, height = (max(values[image], values.get(tile, 0)) for image, tile in sides)
    return width, height


_FORMATS: tuple[tuple[bytes, int, Callable[[bytes], tuple[int, int] | None]], ...] = (
    (b"\xff\xd8", 0, _jpeg),
    (b"\x89PNG\r\n\x1a\n", 0, _png),
    (b"BM", 0, _bmp),
    (b"GIF8", 0, _gif),
    (b"WEBP", 8, _webp),
    (b"II*\0", 0, _tiff),
    (b"MM\0*", 0, _tiff),
    (b"II+\0", 0, _tiff),
    (b"MM\0+", 0, _tiff),
)
