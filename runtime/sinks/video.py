"""Sinks that draw: an annotated video, a folder of annotated frames."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jdetrt.errors import OutputError
from jdetrt.runtime.opencv import load_cv2, native_name
from jdetrt.runtime.sinks.base import Output, PendingFile, frames_kept
from jdetrt.runtime.sinks.draw import Trails, draw_tracks
from jdetrt.types import Frame, Size, Tracks

__all__ = ["FramesSink", "Overlay", "VideoSink"]

# Codecs by suffix, tried in this order. MPEG-4 is in every build with FFmpeg, H.264 in few.
_CODECS = {
    ".mp4": ("mp4v", "avc1"),
    ".avi": ("XVID", "MJPG"),
    ".mkv": ("mp4v", "XVID", "MJPG"),
}
_RESERVE = 8 << 20  # bytes that stay free on the disk: room to complete a video in
_INDEX_ENTRY = 32  # bytes a frame in the index at the end, at most
_HIGHEST_RATE = 1000
_MISCOUNT = 2  # frames; containers that state a duration and no count are off by one or so


# Draws more on a frame, in place: image (H, W, 3) uint8 BGR, the frame and its tracks.
Overlay = Callable[[npt.NDArray[np.uint8], Frame, Tracks], None]


class _Painter:
    """Draws frames, with or without trails, and what ``overlay`` adds."""

    def __init__(self, trail_length: int, overlay: Overlay | None) -> None:
        self._trails = Trails(trail_length) if trail_length else None
        self._overlay = overlay

    def __call__(self, path: Path, frame: Frame, tracks: Tracks) -> npt.NDArray[np.uint8]:
        if not frame.image.size:
            raise OutputError(f"{path}: frame {frame.index} has no image to draw on")
        trails = self._trails.update(tracks) if self._trails else None
        image = draw_tracks(frame.image, tracks, trails=trails, caption=str(frame.index))
        if self._overlay is not None:
            self._overlay(image, frame, tracks)
        return image


class VideoSink(Output):
    """An annotated video.

    ``cv2.VideoWriter`` reports no errors while it writes, and an MP4 is unreadable until its index
    is written at the end. So free space is checked before each frame and the video completed
    while there is still room; and a completed video is opened again and its frames counted before
    it gets its name.

    Args:
        path: ends in .mp4, .avi or .mkv; its folder is made.
        frame_rate: of the video, frames per second.
        trail_length: frames of the trail behind each person; 0 for none.
        overlay: draws more on each frame.

    Raises:
        OutputError: another suffix, a name that OpenCV cannot take, or the file cannot be made.
    """

    def __init__(
        self,
        path: str | Path,
        frame_rate: float = 30.0,
        *,
        trail_length: int = 30,
        overlay: Overlay | None = None,
    ) -> None:
        self._path = Path(path)
        if self._path.suffix.lower() not in _CODECS:
            raise OutputError(
                f"{path}: expected a video file ending in {', '.join(_CODECS)}, got "
                f"'{self._path.suffix}'"
            )
        if not 0 < frame_rate <= _HIGHEST_RATE:
            raise OutputError(
                f"{path}: expected a frame rate above 0, at most {_HIGHEST_RATE}, got {frame_rate}"
            )
        load_cv2()
        native_name(self._path, OutputError)
        self._frame_rate = frame_rate
        self._paint = _Painter(trail_length, overlay)
        self._pending: PendingFile | None = PendingFile(path)
        self._writer: Any = None
        self._size: Size | None = None

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Draw and encode one frame. Raises OutputError."""
        self.encode(self._paint(self._path, frame, tracks), frame.index)

    def encode(self, image: npt.NDArray[np.uint8], index: int) -> None:
        """Encode an image that is drawn already: frame ``index``. Raises OutputError."""
        if self._pending is None:
            raise OutputError(f"{self._path}: is closed; frame {index} is not written")
        size = Size.of(image)
        if self._writer is None:
            self._writer = self._open(size)
            self._size = size
        if size != self._size:  # the writer would leave the frame out and say nothing
            raise self._stop(f"frame {index} is {size}, those before it {self._size}")
        if _free_space(self._path) < _RESERVE + _INDEX_ENTRY * self.frames:
            raise self._stop("the disk is full")
        self._writer.write(image)
        self.frames += 1

    def close(self) -> None:
        """Complete the video, check it and give it its name. Raises OutputError."""
        if self._pending is None:
            return
        if self._writer is None:  # a video without a frame does not exist
            self.discard()
            return
        self._writer.release()
        complete = _count_frames(self._pending.temporary)
        if not complete:
            self.discard()
            raise OutputError(
                f"{self._path}: the video cannot be completed (is the disk full?); nothing is kept"
            )
        pending, self._pending = self._pending, None
        pending.commit()
        if complete < self.frames - max(_MISCOUNT, self.frames // 100):
            raise OutputError(
                f"{self._path}: only {complete} of {self.frames} frames reached the disk (is it "
                "full?); they are kept"
            )

    def discard(self) -> None:
        """Leave no video."""
        if self._pending is None:
            return
        if self._writer is not None:
            self._writer.release()
        pending, self._pending = self._pending, None
        pending.drop()

    def _stop(self, reason: str) -> OutputError:
        """Complete the video with the frames it has."""
        self.close() if self.frames else self.discard()
        return OutputError(f"{self._path}: {reason}; {frames_kept(self.frames)}")

    def _open(self, size: Size) -> Any:
        cv2 = load_cv2()
        assert self._pending is not None
        codecs = _CODECS[self._path.suffix.lower()]
        for codec in codecs:
            writer = cv2.VideoWriter(
                native_name(self._pending.temporary, OutputError),
                cv2.VideoWriter_fourcc(*codec),
                self._frame_rate,
                size,
            )
            if writer.isOpened():
                return writer
            writer.release()
        self.discard()
        if min(size) < 2:
            raise OutputError(
                f"{self._path}: the frames are {size}, and a video has at least 2x2 pixels; "
                "write images instead"
            )
        raise OutputError(
            f"{self._path}: this OpenCV encodes none of {', '.join(codecs)} at {size} and "
            f"{self._frame_rate:g} frames a second; try another suffix ("
            f"{', '.join(_CODECS)}), or an OpenCV built with FFmpeg"
        )


class FramesSink(Output):
    """Annotated images in a folder, named by frame number: tracked-000001.jpg.

    They are written to a temporary folder beside it. At the end it takes the place of ``folder``,
    which may hold images of an earlier run and nothing else.

    Args:
        folder: its parent is made.
        suffix: ``.jpg`` or ``.png``.
        trail_length: frames of the trail behind each person; 0 for none.
        overlay: draws more on each frame.

    Raises:
        OutputError: another suffix; ``folder`` is a file, holds other files or cannot be made.
    """

    def __init__(
        self,
        folder: str | Path,
        suffix: str = ".jpg",
        *,
        trail_length: int = 30,
        overlay: Overlay | None = None,
    ) -> None:
        if suffix not in (".jpg", ".png"):
            raise OutputError(f"{folder}: expected images ending in .jpg or .png, got '{suffix}'")
        self._cv2 = load_cv2()
        self._folder = Path(folder)
        self._suffix = suffix
        self._paint = _Painter(trail_length, overlay)
        _refuse_foreign(self._folder)
        self._pending: PendingFile | None = PendingFile(folder, folder=True)

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Draw and write one image. Raises OutputError."""
        if self._pending is None:
            raise OutputError(f"{self._folder}: is closed; frame {frame.index} is not written")
        image = self._paint(self._folder, frame, tracks)
        path = self._pending.temporary / f"tracked-{frame.index:06d}{self._suffix}"
        try:
            path.write_bytes(self._cv2.imencode(self._suffix, image)[1])
        except OSError as err:
            path.unlink(missing_ok=True)
            kept = self.frames
            self.close() if kept else self.discard()
            raise OutputError(
                f"{self._folder}: cannot be written ({err.strerror or err}); {frames_kept(kept)}"
            ) from err
        self.frames += 1

    def close(self) -> None:
        """Put the images in their folder. Raises OutputError."""
        if self._pending is not None:
            _refuse_foreign(self._folder)
            pending, self._pending = self._pending, None
            pending.commit()

    def discard(self) -> None:
        """Leave no images."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.drop()


def _refuse_foreign(folder: Path) -> None:
    """Refuse a folder with other files than ours, because it will be replaced."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise OutputError(f"{folder}: is a file; name a folder")
    foreign = [
        p.name for p in folder.iterdir() if not re.fullmatch(r"tracked-[0-9]+\.(jpg|png)", p.name)
    ]
    if foreign:
        raise OutputError(f"{folder}: holds other files ({foreign[0]}); name a new or empty folder")


def _free_space(path: Path) -> int:
    return shutil.disk_usage(path.parent).free


def _count_frames(path: Path) -> int:
    """Number of frames of a finished video; 0 where it does not open."""
    cv2 = load_cv2()
    if not path.exists() or not path.stat().st_size:
        return 0
    capture = cv2.VideoCapture(native_name(path, OutputError))
    try:
        if not capture.isOpened() or not capture.grab():
            return 0
        stated = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        if stated > 0:
            return stated
        count = 1  # its end is missing, so it does not know
        while capture.grab():
            count += 1
        return count
    finally:
        capture.release()
