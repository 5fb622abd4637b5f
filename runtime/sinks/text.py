"""Tracks as text: MOT Challenge, KITTI, JSON lines."""

from __future__ import annotations

import json
import os
from abc import abstractmethod
from pathlib import Path

from jdetrt.errors import OutputError
from jdetrt.runtime.mot_io import kitti_lines, mot_lines
from jdetrt.runtime.sinks.base import Output, PendingFile, frames_kept
from jdetrt.types import Frame, Tracks

__all__ = ["JsonLinesSink", "KittiSink", "MotSink"]


class _TextSink(Output):
    """One piece of text a frame, each written out before the next, so nothing is lost by a crash.

    Args:
        path: of the text file; its folder is made.

    Raises:
        OutputError: the file cannot be made.
    """

    def __init__(self, path: str | Path) -> None:
        self._pending = PendingFile(path)
        # Unbuffered: an error belongs to the frame that caused it.
        self._file = self._pending.temporary.open("wb", buffering=0)
        self._end = 0  # of the last frame that is there in full

    def write(self, frame: Frame, tracks: Tracks) -> None:
        if self._file.closed:
            raise OutputError(
                f"{self._pending.path}: is closed; frame {frame.index} is not written"
            )
        rest = memoryview(self._text(frame, tracks).encode())
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as err:
            raise self._cut(err) from err
        self._end = self._file.tell()
        self.frames += 1

    @abstractmethod
    def _text(self, frame: Frame, tracks: Tracks) -> str:
        """Make the lines of a frame."""

    def close(self) -> None:
        if self._file.closed:
            return
        try:
            self._file.truncate(self._end)
            os.fsync(self._file.fileno())  # some file systems report a full disk only here
        except OSError as err:
            self.discard()
            raise OutputError(
                f"{self._pending.path}: cannot be completed ({err.strerror}); it is discarded"
            ) from err
        self._file.close()
        self._pending.commit()

    def discard(self) -> None:
        if not self._file.closed:
            self._file.close()
            self._pending.drop()

    def _cut(self, err: OSError) -> OutputError:
        """Complete the file with what it had before this frame."""
        path, reason = self._pending.path, err.strerror or err
        if not self.frames:
            self.discard()
            return OutputError(f"{path}: cannot be written ({reason}); no frame is kept")
        self.close()
        return OutputError(f"{path}: cannot be written ({reason}); {frames_kept(self.frames)}")


class MotSink(_TextSink):
    """MOT Challenge results: ``frame,id,left,top,width,height,1,-1,-1,-1``."""

    def _text(self, frame: Frame, tracks: Tracks) -> str:
        return mot_lines(frame.index, tracks)


class KittiSink(_TextSink):
    """KITTI tracking results, frames from 0."""

    def _text(self, frame: Frame, tracks: Tracks) -> str:
        return kitti_lines(frame.index, tracks)


class JsonLinesSink(_TextSink):
    """One JSON object a frame, also for frames without a track.

    ``{"frame": 1, "timestamp": 0.0, "tracks": [{"id": 1, "box": [x1, y1, x2, y2], "score": 0.9}]}``
    with boxes in pixels to three decimals and ``null`` where the source states no time.
    """

    def _text(self, frame: Frame, tracks: Tracks) -> str:
        rows = zip(tracks.ids.tolist(), tracks.boxes.tolist(), tracks.scores.tolist(), strict=True)
        record = {
            "frame": frame.index,
            "timestamp": None if frame.timestamp is None else round(frame.timestamp, 6),
            "tracks": [
                {"id": track, "box": [round(v, 3) for v in box], "score": round(score, 4)}
                for track, box, score in rows
            ],
        }
        return json.dumps(record, allow_nan=False) + "\n"
