"""Order, overlap and endings of the pipeline, proved by events and not by clocks."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pytest

from jdetrt.errors import DataError, OutputError, SessionError, SourceError
from jdetrt.runtime.detector import Detector
from jdetrt.runtime.input_buffer import ArrayBuffer, BufferedSession
from jdetrt.runtime.pipeline import Pipeline, track_detections
from jdetrt.runtime.prefetch import BUFFERS, ReadAhead
from jdetrt.runtime.preprocess import Letterbox
from jdetrt.runtime.signals import interrupt_held
from jdetrt.runtime.sinks.base import Sink
from jdetrt.runtime.sinks.text import JsonLinesSink
from jdetrt.runtime.timing import Stopwatch
from jdetrt.runtime.tracking.filter import reportable
from jdetrt.runtime.tracking.tracker import Tracker
from jdetrt.testing import FakeSession
from jdetrt.types import Detections, Frame, Tracks

SIZE = (64, 32)
BOX = np.array([[10, 2, 20, 30]], np.float32)
PERSON = Detections(BOX, np.array([0.9], np.float32))
NOBODY = Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32))
PATIENCE = 20.0  # seconds after which a test that hangs fails


class _Source:
    """So many frames of the network's size; may break off after some."""

    uri = "test:source"
    name = "source"
    frame_rate = 30.0
    size: tuple[int, int] | None = SIZE

    def __init__(self, frames: int, *, error: Exception | None = None, live: bool = False) -> None:
        self.length: int | None = frames
        self.live = live
        self.error = error
        self.given = 0
        self.closed = False

    def __iter__(self) -> Iterator[Frame]:
        for index in range(1, (self.length or 0) + 1):
            self.given = index
            yield Frame(np.full((SIZE[1], SIZE[0], 3), index, np.uint8), index)
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> _Source:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class _Sink(Sink):
    """Remembers; may fail at a frame, or at its close."""

    def __init__(self, *, fail_at: int | None = None, fail_close: bool = False) -> None:
        self.fail_at = fail_at
        self.fail_close = fail_close
        self.rows: list[tuple[int, list[int]]] = []
        self.state = "open"

    def write(self, frame: Frame, tracks: Tracks) -> None:
        if frame.index == self.fail_at:
            raise OutputError("out.txt: cannot be written (No space left on device)")
        self.rows.append((frame.index, tracks.ids.tolist()))

    def close(self) -> None:
        if self.fail_close:
            self.state = "lost"
            raise OutputError("out.txt: cannot be renamed")
        self.state = "complete"

    def discard(self) -> None:
        self.state = "discarded"

    @property
    def indices(self) -> list[int]:
        return [index for index, _ in self.rows]


class _TracingTracker(Tracker):
    """Motion alone; ``before`` is called with the number of the frame before each update."""

    def __init__(self, before: Any) -> None:
        super().__init__("iou")
        self.before = before
        self.count = 0

    def update(self, *arguments: Any) -> Tracks:
        self.count += 1
        self.before(self.count)
        return super().update(*arguments)


def _session(frames: int) -> FakeSession:
    return FakeSession.from_detections([PERSON] * frames, size=SIZE)


@pytest.fixture(autouse=True)
def _nothing_left_open() -> Iterator[None]:
    before = set(threading.enumerate())
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    yield
    assert set(threading.enumerate()) == before
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_every_frame_in_order_with_its_own_outputs() -> None:
    """The network is told nothing but pixels: frame k is all k, so its output must come back."""

    def sees(feeds: Any) -> dict[str, Any]:
        level = round(float(feeds["images"][0, 0, 0, 0]) * 255)
        box = np.array([[[level, 0, level + 16, 28]]], np.float32)
        return {"boxes": box, "scores": np.array([[0.9]], np.float32)}

    seen: dict[int, float] = {}

    def on_frame(frame: Frame, tracks: Tracks) -> None:
        assert frame.image[0, 0, 0] == frame.index
        if len(tracks):
            seen[frame.index] = float(tracks.boxes[0, 0])

    sink = _Sink()
    source, session = _Source(30), FakeSession(sees, size=SIZE)
    report = Pipeline(source, session, Tracker("iou"), [sink], on_frame=on_frame).run()
    assert sink.indices == list(range(1, 31))
    assert sink.state == "complete"
    assert source.closed
    assert report.frames == report.last_frame == 30
    assert report.dropped == 0
    assert report.tracks == 1
    assert list(report.stages) == ["read", "preprocess", "network", "decode", "associate", "write"]
    # The filtered box follows one pixel a frame; a mix-up of frames would show as a jump.
    assert all(abs(left - index) < 1.0 for index, left in seen.items())
    assert len(seen) >= 28


