"""Where tracks go.

A sink writes to a temporary file beside its output. ``close`` gives it its name, so that an output
appears whole and what stood there before stays until then; ``discard`` removes it.
"""

from __future__ import annotations

from typing import Protocol

from jdetrt.runtime.sinks.text import JsonLinesSink, KittiSink, MotSink
from jdetrt.runtime.sinks.video import FramesSink, VideoSink
from jdetrt.types import Frame, Tracks

__all__ = ["FramesSink", "JsonLinesSink", "KittiSink", "MotSink", "Sink", "VideoSink"]


class Sink(Protocol):
    """Takes frames with their tracks, in order.

    Those of this package are also context managers: see ``jdetrt.runtime.sinks.output.Output``.
    """

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Write the tracks of one frame. Raises SinkError; the frames before are kept."""

    def close(self) -> None:
        """Complete the output; a second call does nothing. Raises SinkError."""

    def discard(self) -> None:
        """Leave no output, nor a trace of it; after ``close`` it does nothing."""
