"""Width and height of a picture, from its header where that suffices."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from jdetrt.errors import SourceError
from jdetrt.files import open_regular
from jdetrt.runtime.sources.images import read_picture

__all__ = ["picture_size"]

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # ITU-T T.81, table B.1
_EXIF_SEGMENT = 0xE1  # APP1


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels, turned as the EXIF data say.

    Only JPEG and PNG files without EXIF data are told by their header; the rest is decoded.

    Raises:
        SourceError: the file is missing, or its header is not that of a picture.
    """
    try:
        with open_regular(path) as file:
            size = _header_size(file)
    except OSError as err:
        raise SourceError(f"{path}: cannot be read ({err.strerror or err})") from err
    if size is not None:
        return size
    height, width, _ = read_picture(path).shape
    return width, height


def _header_size(file: BinaryIO) -> tuple[int, int] | None:
    start = file.read(len(_PNG))
    if start == _PNG:
        return _png_size(file)
    if start.startswith(_JPEG):
        file.seek(len(_JPEG))
        return _jpeg_size(file)
    return None


def _png_size(file: BinaryIO) -> tuple[int, int] | None:
    """The chunk IHDR, which stands first; None where a chunk eXIf comes before the pixels."""
    size = None
    while len(head := file.read(8)) == 8:
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        if kind == b"IDAT":
            return size
        if kind == b"eXIf":
            return None
        body = file.read(length + 4)  # and its checksum
        if kind == b"IHDR":
            size = int.from_bytes(body[:4], "big"), int.from_bytes(body[4:8], "big")
    return None


def _jpeg_size(file: BinaryIO) -> tuple[int, int] | None:
    """The first frame header; None where EXIF data come before it, or there is none."""
    while len(head := file.read(4)) == 4 and head[0] == 0xFF:
        marker, length = head[1], int.from_bytes(head[2:], "big") - 2
        body = file.read(max(length, 0))
        if marker == _EXIF_SEGMENT and body.startswith(b"Exif"):
            return None
        if marker in _FRAME_HEADERS and len(body) >= 5:
            height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
            return (width, height) if width and height else None
    return None