def test_a_detector_brings_its_own_thresholds() -> None:
    def frames(model: FakeSession | Detector) -> list[int]:
        return [len(tracks) for _, tracks in Pipeline(_Source(5), model, Tracker("iou"))]

    assert frames(_session(5)) == [1, 1, 1, 1, 1]
    assert frames(Detector(_session(5), score_threshold=0.95)) == [0, 0, 0, 0, 0]


def test_the_next_frame_is_at_the_network_before_this_one_is_associated() -> None:
    session = _session(10)
    at_network: list[int] = []
    tracker = _TracingTracker(lambda k: at_network.append(session.runs))
    Pipeline(_Source(10), session, tracker).run()
    # When frame k is associated, frame k+1 has been submitted; after the last there is none.
    assert at_network == [2, 3, 4, 5, 6, 7, 8, 9, 10, 10]


def test_frames_are_read_while_others_are_associated() -> None:
    read = threading.Semaphore(0)

    class Counting(_Source):
        def __iter__(self) -> Iterator[Frame]:
            for frame in super().__iter__():
                read.release()
                yield frame

    def before(k: int) -> None:
        if k == 1:  # the main thread stands here: only another one can read frames 3 and 4
            assert all(read.acquire(timeout=PATIENCE) for _ in range(4))

    Pipeline(Counting(10), _session(10), _TracingTracker(before)).run()


def test_reading_ahead_is_bounded() -> None:
    source = _Source(50)
    read_by_then: list[int] = []
    tracker = _TracingTracker(lambda k: read_by_then.append(source.given - k))
    Pipeline(source, _session(50), tracker).run()
    assert max(read_by_then) <= 5


def test_a_source_that_breaks_off_keeps_the_frames_before() -> None:
    sink = _Sink()
    source = _Source(7, error=SourceError("clip.mp4: breaks off after frame 7"))
    pipeline = Pipeline(source, _session(7), Tracker("iou"), [sink])
    with pytest.raises(SourceError, match=r"breaks off.*\nResults up to frame 7 are kept\."):
        pipeline.run()
    assert sink.indices == [1, 2, 3, 4, 5, 6, 7]
    assert sink.state == "complete"
    assert pipeline.report().frames == 7


@pytest.mark.parametrize("error", [SourceError("no camera"), None])
def test_without_a_frame_the_sinks_are_discarded(error: Exception | None) -> None:
    sink = _Sink()
    with pytest.raises(SourceError, match="no camera" if error else "test:source: has no frame"):
        Pipeline(_Source(0, error=error), _session(0), Tracker("iou"), [sink]).run()
    assert sink.state == "discarded"


def test_a_network_that_fails_keeps_the_frames_before() -> None:
    sink = _Sink()
    session = _session(4)  # has outputs for 4 frames; the submission of frame 5 fails
    with pytest.raises(SessionError, match=r"4 runs.*\nResults up to frame 4 are kept\."):
        Pipeline(_Source(9), session, Tracker("iou"), [sink]).run()
    assert sink.indices == [1, 2, 3, 4]
    assert sink.state == "complete"


def test_an_error_leaves_the_session_idle() -> None:
    session = _session(20)

    def fails(k: int) -> None:
        if k == 3:
            raise DataError("frame 3")

    with pytest.raises(DataError, match="Results up to frame 2 are kept"):
        Pipeline(_Source(9), session, _TracingTracker(fails), [_Sink()]).run()
    session.infer({"images": np.zeros((1, 3, SIZE[1], SIZE[0]), np.float32)})


