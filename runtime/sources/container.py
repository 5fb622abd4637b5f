"""Whether a video file is all there, by what its container says of its own length in bytes.

The number of frames that OpenCV states does not tell: it counts frames that an edit list hides
(any clip cut without encoding again), and for Matroska, MPEG-TS and variable frame rates it is no
more than the duration times the frame rate. Sizes in bytes are exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

__all__ = ["is_cut_off", "lacks_index"]

_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")  # of MP4 and old MOV
_NEEDED_BOXES = (b"moov", b"moof", b"mdat")  # of any other, junk may be behind the last


def is_cut_off(path: Path) -> bool:
    """Whether the file ends inside of a part that its container says is longer.

    MP4 and MOV, AVI and Matroska (WebM) state sizes; of other files, and of recordings whose size
    was never filled in, nobody can tell, and the answer is no. Raises OSError.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] == b"RIFF":
            parts = _chunks(file, size)
        elif head[:4] == b"\x1a\x45\xdf\xa3":
            parts = _elements(file, size)
        elif head[4:8] in _FIRST_BOXES:
            parts = ((name, end) for name, end in _boxes(file, size) if name in _NEEDED_BOXES)
        else:
            return False
        return any(end > size for _, end in parts)


def lacks_index(path: Path) -> bool:
    """Whether this is an MP4 file without the index (moov) that is written last. Raises OSError."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(8)[4:] != b"ftyp":
            return False
        return not any(name == b"moov" and end <= size for name, end in _boxes(file, size))


def _boxes(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int]]:
    """Names and ends of the boxes of an MP4 file (ISO/IEC 14496-12, 4.2)."""
    start = 0
    while start + 8 <= size:
        file.seek(start)
        header = file.read(16)
        length = int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:], "big")
        if length < 8:  # 0: the box reaches to the end
            return
        start += length
        yield header[4:8], start


def _chunks(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int]]:
    """Names and ends of the RIFF chunks of an AVI file; a large one has several (OpenDML)."""
    start = 0
    while start + 8 <= size:
        file.seek(start)
        header = file.read(8)
        if header[:4] != b"RIFF":
            return
        start += 8 + int.from_bytes(header[4:], "little")
        yield b"RIFF", start


def _elements(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int]]:
    """Names and ends of the header and the segment of a Matroska file (RFC 8794, 4 to 6)."""
    start = 0
    while start + 12 <= size:
        file.seek(start)
        header = file.read(12)  # a name of 4 bytes, a size of 1 to 8 with its own length in front
        width = 9 - header[4].bit_length()
        length = int.from_bytes(header[4 : 4 + width], "big") - (1 << 7 * width)
        if width > 8 or length == (1 << 7 * width) - 1:  # all ones: never filled in
            return
        start += 4 + width + length
        yield header[:4], start
        if header[:4] == b"\x18\x53\x80\x67":  # the segment: all there is
            return
