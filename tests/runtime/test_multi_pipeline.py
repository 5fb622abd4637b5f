"""Several streams through one network: each has the tracks that it would have alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType

import numpy as np
import pytest

from jdetrt.config import IouConfig
from jdetrt.errors import ConfigError, SessionError, SourceError
from jdetrt.runtime.detector import Detector
from jdetrt.runtime.multi_pipeline import MultiPipeline, Stream
from jdetrt.runtime.pipeline import Pipeline
from jdetrt.runtime.sinks.base import FrameResult
from jdetrt.runtime.sinks.text import MotSink
from jdetrt.runtime.tracking.tracker import Tracker
from jdetrt.testing import FakeSession
from jdetrt.types import Array, Frame, TensorSpec

SIZE = (64, 64)


class Film:
    """A source of grey pictures; what is seen in a picture depends on how grey it is."""

    def __init__(
        self, name: str, shades: list[int], *, broken: bool = False, live: bool = False
    ) -> None:
        self.uri = self.name = name
        self.live = live
        self.length: int | None = None
        self.size: tuple[int, int] | None = SIZE
        self.frame_rate = 30.0
        self.shades, self.broken, self.closed = shades, broken, False

    def __iter__(self) -> Iterator[Frame]:
        for index, shade in enumerate(self.shades, start=1):
            yield Frame(np.full((64, 64, 3), shade, np.uint8), index)
        if self.broken:
            raise SourceError(f"{self.uri}: breaks off")

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> Film:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def two_people(feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Two people a picture, who walk with its grey."""
    grey = np.rint(255 * feeds["images"][:, 0, 0, 0])
    boxes = np.stack([[[g / 8, 2, g / 8 + 10, 32], [40, 30, 50, 60]] for g in grey])
    return {
        "boxes": boxes.astype(np.float32),
        "scores": np.tile(np.array([[0.9, 0.8]], np.float32), (len(grey), 1)),
    }


def fake(batched: bool = True) -> FakeSession:
    session = FakeSession(two_people, size=SIZE)
    if not batched:
        session._inputs = (TensorSpec("images", "float32", (1, 3, 64, 64)),)
    return session


def films() -> list[Film]:
    return [
        Film("a", list(range(0, 100, 10))),
        Film("b", list(range(200, 100, -20))),
        Film("c", [7] * 7),
    ]


def streams(folder: Path, sources: list[Film]) -> list[Stream]:
    return [
        Stream(source, Tracker("iou"), [MotSink(folder / f"{source.name}.txt")])
        for source in sources
    ]


@pytest.mark.parametrize("batched", [True, False], ids=["batches", "one-by-one"])
def test_the_tracks_are_those_of_each_alone(tmp_path: Path, batched: bool) -> None:
    with fake(batched) as session:
        report = MultiPipeline(streams(tmp_path / "together", films()), session).run()
    for film in films():
        with fake() as session:
            sinks = [MotSink(tmp_path / "alone" / f"{film.name}.txt")]
            Pipeline(film, session, Tracker("iou"), sinks).run()
        together = (tmp_path / "together" / f"{film.name}.txt").read_text()
        assert together == (tmp_path / "alone" / f"{film.name}.txt").read_text()
        ids = {line.split(",")[1] for line in together.splitlines()}
        assert ids == {"1", "2"}  # each counts its own people
    assert [one.frames for one in report.streams] == [10, 5, 7]
    assert report.batches == (10 if batched else 22)
    assert report.batch == pytest.approx(2.2 if batched else 1.0)
    assert report.fps > 0


def test_thresholds_are_those_of_each_tracker_or_of_the_detector(tmp_path: Path) -> None:
    def tracks(model: FakeSession | Detector) -> list[int]:
        own = [
            Stream(film, Tracker(IouConfig(score_threshold=least)))
            for film, least in zip(films(), (0.1, 0.85, 0.95), strict=True)
        ]
        return [one.tracks for one in MultiPipeline(own, model).run().streams]

    assert tracks(fake()) == [2, 1, 0]
    assert tracks(Detector(fake(), score_threshold=0.85)) == [1, 1, 0]


def test_each_ends_after_so_many_frames(tmp_path: Path) -> None:
    with fake() as session:
        made = MultiPipeline(streams(tmp_path, films()), session, max_frames=6)
        assert [one.frames for one in made.run().streams] == [6, 5, 6]


