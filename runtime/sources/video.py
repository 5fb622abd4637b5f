"""Video files as sources; the end of a file is told from a file that is cut off.

The number of frames that OpenCV states does not tell them apart: it counts frames that an edit list
hides (any clip cut without encoding again), and for Matroska, MPEG-TS and variable frame rates it
is the duration times the frame rate. The sizes in bytes that a container states are exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from jdetrt.errors import SourceError
from jdetrt.runtime.opencv import load_cv2, native_name
from jdetrt.runtime.session import Closing
from jdetrt.runtime.sources.image_header import check_pixels
from jdetrt.types import Frame, Size

__all__ = ["VideoFile"]

_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")  # of MP4 and old MOV
_NEEDED_BOXES = (b"moov", b"moof", b"mdat")  # of any other, junk may be behind the last
_HIGHEST_RATE = 1000.0  # frames per second; above it the container states its clock, not a rate


class VideoFile(Closing):
    """A video that OpenCV can decode, one frame in memory at a time.

    OpenCV ends alike at the end of a video and where it breaks off. So at the end the file is
    looked at: when it is shorter than its container says, and frames
    are missing, the iterator raises after the last good frame. Missing means more than two frames
    and more than 1 % of what the container promises, because a file that lost no more than what
    follows its frames is as good as whole.

    Args:
        path: of the file.
        frame_rate: frames per second; by default what the file says, or 30 where it says none.

    Attributes:
        size: width and height as the container states them.
        length: number of frames that the container promises, or None. Of a video with a variable
            frame rate, gaps or hidden frames it can be far from what there is.

    Raises:
        SourceError: the file is missing, empty, no video, or has no frame that decodes.
    """

    live = False

    def __init__(self, path: Path, frame_rate: float | None = None) -> None:
        self._path = path
        self._closed = False
        self.uri = str(path)
        self.name = path.stem
        cv2 = load_cv2()
        capture = self._open()
        try:
            sides = (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
            declared = tuple(int(capture.get(side)) for side in sides)
            check_pixels(path, (declared[0], declared[1]), SourceError)
            stated = capture.get(cv2.CAP_PROP_FPS)
            promised = capture.get(cv2.CAP_PROP_FRAME_COUNT)
            ok, image = capture.read()
        finally:
            capture.release()
        if not ok or image is None:
            raise SourceError(f"{path}: the video opens, but not one frame of it can be decoded")
        self.frame_rate = frame_rate or (stated if 0 < stated <= _HIGHEST_RATE else 30.0)
        self.length: int | None = int(promised) if 0 < promised < 2**53 else None
        self.size: tuple[int, int] | None = Size.of(image)

    def __iter__(self) -> Iterator[Frame]:
        cv2 = load_cv2()
        capture = self._open()
        index, timestamp = 0, -1.0 / self.frame_rate
        try:
            while not self._closed:
                ok, image = self._read(capture, index)
                if not ok:
                    self._refuse_early_end(index)
                    return
                index += 1
                if Size.of(image) != self.size:
                    raise SourceError(
                        f"{self._path}: frame {index} is {Size.of(image)}, not {self.size}; "
                        f"all frames of a source must have the same size"
                    )
                stated = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                # Some files and backends state no time, or the same one again and again.
                timestamp = stated if stated > timestamp else timestamp + 1 / self.frame_rate
                yield Frame(image, index, timestamp)
        finally:
            capture.release()

    def close(self) -> None:
        """End the iteration."""
        self._closed = True

    def _open(self) -> Any:
        cv2 = load_cv2()
        name = native_name(self._path, SourceError)
        # FFmpeg before the others: it alone counts frames and seeks well. A build without it
        # (some Jetsons) takes what it has.
        for backend in (cv2.CAP_FFMPEG, cv2.CAP_ANY):
            capture = cv2.VideoCapture(name, backend)
            if capture.isOpened():
                return capture
            capture.release()
        raise SourceError(f"{self._path}: {_why_not(self._path)}")

    def _read(self, capture: Any, index: int) -> tuple[bool, Any]:
        cv2 = load_cv2()
        try:
            ok, image = capture.read()
        except cv2.error as err:
            raise SourceError(
                f"{self._path}: frame {index + 1} cannot be decoded ({err.err}); the last good "
                f"frame is {index} of {self.length or 'an unknown number'}"
            ) from err
        return ok and image is not None, image

    def _refuse_early_end(self, index: int) -> None:
        missing = math.inf if self.length is None else self.length - index
        if missing <= max(2, 0.01 * (self.length or 0)):
            return
        try:
            cut_off = _is_cut_off(self._path)
        except OSError:  # its disk went away under it
            cut_off = True
        if cut_off:
            raise SourceError(
                f"{self._path}: the video breaks off: the last good frame is {index}, but "
                f"its container states {self.length or 'more'}; copy the file again"
            )


def _why_not(path: Path) -> str:
    """Why a file is no video, as far as its first bytes tell."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(4096)
        if _lacks_index(path):
            return (
                "the video is truncated: its index (moov) is missing, which is written last; "
                "without it no frame can be decoded"
            )
    except OSError as err:
        return f"cannot be read ({err.strerror or err})"
    if not head:
        return "the video is empty (0 bytes)"
    if b"\0" not in head:
        return f"not a video: it looks like text ({size} bytes)"
    return f"not a video that this OpenCV can decode, or a damaged one ({size} bytes)"


def _is_cut_off(path: Path) -> bool:
    """Tell whether the file ends inside of a part that its container says is longer.

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


def _lacks_index(path: Path) -> bool:
    """Tell whether an MP4 file lacks the index (moov) that is written last. Raises OSError."""
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
