"""Pipeline: from a source to tracks in files, its stages overlapping."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

import numpy as np

from jdetrt.errors import DataError, JdetrtError, SourceError
from jdetrt.runtime.associate import ASSOCIATION, STAGES, Associate, OnFrame, Select
from jdetrt.runtime.camera_motion import CameraMotion
from jdetrt.runtime.detector import Detector, detector_for
from jdetrt.runtime.mot.public_detections import is_thinned
from jdetrt.runtime.prefetch import BUFFERS, Prepared, ReadAhead
from jdetrt.runtime.signals import interrupt_held
from jdetrt.runtime.sinks.base import Sink, Watcher
from jdetrt.runtime.sources.images import Images
from jdetrt.runtime.sources.open import Source
from jdetrt.runtime.timing import RunReport, Stopwatch
from jdetrt.runtime.tracking.tracker import Tracker
from jdetrt.types import Array, Detections, Frame, Session, Tracks

__all__ = ["ASSOCIATION", "OnFrame", "Pipeline", "track_detections"]


class Pipeline:
    """Tracks people through a source: read, letterbox, network, decode, associate, write.

    Three things go on at once: a thread reads and letterboxes the next frames (two threads, where a
    GPU letterboxes), the session runs the network on frame k+1, and the calling thread decodes,
    associates and writes frame k. Frames are finished in order. Of a live source the newest frame
    is taken; those that came while the network was busy are left out. Where the session letterboxes
    on its GPU, the stage "preprocess" ends when the CPU is done with the frame, and frame k+2 may
    queue there behind k+1; not that of a live source, because a queued frame would be stale.

    Args:
        source: frames; it is iterated once and then closed.
        model: a `Detector`; or a session of a JDE model, which is used with the thresholds of the
            tracker's settings. Either stays open; close it yourself.
        tracker: its settings also say which tracks are reported.
        sinks: get every frame with its reported tracks, in this order.
        size: width and height of the network input of a session; by default as the model says.
        max_frames: end after so many frames.
        on_frame: called after each frame is written, for progress or a preview.
        every: the network sees the first of so many frames; in those between, the tracks move on
            as they did (`jdetrt.runtime.tracking.tracker.Tracker.between`).
        name: of the stream; by default that of the source.
        watchers: get each frame with its tracks and times, once it is written.
        camera_motion: ``"auto"``: where the camera moves, it is estimated how, in the reader's
            thread, and tracks move along; ``"on"``: always estimated; ``"off"``: never.
        select: leaves out detections that are not to be tracked, as
            `jdetrt.runtime.events.counter.EventCounter.select` does.

    Raises:
        SessionError: the session holds another model than a JDE model.

    A pipeline runs once::

        from jdetrt.engine.open import open_session
        from jdetrt.runtime.pipeline import Pipeline
        from jdetrt.runtime.settings import tracker_config
        from jdetrt.runtime.sinks.text import MotSink
        from jdetrt.runtime.sources.open import open_source
        from jdetrt.runtime.tracking.tracker import Tracker

        with open_session("model.onnx") as session:
            source = open_source("video.mp4")
            tracker = Tracker(tracker_config(session), source.frame_rate)
            report = Pipeline(source, session, tracker, [MotSink("tracks.txt")]).run()
        print(report.system_fps)

    or hands out each frame with its tracks, after they are written::

        for frame, tracks in Pipeline(source, session, tracker):
            print(frame.index, tracks.ids)
    """

    def __init__(
        self,
        source: Source,
        model: Session | Detector,
        tracker: Tracker,
        sinks: Sequence[Sink] = (),
        *,
        size: tuple[int, int] | None = None,
        max_frames: int | None = None,
        on_frame: OnFrame | None = None,
        every: int = 1,
        name: str | None = None,
        watchers: Sequence[Watcher] = (),
        select: Select | None = None,
        camera_motion: str = "auto",
    ) -> None:
        self._source = source
        self._detector = detector_for(model, tracker.config, size)
        self._session = self._detector.session
        self._stopwatch = Stopwatch(STAGES, source)
        moves = CameraMotion(camera_motion)
        self._associate = Associate(
            tracker,
            sinks,
            on_frame,
            self._stopwatch,
            name=name or source.name,
            live=source.live,
            watchers=watchers,
            select=select,
            camera_motion=moves,
        )
        self._frames_left = float("inf") if max_frames is None else max_frames
        # One more frame is taken while the oldest run still holds its buffer, and one is filled.
        buffers = self._detector.buffers(max(BUFFERS, self._detector.depth + 2))
        self._ahead = ReadAhead(source, buffers, self._stopwatch, every=every, camera_motion=moves)
        self._depth = 1 if source.live else self._detector.depth  # runs that are open at a time
        self._submitted: deque[float] = deque()  # when, of the runs that are open

    def run(self) -> RunReport:
        """Track to the end of the source and complete the sinks.

        When anything fails, or Ctrl-C is pressed, the frames before are written and the sinks
        completed before the error goes on; its message then says up to which frame results are
        kept. Without a single frame the sinks are discarded.

        Raises:
            SourceError: the source breaks off, or has no frame.
            SessionError: the network fails.
            OutputError: a sink cannot be written.
            DataError: the tracker refuses what the network gave; the message names the frame.
        """
        with self._associate.completing_sinks():
            with self._ahead:
                for _ in self._loop():
                    pass
            self._check_end()
        return self.report()

    def __iter__(self) -> Generator[tuple[Frame, Tracks], None, None]:
        """Track as `run` does, and yield each frame with its reported tracks.

        Where the caller leaves early (``break``, or ``close`` of the iterator), the source is
        closed and the sinks are completed with the frames up to there. While the caller works on a
        frame, the next ones are read and the network runs.

        Raises:
            SourceError, SessionError, OutputError, DataError: as in `run`.
        """
        with self._associate.completing_sinks():
            with self._ahead:
                try:
                    yield from self._loop()
                except GeneratorExit:
                    return
            self._check_end()

    def stop(self) -> None:
        """End the run after the frames in hand, as if the source had ended there."""
        self._ahead.stop()

    def report(self) -> RunReport:
        """The run so far; also good after an error."""
        return self._stopwatch.report()

    def _check_end(self) -> None:
        if self._ahead.error is not None:
            raise self._ahead.error
        if self._stopwatch.frames == 0:
            raise SourceError(f"{self._source.uri}: has no frame")

    def _loop(self) -> Iterator[tuple[Frame, Tracks]]:
        at_network: deque[Prepared] = deque()  # oldest first
        ended = False
        failure: Exception | None = None
        try:
            while at_network or not ended:
                full = ended or len(at_network) == self._depth
                done = at_network[0] if at_network and full else None
                outputs = self._collect(done)
                # With a result in hand, do not hold it back until a camera gives its next frame.
                wait = done is None or not self._source.live
                following = None if ended else self._next(wait=wait)
                ended = ended or (following is None and wait)
                with interrupt_held():
                    if done is not None:
                        at_network.popleft()
                    if following is not None:
                        try:
                            self._submit(following)
                            at_network.append(following)
                        except Exception as err:  # raised when the frames before it are done
                            failure, ended = err, True
                    if done is not None:
                        tracks = self._finish(done, outputs)
                if done is not None:
                    yield done.frame, tracks
        except Exception as err:
            if failure is not None:  # which came first
                raise failure from err
            raise
        else:
            if failure is not None:
                raise failure
        finally:
            for item in at_network:  # left by an error: give the session back idle
                if item.buffer is not None:
                    with suppress(JdetrtError):
                        self._session.wait()

    def _next(self, *, wait: bool) -> Prepared | None:
        if self._frames_left <= 0:
            return None
        item = self._ahead.get(wait=wait)
        self._frames_left -= item is not None
        return item

    def _submit(self, item: Prepared) -> None:
        if item.buffer is None:
            return
        begin = time.perf_counter()
        item.buffer.submit()
        self._submitted.append(begin)

    def _collect(self, item: Prepared | None) -> dict[str, Array]:
        if item is None:
            return {}
        if item.buffer is None:
            return {}
        outputs = self._detector.collect()
        elapsed = time.perf_counter() - self._submitted.popleft()
        # Where the rest is slower than the network, `elapsed` includes the wait for the caller.
        self._stopwatch.add("network", self._session.last_run_seconds or elapsed)
        return outputs

    def _finish(self, item: Prepared, outputs: Mapping[str, Array]) -> Tracks:
        if item.letterbox is None:
            self._ahead.give_back(item)
            return self._associate.between(item.frame)
        with self._stopwatch.stage("decode"):
            detections = self._detector.decode(outputs, item.letterbox)
        self._ahead.give_back(item)  # not before: the outputs may be the buffer's
        self._stopwatch.full += self._detector.full
        return self._associate(item.frame, detections)


def track_detections(
    detections: Mapping[int, Detections],
    tracker: Tracker,
    sinks: Sequence[Sink] = (),
    *,
    length: int | None = None,
    frames: Iterable[Frame] | None = None,
    on_frame: OnFrame | None = None,
    stopwatch: Stopwatch | None = None,
    select: Select | None = None,
    camera_motion: str = "off",
) -> RunReport:
    """Track given detections: the association alone, without a network.

    Frames 1 to ``length`` are taken in turn. Those without a detection are frames without people,
    or, where `jdetrt.runtime.mot.public_detections.is_thinned` says so, frames the tracker does
    not see.

    Args:
        detections: by frame number, from 1.
        tracker: its settings also say which tracks are reported.
        sinks: get every frame with its reported tracks, in this order.
        length: number of frames; by default that of the last frame with a detection.
        frames: the images, for sinks that draw; by default they are empty.
        on_frame: called after each frame is written.
        stopwatch: of the stages ``ASSOCIATION``; pass one to have its report after an error too.
        select: as for `Pipeline`.
        camera_motion: when it is estimated from the images, as for `Pipeline`.

    Raises:
        DataError: no frame, a detection of frame 0 or after the last frame, or one that the
            tracker refuses; the message names the frame.
        SourceError: ``frames`` breaks off or ends before ``length``.
        OutputError: a sink cannot be written. As in :meth:`Pipeline.run` what is done is kept.

    >>> person = Detections([[10, 10, 50, 110]], [0.9])
    >>> track_detections({1: person, 2: person}, Tracker("iou"), length=5).frames
    5
    """
    last = max(detections, default=0)
    length = last if length is None else length
    if length < 1:
        raise DataError("no detection and no length given: nothing to track")
    if last > length or min(detections, default=1) < 1:
        outside = last if last > length else min(detections)
        raise DataError(f"detections of frame {outside}, but the frames are 1 to {length}")
    stopwatch = stopwatch or Stopwatch(ASSOCIATION)
    moves = CameraMotion(camera_motion)
    associate = Associate(tracker, sinks, on_frame, stopwatch, select=select, camera_motion=moves)
    with associate.completing_sinks():
        images = _blank(length) if frames is None else _held(frames, length)
        absent = None if is_thinned(detections) else Detections.empty()
        for index in range(1, length + 1):
            frame = next(images, None)
            if frame is None:
                raise SourceError(f"the images end at frame {index - 1}, expected {length} frames")
            with interrupt_held():
                moves.note(frame)
                associate(frame, detections.get(index, absent))
    return associate.stopwatch.report()


def _held(frames: Iterable[Frame], length: int) -> Iterator[Frame]:
    """Frames 1 to ``length``; the image before a missing one stands in for it, or a black one."""
    index, image = 0, None
    for frame in frames:
        for missing in range(index + 1, min(frame.index, length + 1)):
            yield Frame(np.zeros_like(frame.image) if image is None else image, missing)
        yield frame
        index, image = frame.index, frame.image
    if image is not None and isinstance(frames, Images):  # whose last ones may be unreadable
        for missing in range(index + 1, (frames.length or 0) + 1):
            yield Frame(image, missing)


def _blank(length: int) -> Iterator[Frame]:
    for index in range(1, length + 1):
        yield Frame(np.empty((0, 0, 3), np.uint8), index)
