"""Time of a tracker: dropped frames, outages, timestamps out of order."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jdetrt.config import PRESETS, FusedConfig, default_config
from jdetrt.errors import DataError
from jdetrt.runtime.tracking import kalman
from jdetrt.runtime.tracking.clock import Clock
from jdetrt.runtime.tracking.tracker import Tracker
from jdetrt.synthetic.crowd import crowd
from jdetrt.types import Detections

SLOT = np.array([0])


def walker(frame: int, *, speed: float = 3.2) -> Detections:
    """One person, 120 pixels tall, who walks to the right (1.4 m/s for 1.7 m at 30 FPS)."""
    x = 100 + speed * frame
    look = np.ones((1, 8), np.float32)
    return Detections([[x, 100, x + 45, 220]], [0.9], look)


@given(
    st.integers(1, 40), st.tuples(*[st.floats(-3, 3)] * 4), st.tuples(*[st.floats(0.01, 40)] * 4)
)
def test_a_long_step_is_as_much_as_many_short_ones(
    frames: int, velocity: tuple[float, ...], variance: tuple[float, ...]
) -> None:
    mean = np.array([[300.0, 200.0, 0.4, 500.0, *velocity[:2], 0.0, 0.0]])
    cov = np.array([[[v, 0.3 * v, 0.2 * v] for v in variance]])
    once, once_cov = mean.copy(), cov.copy()
    kalman.predict(once, once_cov, SLOT, kalman.REFERENCE_NOISE, float(frames))
    for _ in range(frames):
        kalman.predict(mean, cov, SLOT, kalman.REFERENCE_NOISE, 1.0)
    np.testing.assert_allclose(once, mean, rtol=1e-9)
    np.testing.assert_allclose(once_cov, cov, rtol=1e-9)


def test_nobody_shrinks_to_nothing_in_a_long_step() -> None:
    mean = np.array([[300.0, 200.0, 0.4, 100.0, 0.0, 0.0, -0.05, -20.0]])
    kalman.predict(mean, np.ones((1, 4, 3)), SLOT, kalman.REFERENCE_NOISE, 50.0)
    assert mean[0, 2] == pytest.approx(0.2)
    assert mean[0, 3] == pytest.approx(50.0)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(("rate", "start"), [(30.0, 0.0), (7.5, 1.7e9), (25.0, -3.0)])
def test_timestamps_at_the_frame_rate_change_nothing(
    preset: str, rate: float, start: float
) -> None:
    plain, timed = Tracker(preset, rate), Tracker(preset, rate)
    for frame, people in enumerate(crowd(14, 80, 2, embedding_dim=16)):
        a, b = plain.update(people), timed.update(people, start + frame / rate)
        for name in ("ids", "boxes", "scores", "detection", "age"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("drops", ["steady", "irregular"])
def test_a_walker_keeps_the_id_where_frames_are_dropped(preset: str, drops: str) -> None:
    random = np.random.default_rng(1)
    ids = set()
    tracker, frame = Tracker(preset), 0
    while frame < 600:
        ids.update(tracker.update(walker(frame), frame / 30).ids.tolist())
        frame += 7 if drops == "steady" else int(random.integers(1, 15))
    assert ids == {1}


@pytest.mark.parametrize("preset", PRESETS)
def test_a_lost_track_ages_while_the_camera_is_away(preset: str) -> None:
    """An outage counts as its time, at whatever rate frames come before and after it."""
    seconds = default_config(preset).buffer / 30
    for away, same in ((seconds - 0.2, True), (seconds + 0.3, False)):
        tracker = Tracker(preset)
        for frame in range(10):
            first = tracker.update(walker(0), frame / 30).ids.tolist()
        assert first == [1]
        back = 9 / 30 + away
        tracker.update(walker(0), back)
        again = tracker.update(walker(0), back + 1 / 30).ids.tolist()
        assert (again == first) is same
        assert tracker.clock.gaps == (not same)


@pytest.mark.parametrize("preset", PRESETS)
def test_timestamps_that_go_back_begin_a_new_recording(preset: str) -> None:
    tracker = Tracker(preset)
    for frame in range(10):
        tracker.update(walker(0), 100 + frame / 30)
    ids = [tracker.update(walker(0), frame / 30).ids.tolist() for frame in range(5)]
    assert ids[-1] == [2]
    assert (tracker.clock.restarts, tracker.clock.gaps, tracker.clock.repeats) == (1, 0, 0)
    tracker.reset()
    assert tracker.clock.restarts == 0


@pytest.mark.parametrize("preset", PRESETS)
def test_at_the_same_timestamp_nothing_moves(preset: str) -> None:
    tracker = Tracker(preset)
    for frame in range(12):
        tracker.update(walker(frame), frame / 30)
    for _ in range(4):
        still = tracker.update(walker(11), 11 / 30)
        assert still.ids.tolist() == [1]
    assert still.boxes[0] == pytest.approx(walker(11).boxes[0], abs=2)
    tracker.update(Detections.empty(8), 11 / 30)
    assert tracker.update(walker(12), 12 / 30).ids.tolist() == [1]
    assert tracker.clock.repeats == 5


@pytest.mark.parametrize("preset", PRESETS)
def test_a_timestamp_that_is_no_time_is_refused_and_changes_nothing(preset: str) -> None:
    tracker = Tracker(preset)
    for frame in range(3):
        tracker.update(walker(frame), frame / 30)
    for timestamp in (math.nan, math.inf, -math.inf):
        with pytest.raises(DataError, match="timestamp: expected finite seconds"):
            tracker.update(walker(9), timestamp)
    assert tracker.update(walker(3), 3 / 30).ids.tolist() == [1]


def test_a_clock_that_stands_still_counts_frames() -> None:
    clock = Clock(10.0, 30.0)
    steps = [clock.step(5.0) for _ in range(14)]
    assert steps == [1.0, *[0.0] * 9, *[1.0] * 4]
    assert clock.repeats == 13
    assert clock.step(5.2) == pytest.approx(2.0)


def test_rounded_timestamps_are_whole_frames_apart() -> None:
    clock = Clock(30.0, 30.0)
    assert {clock.step(round(frame / 30, 3)) for frame in range(300)} == {1.0}
    assert clock.step(10.5) == 16.0
    assert clock.step(10.51) == pytest.approx(0.3)


def test_frames_without_a_timestamp_are_one_frame_later() -> None:
    clock = Clock(10.0, 30.0)
    stamps = (None, None, 7.0, None, 7.3, None, 7.35)
    assert [clock.step(stamp) for stamp in stamps] == pytest.approx([1, 1, 1, 1, 2, 1, 0])
    assert (clock.repeats, clock.restarts) == (1, 0)  # 7.35 is before the frame at 7.4


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("rate", [0.2, 0.5, 1.0])
def test_at_very_low_rates_a_track_survives_missed_frames(preset: str, rate: float) -> None:
    tracker = Tracker(preset, rate)
    ids = set()
    for shown in (1, 1, 1, 0, 1, 0, 0, 1, 1):
        tracks = tracker.update(walker(0) if shown else Detections.empty(8))
        ids.update(tracks.ids.tolist())
    assert ids == {1}


@pytest.mark.parametrize(("top", "bottom", "x", "ids"), [(0, 100, 50, [1]), (15, 85, 40, [2])])
def test_far_apart_frames_need_less_overlap_of_like_heights(
    top: float, bottom: float, x: float, ids: list[int]
) -> None:
    tracker = Tracker("fused", 7.5)
    for _ in range(4):
        tracker.update(Detections([[0, 0, 100, 100]], [0.9]))
    for _ in range(2):  # an overlap of 0.33 with where they stood
        tracks = tracker.update(Detections([[x, top, x + 100, bottom]], [0.9]))
    assert tracks.ids.tolist() == ids
    at_once = Tracker(FusedConfig(sparse_growth=0.0), 7.5)
    for _ in range(4):
        at_once.update(Detections([[0, 0, 100, 100]], [0.9]))
    for _ in range(2):
        tracks = at_once.update(Detections([[x, top, x + 100, bottom]], [0.9]))
    assert tracks.ids.tolist() == [2]