def test_a_sink_that_is_full_does_not_spoil_the_others() -> None:
    full, good = _Sink(fail_at=5, fail_close=True), _Sink()
    with pytest.raises(OutputError, match="No space left") as caught:
        Pipeline(_Source(9), _session(9), Tracker("iou"), [good, full]).run()
    assert "Results up to frame 4 are kept." in str(caught.value)
    assert "cannot be renamed" in str(caught.value)
    assert (good.state, full.state) == ("complete", "lost")


def test_what_an_output_before_the_full_one_has_is_counted(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"frame 4 are kept \(1 of 3 outputs: one frame more"):
        Pipeline(
            _Source(9),
            _session(9),
            Tracker("iou"),
            [JsonLinesSink(tmp_path / "a"), _Sink(fail_at=5), JsonLinesSink(tmp_path / "b")],
        ).run()
    assert len((tmp_path / "a").read_text().splitlines()) == 5
    assert len((tmp_path / "b").read_text().splitlines()) == 4


def test_a_sink_that_cannot_be_completed_is_an_error() -> None:
    lost, good = _Sink(fail_close=True), _Sink()
    with pytest.raises(OutputError, match="renamed"):
        Pipeline(_Source(3), _session(3), Tracker("iou"), [lost, good]).run()
    assert (lost.state, good.state) == ("lost", "complete")


def test_an_error_of_the_program_passes_unchanged() -> None:
    sink = _Sink()

    def fails(frame: Frame, tracks: Tracks) -> None:
        if frame.index == 2:
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match=r"^mine$"):
        Pipeline(_Source(9), _session(9), Tracker("iou"), [sink], on_frame=fails).run()
    assert (sink.indices, sink.state) == ([1, 2], "complete")


def test_ctrl_c_in_the_middle_of_a_frame_ends_after_it() -> None:
    sink = _Sink()

    def press(k: int) -> None:
        if k == 3:
            signal.raise_signal(signal.SIGINT)  # would leave update() at once were it not held

    pipeline = Pipeline(_Source(9), _session(9), _TracingTracker(press), [sink])
    with pytest.raises(KeyboardInterrupt, match=r"^Results up to frame 3 are kept\.$"):
        pipeline.run()
    assert (sink.indices, sink.state) == ([1, 2, 3], "complete")
    assert pipeline.report().frames == 3


class _Stuck(_Source):
    """A camera that gives two frames, then nothing until it is closed."""

    def __init__(self) -> None:
        super().__init__(2, live=True)
        self.unplugged = threading.Event()
        self.hung = False

    def __iter__(self) -> Iterator[Frame]:
        yield from super().__iter__()
        self.hung = not self.unplugged.wait(PATIENCE)

    def close(self) -> None:
        self.unplugged.set()


def test_ctrl_c_wakes_a_wait_for_a_camera() -> None:
    camera, sink = _Stuck(), _Sink()
    main = threading.main_thread().ident
    assert main is not None

    def press(frame: Frame, tracks: Tracks) -> None:
        if frame.index == 2:
            threading.Timer(0.05, signal.pthread_kill, (main, signal.SIGINT)).start()

    with pytest.raises(KeyboardInterrupt, match="up to frame 2"):
        Pipeline(camera, _session(9), Tracker("iou"), [sink], on_frame=press).run()
    assert sink.state == "complete"
    assert not camera.hung


def test_stop_wakes_a_wait_for_a_camera() -> None:
    camera, sink = _Stuck(), _Sink()

    def soon(frame: Frame, tracks: Tracks) -> None:
        if frame.index == 2:
            threading.Timer(0.05, pipeline.stop).start()

    pipeline = Pipeline(camera, _session(9), Tracker("iou"), [sink], on_frame=soon)
    assert pipeline.run().last_frame == 2  # frame 1 may be lost to frame 2
    assert sink.state == "complete"
    assert not camera.hung


