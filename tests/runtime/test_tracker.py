"""The tracker: the reference's decisions frame for frame, the other presets, bad input."""

from __future__ import annotations

import gc
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from slow_jde_tracker import SlowJdeTracker

from jdetrt.config import PRESETS, IouConfig, TrackerConfig
from jdetrt.errors import ConfigError, DataError
from jdetrt.runtime.tracking.tracker import Tracker
from jdetrt.synthetic.crowd import crowd
from jdetrt.types import Detections, Tracks


def detections(*boxes: tuple[float, float, float, float], score: float = 0.9) -> Detections:
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4), np.full(len(boxes), score, np.float32), None
    )


NOTHING = detections()
PERSON = detections((100, 100, 140, 220))


@pytest.mark.parametrize(
    ("targets", "frames", "seed", "frame_rate"),
    [
        (20, 300, 0, 30.0),
        (20, 400, 1, 6.0),  # a buffer of 6 frames: much is lost, removed and revived
        (20, 300, 2, 3.0),
        (61, 100, 3, 30.0),
        (61, 150, 4, 5.0),
        (250, 25, 5, 30.0),
        (250, 25, 6, 4.0),
    ],
)
def test_reference_decides_as_the_reference_written_out(
    targets: int, frames: int, seed: int, frame_rate: float
) -> None:
    """Same ids in the same order, same boxes and scores, in every frame."""
    fast, slow = Tracker("reference", frame_rate), SlowJdeTracker(frame_rate)
    reported = 0
    for frame, seen in enumerate(crowd(targets, frames, seed)):
        assert seen.embeddings is not None
        want = slow.update(seen.boxes, seen.scores, seen.embeddings)
        got = fast.update(seen)
        assert got.ids.tolist() == [w[0] for w in want], f"frame {frame}"
        assert got.boxes == pytest.approx(np.array([w[1] for w in want]).reshape(-1, 4), abs=1e-3)
        assert got.scores == pytest.approx([w[2] for w in want])
        reported += len(got)
    assert reported > targets * frames / 2


def test_reference_revives_at_a_gap_of_buffer_plus_two_and_not_later() -> None:
    for gap, same in ((32, True), (33, False)):
        tracker = Tracker("reference")
        for _ in range(3):
            first = tracker.update(PERSON)
        for _ in range(gap - 1):
            assert len(tracker.update(NOTHING)) == 0
        again = tracker.update(PERSON)
        assert (again.ids.tolist() == first.ids.tolist()) is same


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_follows_a_walker(preset: str) -> None:
    tracker = Tracker(preset)
    ids = set()
    for f in range(40):
        x = 100 + 3 * f
        tracks = tracker.update(detections((x, 100, x + 40, 220), (500 - x, 300, 540 - x, 420)))
        ids.update(tracks.ids.tolist())
        assert isinstance(tracks, Tracks)
    assert len(ids) == 2
    assert tracks.boxes[np.argmin(tracks.ids)] == pytest.approx([217, 100, 257, 220], abs=2)


@pytest.mark.parametrize("preset", PRESETS)
def test_reset_makes_it_new(preset: str) -> None:
    stream = list(crowd(20, 30, 9, embedding_dim=32))
    tracker = Tracker(preset)
    runs = []
    for _ in range(2):
        runs.append([tracker.update(d) for d in stream])
        tracker.reset()
    for a, b in zip(*runs, strict=True):
        assert a.ids.tolist() == b.ids.tolist()
        assert (a.boxes == b.boxes).all()
    assert min(t.ids.min() for t in runs[0] if len(t)) >= 1


def test_two_trackers_share_nothing() -> None:
    one, two = Tracker("iou"), Tracker("iou")
    one.update(PERSON)
    for _ in range(2):
        tracks = two.update(PERSON)
    assert tracks.ids.tolist() == [1]


def test_paper_preset_births_after_two_frames_and_ends_after_thirty() -> None:
    tracker = Tracker("paper")
    assert len(tracker.update(PERSON)) == 0
    assert tracker.update(PERSON).ids.tolist() == [1]
    for gap, same in ((30, True), (31, False)):
        for _ in range(gap - 1):
            tracker.update(NOTHING)
        tracker.update(PERSON)
        assert (tracker.update(PERSON).ids.tolist() == [1]) is same


