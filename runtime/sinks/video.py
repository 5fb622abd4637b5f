"""Annotated video."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from jdetrt.errors import OutputError
from jdetrt.files import check_writable
from jdetrt.runtime.opencv import load_cv2, native_name
from jdetrt.runtime.pyav import load_av
from jdetrt.runtime.sinks.base import Output, PendingFile, frames_kept
from jdetrt.runtime.sinks.encoder import CODECS, Encoder, open_encoder
from jdetrt.runtime.sinks.painter import Overlay, Painter
from jdetrt.runtime.sinks.rotation import NO_ROTATION, Rotation, set_aside
from jdetrt.types import Frame, Size, Tracks

__all__ = ["VideoSink"]

_RESERVE = 8 << 20  # bytes that stay free on the disk: room to complete a video in
_INDEX_ENTRY = 32  # bytes a frame in the index at the end, at most
_HIGHEST_RATE = 1000
_MISCOUNT = 2  # frames; containers that state a duration and no count are off by one or so


class VideoSink(Output):
    """An annotated video.

    With PyAV, ``.mp4`` and ``.mkv`` are H.264 in a form that plays up to the last second when the
    process is killed: under its own name where it is live, else as ``NAME.part.mp4`` beside it
    until it is complete. Without PyAV, and as ``.avi``, it is OpenCV's MPEG-4 under a temporary
    name, lost by a kill; its frames are counted before it gets its name, for OpenCV reports no
    errors. Free space is checked before each frame.

    Frames of another size than the first are fitted into its size, with black borders.

    Args:
        path: ends in .mp4, .avi or .mkv; its folder is made.
        frame_rate: of the video, frames per second.
        trail_length: frames of the trail behind each person; 0 for none.
        overlay: draws more on each frame.
        name: of the class of the tracks, before each id; empty for people.
        live: the video grows under its own name and each frame is shown at the time of its
            timestamp; a new video begins as this says. One that stands there is set aside.

    Attributes:
        notes: what is to be known of the video, once it is closed.

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
        name: str = "",
        live: Rotation | None = None,
    ) -> None:
        self._path = Path(path)
        suffix = self._path.suffix.lower()
        if suffix not in CODECS:
            raise OutputError(
                f"{path}: expected a video file ending in {', '.join(CODECS)}, got "
                f"'{self._path.suffix}'"
            )
        if not 0 < frame_rate <= _HIGHEST_RATE:
            raise OutputError(
                f"{path}: expected a frame rate above 0, at most {_HIGHEST_RATE}, got {frame_rate}"
            )
        load_cv2()
        native_name(self._path, OutputError)
        self.notes: list[str] = []
        self._survives = load_av() is not None and suffix != ".avi"
        self._frame_rate = frame_rate
        self._paint = Painter(trail_length, overlay, name)
        self._live = live
        self._file: _VisibleFile | PendingFile | None = self._new_file()
        self._encoder: Encoder | None = None
        self._opened = 0.0
        self._size: Size | None = None
        self._in_file = 0  # frames of the file that is open
        self._fitted = 0
        self._failed = False

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Draw and encode one frame. Raises OutputError."""
        image = self._paint(self._path, frame, tracks)
        self.encode(image, frame.index, frame.timestamp)

    def encode(
        self, image: npt.NDArray[np.uint8], index: int, seconds: float | None = None
    ) -> None:
        """Encode an image that is drawn already: frame ``index``. Raises OutputError."""
        if self._file is None:
            raise OutputError(f"{self._path}: is closed; frame {index} is not written")
        if self._encoder is not None and self._is_full():
            self.close()
            self._file = self._new_file()
        size = Size.of(image)
        if self._encoder is None:
            self._encoder = self._open(size)
            self._size = size
        assert self._size is not None
        if size != self._size:
            image = _fitted(image, self._size)
            self._fitted += 1
        if _free_space(self._path) < _RESERVE + _INDEX_ENTRY * self._in_file:
            raise self._stop("the disk is full")
        try:
            self._encoder.write(image, seconds)
        except OSError as err:
            self._failed = True
            raise self._stop(f"cannot be written ({err.strerror or err})") from err
        self.frames += 1
        self._in_file += 1

    def close(self) -> None:
        """Complete the video, check it and give it its name. Raises OutputError."""
        if self._file is None:
            return
        if self._encoder is None:  # a video without a frame does not exist
            self.discard()
            return
        encoder, self._encoder = self._encoder, None
        written, self._in_file = self._in_file, 0
        lost = ""
        try:
            encoder.close()
        except OSError as err:  # what it could not complete is missing at the end
            lost = f" ({err.strerror or err})"
        failed, self._failed = self._failed or bool(lost), False
        complete = written
        if failed or not self._survives:  # OpenCV reports no errors
            complete = _count_frames(self._file.temporary, trusted=not failed)
        if not complete:
            self.discard()
            raise OutputError(
                f"{self._path}: the video cannot be completed (is the disk full?); nothing is kept"
            )
        file, self._file = self._file, None
        file.commit()
        self.frames -= written - min(complete, written)
        self._note()
        if lost or complete < written - max(_MISCOUNT, written // 100):
            raise OutputError(
                f"{self._path}: only {complete} of {written} frames reached the disk (is it "
                f"full?){lost}; they are kept"
            )

    def discard(self) -> None:
        """Leave no video."""
        if self._file is None:
            return
        if self._encoder is not None:
            with suppress(OSError):
                self._encoder.close()
        file, self._file = self._file, None
        file.drop()

    def _stop(self, reason: str) -> OutputError:
        """Complete the video with the frames it has."""
        kept = ""
        try:
            self.close() if self._in_file else self.discard()
        except OutputError as err:
            kept = str(err).removeprefix(f"{self._path}: ")
        return OutputError(f"{self._path}: {reason}; {kept or frames_kept(self.frames)}")

    def _open(self, size: Size) -> Encoder:
        assert self._file is not None
        self._opened = time.monotonic()
        try:
            return open_encoder(
                self._file.temporary, size, self._frame_rate, clock=self._live is not None
            )
        except (OutputError, OSError) as err:
            self.discard()
            raise OutputError(f"{self._path}: {err}") from err

    def _new_file(self) -> _VisibleFile | PendingFile:
        if self._live is not None:
            set_aside(self._path, self._live.keep)
            return _VisibleFile(self._path, self._path)
        if self._survives:
            return _VisibleFile(self._path, self._path.with_suffix(f".part{self._path.suffix}"))
        return PendingFile(self._path)

    def _is_full(self) -> bool:
        if self._live is None or self._file is None or self._live == NO_ROTATION:
            return False
        return self._live.due(self._file.temporary.stat().st_size, self._opened)

    def _note(self) -> None:
        self.notes = []
        if self._fitted:
            self.notes.append(
                f"frames of another size are fitted into {self._size}: {self._fitted} of "
                f"{self.frames}"
            )
        if not self._survives:
            self.notes.append(
                "encoded by OpenCV: browsers do not play it, and it would not have survived a "
                "kill; for H.264 that does, install PyAV (pip install av) and write .mp4"
            )


class _VisibleFile:
    """A file that grows where everybody sees it, and gets another name at the end, or not.

    Raises:
        OutputError: it cannot be made.
    """

    def __init__(self, path: Path, temporary: Path) -> None:
        self.path, self.temporary = path, temporary
        for one in {path, temporary}:
            check_writable(one)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.touch()
        except OSError as err:
            raise OutputError(f"{path}: cannot be written ({err.strerror or err})") from err

    def commit(self) -> None:
        try:
            with self.temporary.open("rb") as file:
                os.fsync(file.fileno())
            self.temporary.replace(self.path)
        except OSError as err:
            raise OutputError(
                f"{self.path}: cannot be completed ({err.strerror or err}); the video is in "
                f"{self.temporary}"
            ) from err

    def drop(self) -> None:
        self.temporary.unlink(missing_ok=True)


def _fitted(image: npt.NDArray[np.uint8], size: Size) -> npt.NDArray[np.uint8]:
    """The image as large as fits into a size, in the middle of black."""
    cv2 = load_cv2()
    own = Size.of(image)
    scale = min(size.width / own.width, size.height / own.height)
    width, height = max(1, round(own.width * scale)), max(1, round(own.height * scale))
    canvas = np.zeros((*size.shape, 3), np.uint8)
    left, top = (size.width - width) // 2, (size.height - height) // 2
    canvas[top : top + height, left : left + width] = cv2.resize(
        image, (width, height), interpolation=cv2.INTER_AREA
    )
    return canvas


def _free_space(path: Path) -> int:
    return shutil.disk_usage(path.parent).free


def _count_frames(path: Path, *, trusted: bool) -> int:
    """Number of frames of a finished video: as it says, if trusted; 0 where it does not open."""
    cv2 = load_cv2()
    if not path.exists() or not path.stat().st_size:
        return 0
    capture = cv2.VideoCapture(native_name(path, OutputError))
    try:
        if not capture.isOpened() or not capture.grab():
            return 0
        stated = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if trusted else 0
        if stated > 0:
            return stated
        count = 1  # its end is missing, so it does not know
        while capture.grab():
            count += 1
        return count
    finally:
        capture.release()