def test_a_live_result_does_not_wait_for_the_next_frame() -> None:
    """A camera that gives frame k+1 only once the result of frame k has been seen."""
    seen = threading.Semaphore(0)

    class Camera(_Source):
        def __iter__(self) -> Iterator[Frame]:
            for frame in super().__iter__():
                yield frame
                assert seen.acquire(timeout=PATIENCE)

    pipeline = Pipeline(
        Camera(4, live=True), _session(4), Tracker("iou"), on_frame=lambda *_: seen.release()
    )
    assert pipeline.run().frames == 4


def test_a_live_source_gives_its_newest_frame() -> None:
    taken = threading.Event()

    class Camera(_Source):
        def __iter__(self) -> Iterator[Frame]:
            for frame in super().__iter__():
                yield frame
                assert taken.wait(PATIENCE)

    source, stopwatch = Camera(20, live=True), Stopwatch(("read", "preprocess"))
    buffers = [ArrayBuffer(_session(0), SIZE) for _ in range(4)]
    with ReadAhead(source, buffers, stopwatch) as ahead:
        first = ahead.get()
        assert first is not None  # and is not given back: three buffers go round
        taken.set()
        ahead._threads[0].join(PATIENCE)  # the camera runs on to frame 20 without us
        rest = []
        while (item := ahead.get()) is not None:
            rest.append(item)
    assert [item.frame.index for item in rest] == [20]
    for item in rest:  # no buffer was filled again while its frame was waiting
        assert isinstance(item.buffer, ArrayBuffer)
        assert item.buffer.tensor[0, 0, 0, 0] == np.float32(item.frame.index) / np.float32(255)


def test_dropped_frames_are_counted() -> None:
    class Camera(_Source):
        def __iter__(self) -> Iterator[Frame]:
            return (frame for frame in super().__iter__() if frame.index % 3 == 0)

    report = Pipeline(Camera(9), _session(3), Tracker("iou")).run()
    assert (report.frames, report.last_frame, report.dropped) == (3, 9, 6)


def test_max_frames_and_stop() -> None:
    sink = _Sink()
    Pipeline(_Source(9), _session(9), Tracker("iou"), [sink], max_frames=4).run()
    assert (sink.indices, sink.state) == ([1, 2, 3, 4], "complete")

    sink = _Sink()

    def enough(frame: Frame, tracks: Tracks) -> None:
        if frame.index == 2:
            pipeline.stop()

    pipeline = Pipeline(_Source(90), _session(90), Tracker("iou"), [sink], on_frame=enough)
    pipeline.run()
    # Frame 3 was at the network; those that were read ahead are left out.
    assert (sink.indices, sink.state) == ([1, 2, 3], "complete")


def test_iteration_yields_each_frame_after_it_is_written() -> None:
    sink, pipeline_tracks = _Sink(), []
    pipeline = Pipeline(_Source(4), _session(4), Tracker("iou"), [sink])
    for frame, tracks in pipeline:
        assert sink.rows[-1] == (frame.index, tracks.ids.tolist())
        assert sink.state == "open"
        pipeline_tracks.append(tracks.ids.tolist())
    assert sink.indices == [1, 2, 3, 4]
    assert sink.state == "complete"
    assert pipeline.report().frames == 4
    assert pipeline_tracks[-1] == [1]


def test_leaving_an_iteration_completes_what_is_done() -> None:
    source, session, sink = _Source(100), _session(100), _Sink()
    for frame, _ in Pipeline(source, session, Tracker("iou"), [sink]):
        if frame.index == 3:
            break
    assert sink.indices == [1, 2, 3]
    assert sink.state == "complete"
    assert source.closed
    assert source.given < 100
    with pytest.raises(SessionError):  # idle again
        session.wait()


def test_an_iteration_ends_with_the_error_of_its_source() -> None:
    sink, source = _Sink(), _Source(3, error=SourceError("torn"))
    frames: list[int] = []
    pipeline = Pipeline(source, _session(3), Tracker("iou"), [sink])
    with pytest.raises(SourceError, match="torn"):
        frames.extend(frame.index for frame, _ in pipeline)
    assert frames == sink.indices == [1, 2, 3]
    assert sink.state == "complete"


