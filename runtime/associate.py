"""Second half of every pipeline: detections of a frame become tracks in files."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from jdetrt.errors import DataError, JdetrtError, OutputError
from jdetrt.runtime.camera_motion import CameraMotion
from jdetrt.runtime.signals import interrupt_held
from jdetrt.runtime.sinks.base import FrameResult, Sink, Watcher
from jdetrt.runtime.timing import Stopwatch
from jdetrt.runtime.tracking.filter import reportable
from jdetrt.runtime.tracking.tracker import Tracker
from jdetrt.types import Detections, Frame, Size, Tracks

__all__ = ["ASSOCIATION", "STAGES", "Associate", "OnFrame", "Select"]

OnFrame = Callable[[Frame, Tracks], None]
Select = Callable[[Frame, Detections], Detections]

ASSOCIATION = ("associate", "write")  # the stages of tracking without a network
STAGES = ("read", "motion", "preprocess", "network", "decode", *ASSOCIATION)


class Associate:
    """Passes the detections of a frame through tracker, size filter and sinks.

    Args:
        tracker: its settings also say which tracks are reported.
        sinks: get every frame with its reported tracks, in this order.
        on_frame: called after each frame is written.
        stopwatch: gets the stages "associate" and "write".
        name: of the stream.
        several: whether the run has other streams.
        live: whether timestamps of frames are times of ``time.monotonic()``.
        watchers: called with each result, after ``on_frame``.
        select: leaves out detections that are not to be tracked, such as those behind a mask.
        camera_motion: has noted the frames, and learns where people are; None for a still camera.
    """

    def __init__(
        self,
        tracker: Tracker,
        sinks: Sequence[Sink],
        on_frame: OnFrame | None,
        stopwatch: Stopwatch,
        *,
        name: str = "",
        several: bool = False,
        live: bool = False,
        watchers: Sequence[Watcher] = (),
        select: Select | None = None,
        camera_motion: CameraMotion | None = None,
    ) -> None:
        with interrupt_held():  # what compiles would swallow Ctrl-C
            tracker.warm_up()
        self.tracker = tracker
        self.stopwatch = stopwatch
        stopwatch.clock = tracker.clock
        self._sinks = sinks
        self._on_frame = on_frame
        self._name = name
        self._several = several
        self._live = live
        self._watchers = watchers
        self._select = select
        self._camera_motion = camera_motion
        self._size: Size | None = None  # of the first frame: the pixels that the tracker counts in

    def __call__(self, frame: Frame, detections: Detections | None) -> Tracks:
        """Take in the next frame and return its reported tracks.

        A source without timestamps has its frames one ``frame_rate`` of the tracker apart by their
        numbers, so that frames left out count as time.

        Args:
            frame: of the source.
            detections: in it; None where nobody looked for any.

        Raises:
            DataError: the tracker refuses the detections; the message names the frame.
            OutputError: a sink cannot be written.
        """
        with self.stopwatch.stage("associate"):
            if detections is None:
                tracks = Tracks.empty()
            else:
                scale = self._scale(frame)
                if self._select is not None:
                    detections = self._select(frame, detections)
                if scale is not None:
                    detections = detections.scaled(1 / scale[0], 1 / scale[1])
                motion = self._motion(frame, scale)
                try:
                    tracks = self.tracker.update(detections, self._time(frame), motion)
                except DataError as err:
                    raise DataError(f"frame {frame.index}: {err}") from err
                tracks = self._reportable(tracks, scale, len(detections))
        return self._finish(frame, tracks)

    def between(self, frame: Frame) -> Tracks:
        """Take in a frame that no detector looks at: the tracks before move on to its time.

        Raises:
            OutputError: a sink cannot be written.
        """
        with self.stopwatch.stage("associate"):
            tracks = self.tracker.between(self._time(frame))
            tracks = self._reportable(tracks, self._scale(frame), 0)
        return self._finish(frame, tracks)

    def _motion(
        self, frame: Frame, scale: tuple[float, float] | None
    ) -> npt.NDArray[np.float64] | None:
        """The camera's motion since the last update, in the pixels that the tracker counts in."""
        if self._camera_motion is None:
            return None
        motion = self._camera_motion.until(frame.index)
        if motion is not None and scale is not None:
            motion /= np.array(scale)[:, None]
            motion[:, :2] *= scale
        return motion

    def _time(self, frame: Frame) -> float:
        if frame.timestamp is None:
            return frame.index / self.tracker.frame_rate
        return frame.timestamp

    def _reportable(
        self, tracks: Tracks, scale: tuple[float, float] | None, detections: int
    ) -> Tracks:
        """Leave out tracks of an unlikely shape, and count detections and tracks left out."""
        if scale is not None:
            tracks = tracks.scaled(*scale)
        if self._camera_motion is not None:
            self._camera_motion.people = tracks.boxes
        shaped = reportable(tracks, self.tracker.config.max_aspect, self.tracker.config.min_area)
        self.stopwatch.count(detections, len(tracks) - len(shaped))
        return shaped

    def _finish(self, frame: Frame, tracks: Tracks) -> Tracks:
        with self.stopwatch.stage("write"):
            for sink in self._sinks:
                sink.write(frame, tracks)
        age = None
        if self._live and frame.timestamp is not None:
            age = time.monotonic() - frame.timestamp
        self.stopwatch.finish(frame.index, tracks.ids.tolist(), age)
        if self._on_frame is not None:
            self._on_frame(frame, tracks)
        if self._watchers:
            result = FrameResult(self._name, frame, tracks, age, self.stopwatch.latest())
            for watcher in self._watchers:
                watcher(result)
        return tracks

    def _scale(self, frame: Frame) -> tuple[float, float] | None:
        """Frame size of a camera by that of its first frame, in x and y; None for the same.

        The tracker goes on in pixels of the first frame, so that people keep their ids when a
        camera comes back in another resolution.
        """
        if not self._live:
            return None
        size = Size.of(frame.image)
        if self._size is None:
            self._size = size
        if size == self._size or min(*size, *self._size) < 1:
            return None
        return size.width / self._size.width, size.height / self._size.height

    @contextmanager
    def completing_sinks(self) -> Iterator[None]:
        """Complete the sinks when the block ends, however it ends; discard them without a frame."""
        try:
            yield
        except BaseException as err:
            with interrupt_held():
                self._keep(err)
            raise
        with interrupt_held():
            failed = self._complete()
        if failed:
            raise failed[0]

    def _keep(self, err: BaseException) -> None:
        if self.stopwatch.frames == 0:
            for sink in self._sinks:
                sink.discard()
            return
        failed = self._complete()
        if not self._sinks or not isinstance(err, (JdetrtError, KeyboardInterrupt)):
            return
        lines = [str(err)] if str(err) else []
        if len(failed) < len(self._sinks):
            of_whom = f" of {self._name}" if self._several else ""
            last = self.stopwatch.report().last_frame
            # Those that come before a sink that fails have the frame that it fails at.
            ahead = sum(getattr(sink, "frames", 0) > self.stopwatch.frames for sink in self._sinks)
            more = f" ({ahead} of {len(self._sinks)} outputs: one frame more)" if ahead else ""
            lines.append(f"Results{of_whom} up to frame {last} are kept{more}.")
        lines += [str(lost) for lost in failed if str(lost) != str(err)]
        err.args = ("\n".join(lines),)

    def _complete(self) -> list[OutputError]:
        """Close all sinks, and say which could not be: one that fails does not stop the others."""
        return [err for sink in self._sinks if (err := _close(sink)) is not None]


def _close(sink: Sink) -> OutputError | None:
    try:
        sink.close()
    except OutputError as err:
        return err
    return None