def test_paper_preset_needs_consecutive_frames() -> None:
    tracker = Tracker("paper")
    for seen in (PERSON, NOTHING, PERSON):
        assert len(tracker.update(seen)) == 0


@pytest.mark.parametrize("preset", PRESETS)
def test_inputs_are_not_changed(preset: str) -> None:
    seen = next(iter(crowd(20, 1, 0, embedding_dim=16)))
    assert seen.embeddings is not None
    before = seen.boxes.copy(), seen.scores.copy(), seen.embeddings.copy()
    tracker = Tracker(preset)
    for _ in range(3):
        tracker.update(seen)
    for a, b in zip(before, (seen.boxes, seen.scores, seen.embeddings), strict=True):
        assert (a == b).all()


@pytest.mark.parametrize(
    "box",
    [
        (np.nan, 10, 20, 30),
        (0, 0, np.inf, 30),
        (10, 10, 10, 30),
        (10, 10, 30, 10),
        (30, 10, 10, 40),
    ],
    ids=["nan", "infinite", "no width", "no height", "negative"],
)
@pytest.mark.parametrize("preset", PRESETS)
def test_a_box_that_is_none_is_named_and_changes_nothing(
    preset: str, box: tuple[float, float, float, float]
) -> None:
    tracker, twin = Tracker(preset), Tracker(preset)
    for t in (tracker, twin):
        t.update(PERSON)
    with pytest.raises(DataError, match="detection 1"):
        tracker.update(detections((100, 100, 140, 220), box))
    for _ in range(2):
        a, b = tracker.update(PERSON), twin.update(PERSON)
    assert a.ids.tolist() == b.ids.tolist()
    assert (a.boxes == b.boxes).all()


def test_embeddings_that_do_not_fit_are_named() -> None:
    tracker = Tracker("reference")
    streams = (crowd(5, 1, 0, embedding_dim=dim) for dim in (16, 32))
    first, second = (next(iter(s)) for s in streams)
    tracker.update(first)
    with pytest.raises(DataError, match="length 32"):
        tracker.update(second)
    assert first.embeddings is not None
    spoilt = first.embeddings.copy()
    spoilt[2, 3] = np.nan
    with pytest.raises(DataError, match="not finite"):
        tracker.update(Detections(first.boxes, first.scores, spoilt))


def test_settings_that_make_no_sense_are_named() -> None:
    with pytest.raises(ConfigError, match="one of reference, paper, iou"):
        Tracker("sort")
    with pytest.raises(ConfigError, match="frame_rate"):
        Tracker("iou", 0.0)
    with pytest.raises(ConfigError, match="expected those of a preset, got a TrackerConfig"):
        Tracker(TrackerConfig())
    assert Tracker(IouConfig(buffer=5)).config.buffer == 5


