"""A source that is a video file, and how to tell its end from its breaking off."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from jdetrt.errors import SourceError
from jdetrt.runtime.opencv import load_cv2
from jdetrt.types import Frame

__all__ = ["VideoFile"]

_HIGHEST_RATE = 1000.0  # frames per second; above it the container states its clock, not a rate


class VideoFile:
    """A video that OpenCV can decode, one frame in memory at a time.

    OpenCV ends alike at the end of a video and where it breaks off, so the frames are counted
    against what the container promises. Honest containers are off by a frame or two (frames cut
    away by an edit list, a length computed from a rounded duration), hence the tolerance of two
    frames or 1 % of the promise, whichever is more; when more than that is missing, the iterator
    raises after the last good frame. A file that promises nothing is read to its end.

    Args:
        path: of the file.
        frame_rate: frames per second; by default what the file says, or 30 where it says none.

    Attributes:
        size: width and height as the container states them.
        length: number of frames that the container promises, or None.

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
            stated = capture.get(cv2.CAP_PROP_FPS)
            promised = capture.get(cv2.CAP_PROP_FRAME_COUNT)
            ok, image = capture.read()
        finally:
            capture.release()
        if not ok or image is None:
            raise SourceError(f"{path}: the video opens, but not one frame of it can be decoded")
        self.frame_rate = frame_rate or (stated if 0 < stated <= _HIGHEST_RATE else 30.0)
        self.length: int | None = int(promised) if 0 < promised < 2**53 else None
        self.size: tuple[int, int] | None = (image.shape[1], image.shape[0])

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
                if (image.shape[1], image.shape[0]) != self.size:
                    raise SourceError(
                        f"{self._path}: frame {index} is {image.shape[1]} x {image.shape[0]}, "
                        f"those before it {self.size}; one source has one size"
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

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self) -> Any:
        cv2 = load_cv2()
        # FFmpeg before the others: it alone counts frames and seeks well. A build without it
        # (some Jetsons) takes what it has.
        for backend in (cv2.CAP_FFMPEG, cv2.CAP_ANY):
            capture = cv2.VideoCapture(str(self._path), backend)
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
        if self.length is None:
            return
        missing = self.length - index
        if missing > max(2, math.ceil(0.01 * self.length)):
            raise SourceError(
                f"{self._path}: the video breaks off: the last good frame is {index}, its "
                f"container promises {self.length}"
            )


def _why_not(path: Path) -> str:
    """Why a file is no video, as far as its first bytes tell."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(4096)
            if head[4:8] == b"ftyp" and not _has_index(file, size):
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


def _has_index(file: Any, size: int) -> bool:
    """Whether an MP4 file has its moov box, walking its boxes (ISO/IEC 14496-12, 4.2)."""
    start = 0
    while start + 8 <= size:
        file.seek(start)
        header = file.read(16)
        length = int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        if header[4:8] == b"moov":
            return start + length <= size
        if length < 8:  # 0: the box reaches to the end
            return False
        start += length
    return False
