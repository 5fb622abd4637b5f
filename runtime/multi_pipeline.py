"""Pipeline of several sources through one network: in batches, each with its own tracker.

Nothing is shared between the streams but the network. Each has its ids from 1, its sinks and its
report, and its tracks are those that it would have alone.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

import numpy as np

from jdetrt.errors import ConfigError, JdetrtError, SourceError
from jdetrt.runtime.associate import STAGES, Associate, OnFrame, Select
from jdetrt.runtime.camera_motion import CameraMotion
from jdetrt.runtime.detector import Detector, detector_for
from jdetrt.runtime.input_buffer import ArrayBuffer, BatchSession, make_batch_buffers
from jdetrt.runtime.prefetch import BUFFERS, Prepared, ReadAhead
from jdetrt.runtime.signals import interrupt_held
from jdetrt.runtime.sinks.base import Sink, Watcher
from jdetrt.runtime.sources.open import Source
from jdetrt.runtime.sources.status import Say, silent
from jdetrt.runtime.timing import RunReport, Stopwatch
from jdetrt.runtime.tracking.tracker import Tracker
from jdetrt.types import Array, Session

__all__ = ["MultiPipeline", "MultiReport", "Stream", "unique"]

_LOOK_AGAIN = 0.5  # seconds; the readers say earlier when they have a frame


@dataclass(frozen=True, slots=True)
class Stream:
    """One source, its tracker and its sinks.

    Attributes:
        source: it is iterated once and then closed.
        tracker: of this source alone.
        sinks: get every frame of it, in order.
        on_frame: called after each frame is written.
        name: by default that of the source; a second stream of a name becomes ``name-2``.
        select: leaves out detections that are not to be tracked.
    """

    source: Source
    tracker: Tracker
    sinks: Sequence[Sink] = ()
    on_frame: OnFrame | None = None
    name: str = ""
    select: Select | None = None


@dataclass(frozen=True, slots=True)
class MultiReport:
    """Counts and rates of a run.

    Attributes:
        streams: of each stream, in their order; "network" there is the time of a whole batch.
        names: of the streams, in the same order.
        fps: frames a second of all streams together, from the first finished batch to the last.
        batches: how many runs of the network.
        batch: images in one, on average.
    """

    streams: tuple[RunReport, ...]
    names: tuple[str, ...]
    fps: float
    batches: int
    batch: float


@dataclass(eq=False)
class _Lane:
    """A stream on its way."""

    stream: Stream
    name: str
    detector: Detector
    ahead: ReadAhead
    associate: Associate
    stopwatch: Stopwatch
    frames_left: float
    ended: bool = field(default=False)

    def next(self, *, wait: bool) -> Prepared | None:
        """The next frame; None where there is none, or without ``wait`` none yet."""
        if self.ended or self.frames_left <= 0:
            self.ended = True
            return None
        item = self.ahead.get(wait=wait)
        if item is not None:
            self.frames_left -= 1
        elif wait or self.ahead.finished:
            self.ended = True
        return item

    def failure(self) -> SourceError | None:
        """Why the stream ended early or had nothing; None where all is well, or it goes on."""
        error = self.ahead.error if self.ended else None
        if error is not None:
            return error if isinstance(error, SourceError) else SourceError(str(error))
        if self.ended and self.stopwatch.frames == 0:
            return SourceError(f"{self.stream.source.uri}: has no frames")
        return None


_Batch = list[tuple[_Lane, Prepared]]


class MultiPipeline:
    """Tracks people through several sources with one network.

    Each round takes the next frame of every source that has one and runs them as one batch; where
    the model takes one image at a time, or not as many as there are sources, these take turns.
    Meanwhile the frames before are finished. A session on a GPU letterboxes there, and where no
    source is live a second batch waits at the GPU.
    A source that breaks off or ends early leaves the round, and the others go on. Where one of the
    sources is live, no round waits for a source that has no frame yet.

    Args:
        streams: the sources with their trackers and sinks.
        model: a `Detector`; or a session of a JDE model, which is used for each stream with the
            thresholds of its tracker's settings. Either stays open; close it yourself.
        size: width and height of the network input of a session; by default as the model says.
        max_frames: end each stream after so many frames.
        every: the network sees one of so many frames of each stream, as in
            `jdetrt.runtime.pipeline.Pipeline`; the streams take turns.
        watchers: get each frame of every stream with its tracks and times, once it is written.
        camera_motion: as for `Pipeline`.
        say: gets a line when a stream ends with an error while others go on.

    Attributes:
        names: of the streams, in their order, each once.

    Raises:
        ConfigError: no stream, or two streams with one tracker.
        SessionError: the session holds another model than a JDE model.
    """

    def __init__(
        self,
        streams: Sequence[Stream],
        model: Session | Detector,
        *,
        size: tuple[int, int] | None = None,
        max_frames: int | None = None,
        every: int = 1,
        watchers: Sequence[Watcher] = (),
        say: Say = silent,
        camera_motion: str = "auto",
    ) -> None:
        if not streams:
            raise ConfigError("no stream given: nothing to track")
        if len({id(stream.tracker) for stream in streams}) < len(streams):
            raise ConfigError("two streams have the same tracker; each needs its own")
        self._session = session = model.session if isinstance(model, Detector) else model
        limit = float("inf") if max_frames is None else max_frames
        self._lanes: list[_Lane] = []
        self._news = threading.Event()
        self._live = any(stream.source.live for stream in streams)
        self._say = say
        self.names = unique([stream.name or stream.source.name for stream in streams])
        detectors = [detector_for(model, stream.tracker.config, size) for stream in streams]
        count = BUFFERS * len(streams)
        waiting = iter(make_batch_buffers(session, detectors[0].size, count))
        for stream, name, detector in zip(streams, self.names, detectors, strict=True):
            watch = Stopwatch(STAGES, stream.source)
            buffers = [next(waiting) for _ in range(BUFFERS)]
            moves = CameraMotion(camera_motion)
            ahead = ReadAhead(
                stream.source,
                buffers,
                watch,
                self._news,
                every=every,
                phase=len(self._lanes),
                camera_motion=moves,
            )
            associate = Associate(
                stream.tracker,
                stream.sinks,
                stream.on_frame,
                watch,
                name=name,
                several=True,
                live=stream.source.live,
                watchers=watchers,
                select=stream.select,
                camera_motion=moves,
            )
            self._lanes.append(_Lane(stream, name, detector, ahead, associate, watch, limit))
        self._input = session.inputs[0].name
        self._batched = session.inputs[0].shape[0] == -1
        self._most = len(streams) if self._batched else 1  # images in a run
        self._depth = 1  # runs that are open at a time
        self._collect_outputs = session.wait
        if isinstance(session, BatchSession):
            self._most = min(self._most, session.largest_batch)
            self._depth = 1 if self._live else session.depth
            self._collect_outputs = session.collect
        self._submitted: deque[float] = deque()  # when, of the runs that are open
        self._batches = self._images = self._turn = 0
        self._finished: list[tuple[float, int]] = []  # first and last: when, frames until then

    def run(self) -> MultiReport:
        """Track to the end of all sources and complete the sinks.

        When anything but a source fails, or Ctrl-C is pressed, the frames before are written and
        the sinks of all streams completed before the error goes on.

        Raises:
            SourceError: sources broke off or had no frame; the other streams are complete.
            SessionError: the network fails.
            OutputError: a sink cannot be written.
            DataError: a tracker refuses what the network gave.
        """
        with ExitStack() as stack:
            for lane in self._lanes:
                stack.enter_context(lane.associate.completing_sinks())
            with ExitStack() as readers:
                for lane in self._lanes:
                    readers.enter_context(lane.ahead)
                self._loop()
            failures = [failure for lane in self._lanes if (failure := lane.failure()) is not None]
            if len(failures) == 1:
                raise failures[0]
            if failures:
                raise SourceError("\n".join(map(str, failures)))
        return self.report()

    def stop(self) -> None:
        """End the run after the frames in hand, as if all sources had ended there."""
        for lane in self._lanes:
            lane.ahead.stop()

    def report(self) -> MultiReport:
        """The run so far; also good after an error."""
        fps = 0.0
        if len(self._finished) == 2 and self._finished[1][0] > self._finished[0][0]:
            (first, before), (last, after) = self._finished
            fps = (after - before) / (last - first)
        return MultiReport(
            streams=tuple(lane.stopwatch.report() for lane in self._lanes),
            names=tuple(self.names),
            fps=fps,
            batches=self._batches,
            batch=self._images / self._batches if self._batches else 0.0,
        )

    def _loop(self) -> None:
        at_network: deque[_Batch] = deque()  # oldest first
        failure: Exception | None = None
        try:
            while True:
                self._news.clear()
                ended = failure is not None or all(lane.ended for lane in self._lanes)
                full = ended or len(at_network) == self._depth
                done = at_network[0] if at_network and full else []
                outputs = self._collect(done)
                following = [] if ended else self._next_batch()
                with interrupt_held():
                    if done:
                        at_network.popleft()
                    if following:
                        try:
                            self._submit(following)
                            at_network.append(following)
                        except Exception as err:  # raised when the frames before are done
                            failure = err
                    self._finish(done, outputs)
                if not at_network:
                    if ended or failure is not None:
                        break
                    if self._live:  # a source that is not live was waited for
                        self._news.wait(_LOOK_AGAIN)
        finally:
            for batch in at_network:  # left by an error: give the session back idle
                if _goes_to_network(batch):
                    with suppress(JdetrtError):
                        self._session.wait()
        if failure is not None:
            raise failure

    def _next_batch(self) -> _Batch:
        """The next frame of every stream that has one, or of as many as a run takes, in turn."""
        batch: _Batch = []
        lanes = self._lanes[self._turn :] + self._lanes[: self._turn]
        for lane in lanes:
            ended = lane.ended
            item = lane.next(wait=not self._live)
            if item is not None:
                batch.append((lane, item))
                if len(batch) == self._most < len(lanes):
                    self._turn = (self._lanes.index(lane) + 1) % len(lanes)
                    break
            elif lane.ended and not ended and (failure := lane.failure()) is not None:
                self._say(f"{lane.name}: {failure}")
        return batch

    def _submit(self, batch: _Batch) -> None:
        buffers = [item.buffer for _, item in batch if item.buffer is not None]
        if not buffers:  # frames between those that the network sees
            return
        begin = time.perf_counter()
        tensors = [buffer.tensor for buffer in buffers if isinstance(buffer, ArrayBuffer)]
        if tensors:
            images = tensors[0] if len(tensors) == 1 else np.concatenate(tensors)
            self._session.submit({self._input: images})
        elif self._batched and isinstance(self._session, BatchSession):
            self._session.submit_batch(buffers)
        else:
            (buffer,) = buffers
            buffer.submit()
        self._submitted.append(begin)
        self._batches += 1
        self._images += len(buffers)

    def _collect(self, batch: _Batch) -> dict[str, Array]:
        if not _goes_to_network(batch):
            return {}
        outputs = self._collect_outputs()
        elapsed = time.perf_counter() - self._submitted.popleft()
        seconds = self._session.last_run_seconds or elapsed
        for lane, item in batch:
            if item.buffer is not None:
                lane.stopwatch.add("network", seconds)
        return outputs

    def _finish(self, batch: _Batch, outputs: Mapping[str, Array]) -> None:
        index = -1
        for lane, item in batch:
            if item.letterbox is None:
                lane.ahead.give_back(item)
                lane.associate.between(item.frame)
                continue
            index += 1
            with lane.stopwatch.stage("decode"):
                detections = lane.detector.decode(outputs, item.letterbox, index)
            lane.ahead.give_back(item)  # not before: the outputs may be the buffer's
            lane.stopwatch.full += lane.detector.full
            lane.associate(item.frame, detections)
        if batch:
            frames = sum(lane.stopwatch.frames for lane in self._lanes)
            self._finished = [*self._finished[:1], (time.perf_counter(), frames)]


def unique(names: Sequence[str]) -> list[str]:
    """Make names of streams differ: the second of a name gets ``-2`` behind it, and so on.

    >>> unique(["door", "door", "yard", "door"])
    ['door', 'door-2', 'yard', 'door-3']
    """
    taken: set[str] = set(names)
    result: list[str] = []
    for name in names:
        number, other = 1, name
        while other in result or (number > 1 and other in taken):
            number += 1
            other = f"{name}-{number}"
        result.append(other)
    return result


def _goes_to_network(batch: _Batch) -> bool:
    """True for a batch unless all of it are frames that the network does not see."""
    return any(item.buffer is not None for _, item in batch)