def test_leaving_early_tells_of_a_sink_that_is_lost() -> None:
    frames = iter(Pipeline(_Source(9), _session(9), Tracker("iou"), [_Sink(fail_close=True)]))
    next(frames)
    with pytest.raises(OutputError):
        frames.close()


def test_another_model_is_refused_before_anything_is_read() -> None:
    source = _Source(3)
    with pytest.raises(SessionError, match="network size to use"):
        Pipeline(source, FakeSession([], size=(-1, -1)), Tracker("iou"))
    assert source.given == 0


def test_detections_alone() -> None:
    sink = _Sink()
    seen = {2: PERSON, 3: PERSON, 4: PERSON, 6: PERSON}
    report = track_detections(seen, Tracker("iou"), [sink], length=8)
    assert sink.indices == [1, 2, 3, 4, 5, 6, 7, 8]
    assert dict(sink.rows)[6] == [1]
    assert dict(sink.rows)[1] == dict(sink.rows)[8] == []
    assert sink.state == "complete"
    assert report.frames == 8
    assert report.network_fps is None
    assert report.association_fps is not None
    assert list(report.stages) == ["associate", "write"]


def test_detections_with_pictures_that_end_early() -> None:
    sink = _Sink()
    with pytest.raises(
        SourceError, match=r"end at frame 3, expected 5 frames\nResults up to frame 3 are"
    ):
        track_detections({5: PERSON}, Tracker("iou"), [sink], frames=_Source(3))
    assert (sink.indices, sink.state) == ([1, 2, 3], "complete")