def test_a_source_that_breaks_off_does_not_stop_the_others(tmp_path: Path) -> None:
    broken = Film("broken", [1, 2, 3], broken=True)
    sources = [films()[0], broken]
    with fake() as session:
        pipeline = MultiPipeline(streams(tmp_path, sources), session)
        with pytest.raises(SourceError, match="broken: breaks off") as raised:
            pipeline.run()
        assert "Results of a up to frame 10 are kept." in str(raised.value)
        assert session.runs == 10
    assert [one.frames for one in pipeline.report().streams] == [10, 3]
    assert (tmp_path / "a.txt").read_text().count("\n") == 20
    assert (tmp_path / "broken.txt").exists()
    assert all(source.closed for source in sources)


def test_a_source_without_a_frame_is_named(tmp_path: Path) -> None:
    with fake() as session:
        pipeline = MultiPipeline(streams(tmp_path, [films()[2], Film("none", [])]), session)
        with pytest.raises(SourceError, match="none: has no frame"):
            pipeline.run()
    assert (tmp_path / "c.txt").exists()
    assert not (tmp_path / "none.txt").exists()


def test_cameras_are_not_waited_for(tmp_path: Path) -> None:
    sources = [films()[0], Film("camera", [5] * 3, live=True)]
    with fake() as session:
        report = MultiPipeline(streams(tmp_path, sources), session).run()
    film, camera = report.streams
    assert film.frames == 10
    assert 1 <= camera.frames <= 3


def test_a_network_that_fails_keeps_what_is_done(tmp_path: Path) -> None:
    calls = 0

    def fail_at_the_third(feeds: Mapping[str, Array]) -> dict[str, Array]:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise SessionError("the network fails")
        return two_people(feeds)

    with FakeSession(fail_at_the_third, size=SIZE) as session:
        pipeline = MultiPipeline(streams(tmp_path, films()), session)
        with pytest.raises(SessionError, match="the network fails"):
            pipeline.run()
        session.infer({"images": np.zeros((1, 3, 64, 64), np.float32)})  # it was left idle
    for name in "abc":
        frames = {line.split(",")[0] for line in (tmp_path / f"{name}.txt").read_text().split()}
        assert frames <= {"1", "2"}
        assert "1" in frames


def test_what_makes_no_streams() -> None:
    with fake() as session:
        with pytest.raises(ConfigError, match="no stream"):
            MultiPipeline([], session)
        shared = Tracker("iou")
        pair = [Stream(Film(name, [1]), shared) for name in "ab"]
        with pytest.raises(ConfigError, match="same tracker"):
            MultiPipeline(pair, session)


def test_watchers_hear_of_every_stream_and_on_frame_of_its_own(tmp_path: Path) -> None:
    own: list[int] = []
    heard: list[FrameResult] = []
    cameras = [Film("door", [1, 2], live=True), Film("door", [1, 2, 3])]
    made = [
        Stream(cameras[0], Tracker("iou"), on_frame=lambda frame, _: own.append(frame.index)),
        Stream(cameras[1], Tracker("iou"), name="yard"),
    ]
    with fake() as session:
        pipeline = MultiPipeline(made, session, watchers=[heard.append])
        report = pipeline.run()
    assert pipeline.names == ["door", "yard"]
    assert own[-1] == 2  # a camera may lose what nobody has asked for
    assert [one.frame.index for one in heard if one.stream == "yard"] == [1, 2, 3]
    assert {len(one.tracks) for one in heard} == {2}
    last = heard[-1]
    assert list(last.stages) == ["read", "preprocess", "network", "decode", "associate", "write"]
    assert last.stages["network"] > 0
    assert (last.age, report.streams[1].age) == (None, None)  # neither states a time


def test_age_is_from_the_capture_to_the_result() -> None:
    class Late(Film):
        def __iter__(self) -> Iterator[Frame]:
            for frame in super().__iter__():
                yield Frame(frame.image, frame.index, time.monotonic() - 5)

    ages: list[float | None] = []
    with fake() as session:
        made = [Stream(Late("a", [1, 2, 3], live=True), Tracker("iou"))]
        watch = [lambda result: ages.append(result.age)]
        report = MultiPipeline(made, session, watchers=watch).run()
    assert all(age is not None and 5 <= age < 60 for age in ages)
    assert report.streams[0].age is not None
    assert 5e3 <= report.streams[0].age.p50 <= report.streams[0].age.p99 < 60e3


class Silent(Film):
    """A camera that gives nothing until it is closed."""

    def __init__(self, name: str) -> None:
        super().__init__(name, [], live=True)
        self.end = threading.Event()

    def __iter__(self) -> Iterator[Frame]:
        assert self.end.wait(20)
        yield from ()

    def close(self) -> None:
        self.end.set()


