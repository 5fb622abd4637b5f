"""Videos as JPEG pictures in a NorPix ``.seq`` file, the form of the Caltech Pedestrian videos.

After a header of 1024 bytes (little-endian) stands, for each frame, the size of what follows it
and itself (uint32), the JPEG, and a time stamp of 8 bytes, in some versions with 8 bytes more.
"""

from __future__ import annotations

import struct
from pathlib import Path

from jdetrt.errors import DataError
from jdetrt.files import open_regular

__all__ = ["read_seq"]

_HEADER = 1024
_MAGIC = struct.pack("<I", 0xFEED) + "Norpix seq".encode("utf-16-le")
_FORMAT, _COUNT = 568, 572  # where the picture format and the number of frames stand, uint32
_JPEG_FORMATS = (102, 201)
_START_OF_JPEG = b"\xff\xd8"
_GAPS = (8, 16)  # bytes between a JPEG and the size of the next


def read_seq(path: str | Path) -> list[bytes]:
    """Read the frames of a ``.seq`` file, each as the bytes of its JPEG.

    Raises:
        DataError: the file is missing, of another format, holds other pictures than JPEGs, or
            breaks off before the last frame that its header promises.
    """
    try:
        with open_regular(path) as file:
            data = file.read()
    except OSError as err:
        raise DataError(f"{path}: cannot be read ({err.strerror or err})") from err
    if len(data) < _HEADER or not data.startswith(_MAGIC):
        raise DataError(f"{path}: not a .seq video (it has no NorPix header)")
    (picture_format,) = struct.unpack_from("<I", data, _FORMAT)
    if picture_format not in _JPEG_FORMATS:
        raise DataError(
            f"{path}: expected JPEG frames (format {' or '.join(map(str, _JPEG_FORMATS))}), "
            f"it has format {picture_format}"
        )
    (count,) = struct.unpack_from("<I", data, _COUNT)
    frames: list[bytes] = []
    position, gap = _HEADER, _GAPS[0]
    for number in range(count):
        if number == 1:
            gap = next((one for one in _GAPS if _is_frame(data, position + one)), gap)
        start = position + (gap if number else 0)
        if not _is_frame(data, start):
            raise DataError(
                f"{path}: frame {number + 1} of {count} is not there, or is no JPEG; the file is "
                "truncated or damaged: get it again"
            )
        (size,) = struct.unpack_from("<I", data, start)
        position = start + size
        frames.append(data[start + 4 : position])
    return frames


def _is_frame(data: bytes, start: int) -> bool:
    """Whether a size stands at ``start``, and a JPEG of that size after it."""
    if data[start + 4 : start + 6] != _START_OF_JPEG:
        return False
    return start + int.from_bytes(data[start : start + 4], "little") <= len(data)