@pytest.mark.parametrize(
    ("seen", "length", "message"),
    [
        ({}, None, "nothing to track"),
        ({9: PERSON}, 5, "frame 9, but the frames are 1 to 5"),
        ({0: PERSON, 1: PERSON}, None, "frame 0, but the frames are 1 to 1"),
    ],
)
def test_detections_outside_of_the_sequence(
    seen: dict[int, Detections], length: int | None, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        track_detections(seen, Tracker("iou"), length=length)


def test_only_what_looks_like_a_person_is_reported() -> None:
    """The two limits of the reference's track.py, at and beside their values."""
    sizes = [(16, 10), (17, 10), (20, 10), (14, 14), (10, 20), (10.1, 20), (20, 12.5), (20, 12.4)]
    boxes = np.array([[5, 5, 5 + w, 5 + h] for w, h in sizes], np.float32)
    tracks = Tracks(np.arange(8), boxes, np.ones(8, np.float32))
    slow = [i for i, (w, h) in enumerate(sizes) if not w / h > 1.6 and w * h > 200]
    assert reportable(tracks, 1.6, 200.0).ids.tolist() == slow == [5, 6]


def test_a_signal_is_held_only_in_the_main_thread() -> None:
    entered = []

    def elsewhere() -> None:
        with interrupt_held():
            entered.append(True)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert entered == [True]

    def interrupted() -> None:
        with interrupt_held():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            entered.append(True)

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert entered == [True, True]


def test_the_first_frame_is_left_out_of_the_times() -> None:
    watch = Stopwatch(("network", "associate"))
    assert watch.report().stages == {}
    watch.add("network", 5.0)
    watch.finish(1, [])
    assert watch.report().stages["network"].p99 == watch.report().stages["network"].mean == 5000
    for milliseconds in (10, 30):
        watch.add("network", milliseconds / 1e3)
        watch.finish(1, [])
    report = watch.report()
    assert report.stages["network"].mean == pytest.approx(20)
    assert report.stages["network"].p50 == pytest.approx(20)
    assert report.stages["network"].p99 < 31
    assert report.network_fps == pytest.approx(50)
    assert report.association_fps is None
    assert "associate" not in report.stages


def test_the_memory_of_a_stopwatch_does_not_grow_with_the_run() -> None:
    watch = Stopwatch(("associate",))
    for index in range(1, 20_000):
        watch.add("associate", index / 1e3)
        watch.finish(index, [1, index // 1000 + 2])
    report = watch.report()
    assert watch._stages["associate"]._recent.size == 4096
    assert report.frames == 19_999
    assert report.tracks == 21
    assert report.stages["associate"].mean == pytest.approx(np.arange(2, 20_000).mean())
    assert report.stages["associate"].p50 == pytest.approx(np.median(np.arange(15_904, 20_000)))


class _BufferedSession(FakeSession):
    """Takes pictures as they are; a run ends only once the next picture is in its buffer."""

    depth = 1

    def __init__(self, frames: int) -> None:
        outputs = [
            {"boxes": PERSON.boxes[None], "scores": PERSON.scores[None]} for _ in range(frames)
        ]
        super().__init__(outputs, size=SIZE)
        self.frames = frames
        self.filled: list[int] = []
        self.submitted: list[int] = []
        self.asked: tuple[tuple[int, int], int] | None = None
        self._changed = threading.Condition()

    def frame_buffers(self, size: tuple[int, int], count: int) -> list[_FrameBuffer]:
        self.asked = size, count
        return [_FrameBuffer(self) for _ in range(count)]

    def fill(self, number: int) -> None:
        with self._changed:
            self.filled.append(number)
            self._changed.notify_all()

    def wait(self) -> dict[str, Any]:
        following = min(len(self.submitted) + 1, self.frames)
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.filled) >= following, PATIENCE)
        return super().wait()


class _FrameBuffer:
    def __init__(self, session: _BufferedSession) -> None:
        self.session = session
        self.number = 0

    def fill(self, image: Any) -> Letterbox:
        assert threading.current_thread() is not threading.main_thread()
        self.number = int(image[0, 0, 0])
        self.session.fill(self.number)
        return Letterbox.fit((image.shape[1], image.shape[0]), SIZE)

    def submit(self) -> None:
        self.session.submitted.append(self.number)
        self.session.submit({"images": np.zeros((1, 3, SIZE[1], SIZE[0]), np.float32)})


def test_a_session_that_takes_frames_gets_the_next_while_it_runs() -> None:
    session, sink = _BufferedSession(20), _Sink()
    assert isinstance(session, BufferedSession)
    assert not isinstance(_session(1), BufferedSession)
    Pipeline(_Source(20), session, Tracker("iou"), [sink]).run()
    assert session.asked == (SIZE, BUFFERS)
    assert session.submitted == session.filled == list(range(1, 21))
    assert [row for _, row in sink.rows[2:]] == [[1]] * 18


class _DeepSession(_BufferedSession):
    """Two runs may be open."""

    depth = 2

    def __init__(self, frames: int) -> None:
        super().__init__(frames)
        self.log: list[str] = []

    def submit(self, feeds: Any) -> None:
        self._check_room(self.depth)
        self._open.append(self._start(feeds))
        self.log.append("submit")

    def wait(self) -> dict[str, Any]:
        self.log.append("wait")
        return FakeSession.wait(self)


def test_a_session_that_queues_has_the_next_frame_before_it_is_waited_for() -> None:
    session, sink = _DeepSession(5), _Sink()
    assert Pipeline(_Source(5), session, Tracker("iou"), [sink]).run().frames == 5
    turns = ["wait", "submit"] * 3
    assert session.log == ["submit", "submit", *turns, "wait", "wait"]
    assert session.submitted == [1, 2, 3, 4, 5]
    assert [index for index, _ in sink.rows] == [1, 2, 3, 4, 5]
    for frames in (1, 2):
        session = _DeepSession(frames)
        assert Pipeline(_Source(frames), session, Tracker("iou")).run().frames == frames
        assert session.log == ["submit"] * frames + ["wait"] * frames


def test_frames_of_a_live_source_do_not_queue() -> None:
    session = _DeepSession(20)
    frames = Pipeline(_Source(20, live=True), session, Tracker("iou")).run().frames
    assert session.log == ["submit", "wait"] * frames


def test_an_error_with_two_runs_open_keeps_what_is_done_and_leaves_the_session_idle() -> None:
    session, sink = _DeepSession(2), _Sink()  # the third run fails
    with pytest.raises(SessionError):
        Pipeline(_Source(6), session, Tracker("iou"), [sink]).run()
    assert [index for index, _ in sink.rows] == [1, 2]
    session._check_room(1)


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("depth", [3, 4, 7])
def test_any_number_of_runs_may_be_open(depth: int, every: int) -> None:
    """Each holds its buffer until its outputs are read; one more is needed to go on."""
    session, sink = _DeepSession(20), _Sink()
    session.depth = depth
    pipeline = Pipeline(_Source(20), session, Tracker("iou"), [sink], every=every)
    thread = threading.Thread(target=pipeline.run, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert [index for index, _ in sink.rows] == list(range(1, 21))
    assert session.submitted == list(range(1, 21, every))


class _FailingSession(_DeepSession):
    """Waiting for one run fails, with or without a submission that failed before."""

    def __init__(self, frames: int, *, submit: int, wait: int, error: BaseException) -> None:
        super().__init__(frames)
        self._at, self._wait_at, self._error = submit, wait, error

    def submit(self, feeds: Any) -> None:
        if len(self.submitted) == self._at:
            raise SessionError("the cause")
        super().submit(feeds)

    def wait(self) -> dict[str, Any]:
        if self.log.count("wait") + 1 == self._wait_at:
            self.log.append("wait")
            self._open.popleft()
            raise self._error
        return super().wait()


def test_of_two_errors_the_first_is_raised() -> None:
    late = SessionError("what followed")
    session = _FailingSession(6, submit=3, wait=2, error=late)
    with pytest.raises(SessionError, match="the cause") as caught:
        Pipeline(_Source(6), session, Tracker("iou")).run()
    assert caught.value.__cause__ is late
    session._check_room(1)


@pytest.mark.parametrize("error", [SessionError("a fault"), KeyboardInterrupt()])
def test_a_wait_that_ends_badly_with_another_run_open(error: BaseException) -> None:
    session, sink = _FailingSession(6, submit=99, wait=3, error=error), _Sink()
    with pytest.raises(type(error)):
        Pipeline(_Source(6), session, Tracker("iou"), [sink]).run()
    assert [index for index, _ in sink.rows] == [1, 2]
    assert session.log[-2:] == ["wait", "wait"]  # the run behind it was waited for
    session._check_room(1)


def test_a_buffer_that_refuses_a_frame_ends_the_run_with_what_is_done() -> None:
    session, sink = _BufferedSession(5), _Sink()
    fill = session.fill

    def refuse(number: int) -> None:
        fill(number)
        if number == 4:
            raise SessionError("out of memory: a picture")

    session.fill = refuse  # type: ignore[method-assign]
    with pytest.raises(SessionError, match=r"out of memory[^$]*Results up to frame 3 are kept"):
        Pipeline(_Source(5), session, Tracker("iou"), [sink]).run()
    assert (sink.indices, sink.state) == ([1, 2, 3], "complete")


def test_detections_of_every_fourth_frame_are_one_track() -> None:
    """Frames that a detector left out are no frames without people."""
    seen = {
        frame: Detections([[100 + 3 * frame, 100, 145 + 3 * frame, 220]], [0.9])
        for frame in range(1, 120, 4)
    }
    sink = _Sink()
    report = track_detections(seen, Tracker("iou"), [sink], length=120)
    assert report.frames == 120
    assert report.tracks == 1
    shown = [index for index, ids in sink.rows if ids == [1]]
    assert shown == sorted(seen)


def test_numbers_of_frames_count_as_time_where_there_are_no_timestamps() -> None:
    """A live source that leaves frames out: the walker is followed over the gaps."""

    class Gaps(_Source):
        def __iter__(self) -> Iterator[Frame]:
            for frame in super().__iter__():
                yield Frame(frame.image, 1 + 7 * (frame.index - 1))

    people = [Detections([[20 * k, 20, 20 * k + 45, 140]], [0.9]) for k in range(12)]
    session = FakeSession.from_detections(people, size=(320, 160))
    report = Pipeline(Gaps(12), session, Tracker("iou")).run()
    assert report.tracks == 1
    assert (report.gaps, report.repeats, report.restarts) == (0, 0, 0)
