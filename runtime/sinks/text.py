"""Tracks as text: MOT Challenge, KITTI, JSON lines."""

from __future__ import annotations

import json
import time
from abc import abstractmethod
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TextIO

import msgspec

from jdetrt.config import LabelConfig
from jdetrt.errors import OutputError
from jdetrt.runtime.events.counter import Event, EventCounter
from jdetrt.runtime.mot.files import kitti_lines, mot_lines
from jdetrt.runtime.sinks.base import Output, frames_kept
from jdetrt.runtime.sinks.rotation import Rotation
from jdetrt.runtime.sinks.target import open_target
from jdetrt.types import Frame, Tracks

__all__ = ["EventsSink", "JsonLinesSink", "KittiSink", "MotSink", "event_record", "frame_record"]


class _TextSink(Output):
    """One piece of text a frame, each written out before the next, so nothing is lost by a crash.

    Args:
        path: of the text file, whose folder is made; ``-`` for standard output; or a stream that
            is open.
        live: the file grows under its own name, and gives way to a new one as this says; by
            default it gets its name when it is complete.
        label: class of the tracks; None for people.

    Raises:
        OutputError: the file cannot be made.
    """

    def __init__(
        self,
        path: str | Path | TextIO,
        *,
        live: Rotation | None = None,
        label: LabelConfig | None = None,
    ) -> None:
        self._target = open_target(path, live)
        self._label = label

    def write(self, frame: Frame, tracks: Tracks) -> None:
        if self._target.closed:
            raise OutputError(f"{self._target.name}: is closed; frame {frame.index} is not written")
        try:
            self._target.write(self._text(frame, tracks).encode())
        except OSError as err:
            raise self._cut(err) from err
        self.frames += 1

    @abstractmethod
    def _text(self, frame: Frame, tracks: Tracks) -> str:
        """Make the lines of a frame."""

    def close(self) -> None:
        if not self._target.closed:
            self._target.close()

    def discard(self) -> None:
        self._target.discard()

    def _cut(self, err: OSError) -> OutputError:
        """Complete the file with what it had before this frame."""
        path, reason = self._target.name, err.strerror or err
        if not self.frames:
            self.discard()
            return OutputError(f"{path}: cannot be written ({reason}); no frame is kept")
        self.close()
        return OutputError(f"{path}: cannot be written ({reason}); {frames_kept(self.frames)}")


class MotSink(_TextSink):
    """MOT Challenge results: ``frame,id,left,top,width,height,1,-1,-1,-1``.

    With a label its number stands where ground truth has the class, for the first ``-1``.
    """

    def _text(self, frame: Frame, tracks: Tracks) -> str:
        return mot_lines(frame.index, tracks, self._label.id if self._label else -1)


class KittiSink(_TextSink):
    """KITTI tracking results, frames from 0."""

    def _text(self, frame: Frame, tracks: Tracks) -> str:
        return kitti_lines(frame.index, tracks, self._label.name if self._label else "Pedestrian")


class JsonLinesSink(_TextSink):
    """One JSON object a frame, also for frames without a track; see `frame_record`.

    Args:
        path: as for every text.
        live: as for every text.
        stream: name to write into each object, where several streams go to one place.
        clock: the timestamps are times of ``time.monotonic()``, as those of a live source: each
            object also gets the date and time of day, as ``time``.
        label: as for every text.
    """

    def __init__(
        self,
        path: str | Path | TextIO,
        *,
        live: Rotation | None = None,
        stream: str = "",
        clock: bool = False,
        label: LabelConfig | None = None,
    ) -> None:
        super().__init__(path, live=live, label=label)
        self._stream, self._clock = stream, clock

    def _text(self, frame: Frame, tracks: Tracks) -> str:
        record = frame_record(
            frame, tracks, stream=self._stream, clock=self._clock, label=self._label
        )
        return json.dumps(record, allow_nan=False) + "\n"


class EventsSink(_TextSink):
    """One JSON object an event; see `event_record`.

    Args:
        path: as for every text.
        counter: its events are written; it must be a sink of the stream before this one.
        live: as for every text.
        stream: name to write into each object.
        clock: as for `JsonLinesSink`.
    """

    def __init__(
        self,
        path: str | Path | TextIO,
        counter: EventCounter,
        *,
        live: Rotation | None = None,
        stream: str = "",
        clock: bool = False,
    ) -> None:
        super().__init__(path, live=live)
        self._counter, self._stream, self._clock = counter, stream, clock

    def _text(self, frame: Frame, tracks: Tracks) -> str:
        records = (
            event_record(event, stream=self._stream, clock=self._clock)
            for event in self._counter.latest
        )
        return "".join(json.dumps(record, allow_nan=False) + "\n" for record in records)


def event_record(event: Event, *, stream: str = "", clock: bool = False) -> dict[str, Any]:
    """An event as an object for JSON: the fields of `Event` that have a value.

    Args:
        event: at a line or in a zone.
        stream: as for `frame_record`.
        clock: as for `frame_record`.
    """
    record: dict[str, Any] = {"stream": stream} if stream else {}
    record |= msgspec.to_builtins(event)
    record["timestamp"] = round(event.timestamp, 6)
    if clock:
        record["time"] = _time_of_day(event.timestamp)
    return record


def _time_of_day(timestamp: float) -> str:
    """Date and time of day (UTC) of a time of ``time.monotonic()``."""
    moment = datetime.fromtimestamp(time.time() - (time.monotonic() - timestamp), timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def frame_record(
    frame: Frame,
    tracks: Tracks,
    *,
    stream: str = "",
    clock: bool = False,
    label: LabelConfig | None = None,
) -> dict[str, Any]:
    """The tracks of a frame as an object for JSON.

    ``{"frame": 1, "timestamp": 0.0, "tracks": [{"id": 1, "box": [x1, y1, x2, y2], "score": 0.9}]}``
    with boxes in pixels to three decimals and ``null`` where the source states no time.

    Args:
        frame: its number and timestamp are written.
        tracks: of the frame.
        stream: becomes ``"stream"``, if it is not empty.
        clock: the timestamp is a time of ``time.monotonic()``; its date and time of day (UTC)
            become ``"time"``.
        label: class of the tracks; its name and number become ``"label"`` and ``"label_id"`` of
            each. None for people.
    """
    rows = zip(tracks.ids.tolist(), tracks.boxes.tolist(), tracks.scores.tolist(), strict=True)
    record: dict[str, Any] = {"stream": stream} if stream else {}
    record["frame"] = frame.index
    record["timestamp"] = None if frame.timestamp is None else round(frame.timestamp, 6)
    if clock and frame.timestamp is not None:
        record["time"] = _time_of_day(frame.timestamp)
    kind = {} if label is None else {"label": label.name, "label_id": label.id}
    record["tracks"] = [
        {"id": track, **kind, "box": [round(v, 3) for v in box], "score": round(score, 4)}
        for track, box, score in rows
    ]
    return record