@pytest.mark.parametrize("batched", [True, False], ids=["batches", "one-by-one"])
def test_a_dead_camera_holds_up_nobody(batched: bool) -> None:
    said: list[str] = []
    dead, broken = Silent("dead"), Film("broken", [1, 2], broken=True, live=True)
    made = [Stream(one, Tracker("iou")) for one in (dead, Film("a", [5] * 20), broken)]

    def enough(result: FrameResult) -> None:
        if result.stream == "a" and result.frame.index == 20:
            dead.end.set()

    with fake(batched) as session:
        pipeline = MultiPipeline(made, session, watchers=[enough], say=said.append)
        with pytest.raises(SourceError, match=r"(?s)dead: has no frames.*broken: breaks off"):
            pipeline.run()
    frames = [one.frames for one in pipeline.report().streams]
    assert frames[:2] == [0, 20]
    assert "broken: broken: breaks off" in said


def test_a_camera_of_another_resolution_keeps_its_ids() -> None:
    results: list[FrameResult] = []
    done = threading.Semaphore(0)

    class Rebooted(Film):
        def __iter__(self) -> Iterator[Frame]:
            for index in range(1, 7):
                side = 64 if index < 4 else 128
                yield Frame(np.full((side, side, 3), 80, np.uint8), index, time.monotonic())
                assert done.acquire(timeout=20)

    def watch(result: FrameResult) -> None:
        results.append(result)
        done.release()

    with fake() as session:
        stream = Stream(Rebooted("a", [], live=True), Tracker("iou"))
        MultiPipeline([stream], session, watchers=[watch]).run()
    before = next(one for one in results if one.frame.image.shape[0] == 64)
    assert [one.tracks.ids.tolist() for one in results] == [[1, 2]] * 6
    assert results[-1].frame.image.shape[0] == 128
    np.testing.assert_allclose(results[-1].tracks.boxes, 2 * before.tracks.boxes, atol=0.5)


# The network on one frame of several


def test_between_two_runs_of_the_network_tracks_move_on(tmp_path: Path) -> None:
    shades = list(range(0, 120, 4))  # the first person walks half a pixel a frame
    results: list[FrameResult] = []
    with fake() as session:
        Pipeline(
            Film("a", shades), session, Tracker("iou"), every=3, watchers=[results.append]
        ).run()
        assert session.runs == 10
    assert [one.frame.index for one in results] == list(range(1, 31))
    assert {tuple(one.tracks.ids.tolist()) for one in results} == {(1, 2)}
    between = [one for one in results if (one.frame.index - 1) % 3]
    assert {tuple(one.tracks.detection.tolist()) for one in between} == {(-1, -1)}
    late = [one for one in results if one.frame.index > 12]  # the velocity is known by then
    for one in late:
        truth = shades[one.frame.index - 1] / 8
        assert one.tracks.boxes[0, 0] == pytest.approx(truth, abs=0.25)  # 1 for a box that stays
        assert one.tracks.boxes[1] == pytest.approx([40, 30, 50, 60], abs=0.1)


@pytest.mark.parametrize("batched", [True, False], ids=["batches", "one-by-one"])
@pytest.mark.parametrize("every", [2, 5])
def test_several_streams_take_turns_at_the_network(
    tmp_path: Path, batched: bool, every: int
) -> None:
    frames = {"a": 20, "b": 13, "c": 1}
    detections: dict[str, list[int]] = {name: [] for name in frames}

    def watch(result: FrameResult) -> None:
        if result.tracks.detection.tolist() != [-1, -1]:
            detections[result.stream].append(result.frame.index)

    made = [Stream(Film(name, [8] * count), Tracker("iou")) for name, count in frames.items()]
    with fake(batched) as session:
        report = MultiPipeline(made, session, every=every, watchers=[watch]).run()
    assert [one.frames for one in report.streams] == list(frames.values())
    seen = {
        name: [
            1 + number for number in range(count) if number == 0 or (number + phase) % every == 0
        ]
        for phase, (name, count) in enumerate(frames.items())
    }
    assert detections == seen
    assert report.batch * report.batches == pytest.approx(sum(map(len, seen.values())))


def test_a_live_source_is_seen_by_the_network_in_turn() -> None:
    done = threading.Semaphore(0)

    class Paced(Film):
        def __iter__(self) -> Iterator[Frame]:
            for frame in super().__iter__():
                yield frame
                assert done.acquire(timeout=20)

    runs: list[bool] = []

    def watch(result: FrameResult) -> None:
        runs.append(bool((result.tracks.detection >= 0).all()))
        done.release()

    with fake() as session:
        Pipeline(
            Paced("a", [8] * 9, live=True), session, Tracker("iou"), every=4, watchers=[watch]
        ).run()
    assert runs == [True, False, False, False, True, False, False, False, True]