@pytest.mark.parametrize("preset", PRESETS)
def test_nothing_is_compiled_after_the_warm_up(preset: str) -> None:
    """In a process of its own: what it has compiled before does not count."""
    program = f"""
from jdetrt.synthetic.crowd import crowd
from jdetrt.runtime.jit import compilations
from jdetrt.runtime.tracking.tracker import Tracker
tracker = Tracker({preset!r}, 5.0)
tracker.warm_up()
before = compilations()
for seen in crowd(60, 60, 0, embedding_dim=16):
    tracker.update(seen)
assert before > 0
assert compilations() == before, (before, compilations())
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_score_that_is_not_finite_is_named() -> None:
    for value in (np.nan, np.inf):
        with pytest.raises(DataError, match="detection 0: its score"):
            Tracker("iou").update(detections((0, 0, 40, 100), score=value))


@pytest.mark.parametrize("preset", PRESETS)
def test_arrays_of_any_layout_will_do(preset: str) -> None:
    plain, strided = Tracker(preset), Tracker(preset)
    for seen in crowd(10, 10, 4, embedding_dim=8):
        assert seen.embeddings is not None
        wide = np.zeros((len(seen), 9), np.float32)
        wide[:, ::2][:, :4] = seen.boxes
        embeddings = np.asfortranarray(seen.embeddings)
        embeddings.setflags(write=False)
        odd = Detections(wide[:, ::2][:, :4], seen.scores[::-1].copy()[::-1], embeddings)
        a, b = plain.update(seen), strided.update(odd)
        assert a.ids.tolist() == b.ids.tolist()
        assert (a.boxes == b.boxes).all()


def test_iou_preset_does_not_look_at_embeddings() -> None:
    box, score = np.array([[0, 0, 40, 100]], np.float32), np.ones(1, np.float32)
    tracker = Tracker("iou")
    for embeddings in (None, np.full((1, 4), np.nan, np.float32), np.ones((1, 9), np.float32)):
        tracks = tracker.update(Detections(box, score, embeddings))
    assert tracks.ids.tolist() == [1]


@pytest.mark.parametrize("preset", PRESETS)
def test_memory_stays_flat(preset: str) -> None:
    """The same crowd over and over, people always new: nothing is kept for ever."""
    tracker = Tracker(preset)
    stream = list(crowd(40, 60, 1, embedding_dim=64))

    def run(times: int) -> None:
        for _ in range(times):
            for seen in stream:
                tracker.update(seen)

    run(3)
    gc.collect()
    tracemalloc.start()
    run(1)
    before = tracemalloc.get_traced_memory()[0]
    run(6)
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 100_000


def test_iou_preset_finds_people_again_by_low_scores_and_by_distance() -> None:
    tracker = Tracker("iou")
    for _ in range(3):
        ids = tracker.update(PERSON).ids.tolist()
    half_hidden = detections((100, 100, 140, 220), score=0.2)
    assert tracker.update(half_hidden).ids.tolist() == ids
    shifted = detections((124, 100, 164, 220))  # the camera jumps: little overlap, same height
    assert tracker.update(shifted).ids.tolist() == ids
    smaller = detections((134, 130, 154, 190))  # as near, but half the height: someone else
    assert len(tracker.update(smaller)) == 0


def test_iou_preset_starts_nobody_from_a_low_score() -> None:
    tracker = Tracker("iou")
    for _ in range(5):
        assert len(tracker.update(detections((100, 100, 140, 220), score=0.65))) == 0


@pytest.mark.parametrize("preset", PRESETS)
def test_tracks_tell_their_detection_their_age_and_their_embedding(preset: str) -> None:
    tracker = Tracker(preset)
    born: dict[int, int] = {}
    handed_out: list[tuple[Tracks, Tracks]] = []
    faint_frames = 0
    for frame, sorted_by_score in enumerate(crowd(30, 60, 3, embedding_dim=16)):
        seen = sorted_by_score[::-1]
        faint = seen.scores <= tracker.config.score_threshold
        faint_frames += bool(faint.any())
        tracks = tracker.update(seen)
        handed_out.append((tracks, tracks[np.arange(len(tracks))]))
        matched = seen[tracks.detection]
        assert len(set(tracks.detection.tolist())) == len(tracks)
        assert not faint[tracks.detection].any()  # rows of what was given, not of what is used
        far = (
            tracks.boxes[:, :2] + tracks.boxes[:, 2:] - matched.boxes[:, :2] - matched.boxes[:, 2:]
        ) / 2
        assert np.abs(far).max(initial=0) < 20
        for number, age in zip(tracks.ids.tolist(), tracks.age.tolist(), strict=True):
            assert 0 <= age == frame - born.setdefault(number, frame - age)
        if preset == "iou":
            assert tracks.embeddings is None
        elif len(tracks):
            assert tracks.embeddings is not None
            assert matched.embeddings is not None
            np.testing.assert_allclose(np.linalg.norm(tracks.embeddings, axis=1), 1, atol=1e-5)
            assert (tracks.embeddings * matched.embeddings).sum(axis=1).mean() > 0.8
    assert preset in ("iou", "fused") or faint_frames > 0  # whose threshold is lower
    assert len(born) >= 30
    for tracks, copy in handed_out:  # later frames leave them alone
        for name in ("boxes", "detection", "age", "embeddings"):
            np.testing.assert_array_equal(getattr(tracks, name), getattr(copy, name))
