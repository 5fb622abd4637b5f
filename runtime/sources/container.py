"""Containers of video files: sizes and numbers of frames that they state, without a decoder.

MP4 and MOV (ISO/IEC 14496-12), AVI (RIFF) and Matroska (RFC 8794).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from jdetrt.inputs import open_regular

__all__ = ["exact_frames", "is_cut_off", "lacks_index", "states_rate"]

_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")  # of MP4 and old MOV
_NEEDED_BOXES = (b"moov", b"moof", b"mdat")  # of any other, junk may be behind the last
_LARGEST_INDEX = 256 << 20  # bytes of a moov that is looked into
_REORDERED = 16  # frames; an edit list hides no more than H.264 and HEVC put in another order


def is_cut_off(path: Path) -> bool:
    """Tell whether the file ends inside of a part that its container says is longer.

    MP4 and MOV, AVI and Matroska (WebM) state sizes; of other files, and of recordings whose size
    was never filled in, nobody can tell, and the answer is no. Raises OSError.
    """
    size = path.stat().st_size
    with open_regular(path) as file:
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
    """Tell whether an MP4 file lacks the index (moov) that is written last. Raises OSError."""
    size = path.stat().st_size
    with open_regular(path) as file:
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


def states_rate(path: Path) -> bool:
    """Tell whether the frame rate follows from a table of all frames: MP4, MOV and AVI.

    Others state a rate beside the timestamps, and it may be anything.
    """
    head = b""
    with suppress(OSError), open_regular(path) as file:
        head = file.read(12)
    return head[:4] == b"RIFF" or head[4:8] in _FIRST_BOXES


def exact_frames(path: Path) -> int | None:
    """Number of frames that an MP4, MOV or AVI file lists.

    Returns:
        The number; None for other containers, for fragmented files and AVI of several parts, and
        where there is no list. Where an edit list hides frames it is the least that is shown.

    Raises:
        OSError: the file cannot be read.
    """
    size = path.stat().st_size
    with open_regular(path) as file:
        head = file.read(8)
        if head[:4] == b"RIFF":
            return _indexed_frames(file, size)
        if head[4:] not in _FIRST_BOXES:
            return None
        start = 0
        for name, end in _boxes(file, size):
            if name == b"moov" and end <= size and end - start <= _LARGEST_INDEX:
                file.seek(start)
                return _video_frames(file.read(end - start))
            start = end
    return None


def _indexed_frames(file: BinaryIO, size: int) -> int | None:
    """Frames in the index of an AVI file of one part; those of no bytes repeat the one before."""
    if len(list(_chunks(file, size))) != 1:
        return None
    start = 12  # RIFF, its length, "AVI "
    while start + 8 <= size:
        file.seek(start)
        header = file.read(8)
        length = int.from_bytes(header[4:], "little")
        if header[:4] == b"idx1":
            index = file.read(min(length, _LARGEST_INDEX))
            entries = (index[at : at + 16] for at in range(0, len(index) - 15, 16))
            return sum(one[2:4] in (b"dc", b"db") and any(one[12:16]) for one in entries) or None
        start += 8 + length + length % 2
    return None


def _video_frames(moov: bytes) -> int | None:
    movie_ticks, _ = _ticks(next(_inside(moov, b"mvhd"), b""))
    for track in _inside(moov, b"trak"):
        media = next(_inside(track, b"mdia"), b"")
        if next(_inside(media, b"hdlr"), b"")[16:20] != b"vide":
            continue
        table = next(_inside(next(_inside(media, b"minf"), b""), b"stbl"), b"")
        sizes = next(_inside(table, b"stsz"), b"") or next(_inside(table, b"stz2"), b"")
        count = int.from_bytes(sizes[16:20], "big")
        ticks, length = _ticks(next(_inside(media, b"mdhd"), b""))
        if not count or not length or not movie_ticks:
            return None
        edits = next(_inside(next(_inside(track, b"edts"), b""), b"elst"), b"")
        shown = _shown(edits, length, ticks / movie_ticks) * count / length
        return count if shown > count - _REORDERED else max(math.floor(shown) - 1, 0)
    return None


def _shown(edits: bytes, length: int, scale: float) -> float:
    """Ticks of a track that its edit list shows, of ``length``; all without one."""
    version, entries = edits[8:9], edits[16:]
    wide = 8 if version == b"\1" else 4
    shown, step = 0.0, 2 * wide + 4
    for at in range(0, len(entries) - step + 1, step):
        begin = int.from_bytes(entries[at + wide : at + 2 * wide], "big", signed=True)
        segment = int.from_bytes(entries[at : at + wide], "big") * scale
        if begin >= 0:  # -1: nothing is shown
            shown += min(segment or length, length - begin)
    return shown if edits else length


def _ticks(header: bytes) -> tuple[int, int]:
    """Ticks a second, and duration in ticks, of the header of a movie or of a medium."""
    if header[8:9] == b"\1":
        return int.from_bytes(header[28:32], "big"), int.from_bytes(header[32:40], "big")
    return int.from_bytes(header[20:24], "big"), int.from_bytes(header[24:28], "big")


def _inside(box: bytes, name: bytes) -> Iterator[bytes]:
    """Boxes of a name inside of a box, each with its header of 8 bytes."""
    start = 8
    while start + 8 <= len(box):
        length = int.from_bytes(box[start : start + 4], "big")
        if length < 8:
            return
        if box[start + 4 : start + 8] == name:
            yield box[start : start + length]
        start += length
