"""The slow versions that other tests trust, against known numbers and hand-made scenes."""

from __future__ import annotations

import itertools

import lap
import numpy as np
import numpy.typing as npt
import pytest
import slow_kalman
from slow_jde_tracker import (
    Detection,
    SlowJdeTracker,
    State,
    Track,
    assign,
    iou,
    without_duplicates,
)

from jdetrt.synthetic.crowd import crowd

F64 = npt.NDArray[np.float64]

Z0 = np.array([100, 200, 0.5, 80])
Z1 = np.array([104, 203, 0.52, 82])


# --- Kalman: numbers printed by Towards-Realtime-MOT e9fa1e8 utils/kalman_filter.py


def test_initial_state() -> None:
    mean, covariance = slow_kalman.initiate(Z0)
    np.testing.assert_array_equal(mean, [100, 200, 0.5, 80, 0, 0, 0, 0])
    np.testing.assert_allclose(covariance, np.diag([64, 64, 1e-4, 64, 25, 25, 1e-10, 25]))


def test_prediction() -> None:
    mean, covariance = slow_kalman.predict(*slow_kalman.initiate(Z0))
    np.testing.assert_array_equal(mean, [100, 200, 0.5, 80, 0, 0, 0, 0])
    variances = covariance.diagonal()
    np.testing.assert_allclose(variances[:4], [105, 105, 2.0e-4, 105], rtol=1e-6)
    np.testing.assert_allclose(variances[[4, 5, 7]], 25.25)
    assert covariance[0, 4] == pytest.approx(25)


def test_gating_distance() -> None:
    state = slow_kalman.predict(*slow_kalman.initiate(Z0))
    distances = slow_kalman.gating_distance(*state, np.array([Z1, [130, 200, 0.5, 80], Z0]))
    np.testing.assert_allclose(distances, [0.278885107, 7.438016529, 0], atol=1e-9)


def test_update_and_next_prediction() -> None:
    state = slow_kalman.predict(*slow_kalman.initiate(Z0))
    mean, covariance = slow_kalman.update(*state, Z1)
    np.testing.assert_allclose(
        mean[[0, 1, 2, 3, 4, 5, 7]],
        # x, y, a, h, then the velocities of x, y, h
        [
            103.47107438,
            202.603305785,
            0.500392157,
            81.73553719,
            0.826446281,
            0.619834711,
            0.41322314,
        ],
        atol=1e-8,
    )
    assert mean[6] == pytest.approx(0, abs=1e-8)
    variances = covariance.diagonal()
    np.testing.assert_allclose(variances[[0, 1, 3]], 13.884297521)
    assert variances[2] == pytest.approx(1.96079e-4, rel=1e-5)
    np.testing.assert_allclose(variances[[4, 5, 7]], 20.084710744)
    assert covariance[0, 4] == pytest.approx(3.305785124)

    coming, spread = slow_kalman.predict(mean, covariance)
    np.testing.assert_allclose(
        coming[:4], [104.297520661, 203.223140496, 0.500392157, 82.148760331], atol=1e-8
    )
    variances = spread.diagonal()
    np.testing.assert_allclose(variances[[0, 1, 3]], 57.282323612)
    assert variances[2] == pytest.approx(2.96079e-4, rel=1e-5)
    np.testing.assert_allclose(variances[[4, 5, 7]], 20.345675511)

    mean[7] = 0
    assert slow_kalman.predict(mean, covariance)[0][3] == pytest.approx(81.73553719)


# --- overlap and assignment


def test_iou_counts_the_far_edge() -> None:
    a, b = np.array([10.0, 10, 20, 40]), np.array([15.0, 10, 25, 40])
    assert iou(a, b) == 0.375
    assert iou(a, a) == 1
    assert iou(a, a + np.array([11, 0, 11, 0])) == 0
    assert iou(a, a + np.array([10.5, 0, 10.5, 0])) > 0  # apart, and yet within the pixel


def test_assignment_is_not_drop_after_solving() -> None:
    cost = np.array([[0.1, 0.6], [0.6, 1.2]])
    assert assign(cost, 0.7) == ([(0, 0)], [1], [1])


def test_assignment_limit_is_inclusive() -> None:
    assert assign(np.array([[0.7]]), 0.7) == ([(0, 0)], [], [])
    assert assign(np.array([[0.7001]]), 0.7) == ([], [0], [0])
    assert assign(np.array([[np.inf]]), 0.7) == ([], [0], [0])


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (2, 0)])
def test_assignment_of_nothing(shape: tuple[int, int]) -> None:
    assert assign(np.zeros(shape), 0.7) == ([], list(range(shape[0])), list(range(shape[1])))


def cheapest(cost: F64, limit: float) -> float:
    """Price of the best matching, by trying all: a pair costs its cost, two left out ``limit``."""
    n, m = cost.shape
    best = np.inf
    for size in range(min(n, m) + 1):
        alone = limit / 2 * (n + m - 2 * size)
        for rows in itertools.combinations(range(n), size):
            for columns in itertools.permutations(range(m), size):
                best = min(best, alone + float(cost[list(rows), list(columns)].sum()))
    return best


def test_assignment_against_all_matchings_and_lapjv() -> None:
    rng = np.random.default_rng(0)
    for _ in range(150):
        cost = rng.random(rng.integers(1, 5, 2)) * 1.5
        cost[rng.random(cost.shape) < 0.2] = np.inf
        pairs, rows, columns = assign(cost, 0.7)
        assert len(pairs) + len(rows) == cost.shape[0]
        assert len(pairs) + len(columns) == cost.shape[1]
        price = sum(cost[i, j] for i, j in pairs) + 0.35 * (len(rows) + len(columns))
        assert price == pytest.approx(cheapest(cost, 0.7))
        _, x, _ = lap.lapjv(cost, extend_cost=True, cost_limit=0.7)
        assert pairs == [(i, int(j)) for i, j in enumerate(x) if j >= 0]


# --- the tracker, scene by scene; everybody stands still unless told

Person = tuple[float, float, int]  # centre x, centre y, which look
A: Person = (200, 300, 0)
B: Person = (600, 300, 1)
C: Person = (1000, 300, 2)


def show(
    tracker: SlowJdeTracker, *people: Person, score: float = 0.9, height: float = 100
) -> list[int]:
    """One frame of people 0.4 as wide as high; the ids reported."""
    half = np.array([0.2 * height, height / 2])
    boxes = np.array([[x - half[0], y - half[1], x + half[0], y + half[1]] for x, y, _ in people])
    found = tracker.update(
        boxes.reshape(-1, 4).astype(np.float32),
        np.full(len(people), score, np.float32),
        np.eye(8, dtype=np.float32)[[look for _, _, look in people]],
    )
    return [identity for identity, _, _ in found]


def test_reported_from_the_second_frame_on() -> None:
    tracker = SlowJdeTracker()
    assert [show(tracker, A, B) for _ in range(3)] == [[], [1, 2], [1, 2]]


def test_ids_start_at_one_in_each_tracker() -> None:
    for _ in range(2):
        tracker = SlowJdeTracker()
        assert [show(tracker, A) for _ in range(2)] == [[], [1]]


def test_unconfirmed_births_leave_gaps_in_the_ids() -> None:
    tracker = SlowJdeTracker()
    show(tracker, A, B)
    assert show(tracker, A, C) == [1]
    assert show(tracker, A, C) == [1, 3]
    assert show(tracker, A, B, C) == [1, 3]
    assert show(tracker, A, B, C) == [1, 3, 4]


def test_unconfirmed_track_gets_one_chance() -> None:
    tracker = SlowJdeTracker()
    show(tracker, A)
    show(tracker)
    assert [show(tracker, A) for _ in range(2)] == [[], [2]]


def test_threshold_itself_is_dropped() -> None:
    tracker = SlowJdeTracker()
    assert [show(tracker, A, score=0.5) for _ in range(3)] == [[], [], []]
    assert tracker.births == 0
    assert [show(tracker, A, score=0.51) for _ in range(2)] == [[], [1]]


def test_unconfirmed_is_not_predicted_and_lost_height_stands_still() -> None:
    tracker = SlowJdeTracker()
    looks = np.eye(1, 4, dtype=np.float32)
    score = np.ones(1, np.float32)
    boxes = [
        np.array([[x - a * h / 2, y - h / 2, x + a * h / 2, y + h / 2]], np.float32)
        for x, y, a, h in (Z0, Z1)
    ]
    tracker.update(boxes[0], score, looks)
    assert tracker.tracked[0].covariance[0, 0] == pytest.approx(64)
    ((_, box, _),) = tracker.update(boxes[1], score, looks)
    # gain 64 / (64 + 16) as in the birth frame; a prediction first would make it 105 / 121
    assert (box[0] + box[2]) / 2 == pytest.approx(100 + 0.8 * 4, abs=1e-4)
    assert (box[1] + box[3]) / 2 == pytest.approx(200 + 0.8 * 3, abs=1e-4)
    assert tracker.tracked[0].mean[4] == 0  # nor has it a velocity yet

    tracker.update(boxes[1], score, looks)
    assert tracker.tracked[0].mean[7] > 0
    heights = [tracker.tracked[0].mean[3]]
    for _ in range(3):
        show(tracker)
        heights.append(tracker.lost[0].mean[3])
    assert heights[1] > heights[0]  # it was tracked when that frame began
    assert heights[1] == heights[2] == heights[3]
    assert tracker.lost[0].mean[7] == 0


def test_other_look_is_held_by_overlap_while_tracked_but_not_once_lost() -> None:
    tracker = SlowJdeTracker()
    show(tracker, A)
    show(tracker, A)
    disguised = (A[0], A[1], 5)
    assert show(tracker, disguised) == [1]
    show(tracker)
    assert show(tracker, disguised) == []


def test_same_look_beyond_the_gate_is_somebody_else() -> None:
    tracker = SlowJdeTracker()
    show(tracker, A)
    show(tracker, A)
    # predicted variance 20 + 39.1 + 25, measured 25: the gate stands at 32.2 px
    near, far = (A[0] + 25, A[1], 0), (A[0] + 33, A[1], 0)
    assert show(tracker, far) == []
    assert tracker.lost[0].id == 1
    tracker = SlowJdeTracker()
    show(tracker, A)
    show(tracker, A)
    assert show(tracker, near) == [1]


@pytest.mark.parametrize(("rate", "buffer"), [(30.0, 30), (6.0, 6), (29.97, 29)])
@pytest.mark.parametrize(("over", "revived"), [(0, True), (1, True), (2, True), (3, False)])
def test_last_revival_is_two_frames_after_the_buffer(
    rate: float, buffer: int, over: int, revived: bool
) -> None:
    tracker = SlowJdeTracker(frame_rate=rate)
    show(tracker, A)
    show(tracker, A)
    for _ in range(buffer + over - 1):
        assert show(tracker) == []
    assert show(tracker, A) == ([1] if revived else [])


@pytest.mark.parametrize(("over", "stays"), [(1, True), (2, False)])
def test_revived_from_the_removed_vanishes_when_lost_again(over: int, stays: bool) -> None:
    tracker = SlowJdeTracker(frame_rate=6)
    show(tracker, A)
    show(tracker, A)
    for _ in range(6 + over - 1):
        show(tracker)
    assert any(t.state is State.REMOVED for t in tracker.lost) is not stays
    assert [show(tracker, A) for _ in range(20)] == [[1]] * 20
    show(tracker)
    assert [t.id for t in tracker.lost] == ([1] if stays else [])
    assert show(tracker, A) == ([1] if stays else [])


def test_revival_keeps_the_old_score_and_goes_to_the_end_of_the_list() -> None:
    tracker = SlowJdeTracker()
    show(tracker, A, B)
    show(tracker, A, B, score=0.8)
    assert show(tracker, B) == [2]
    assert show(tracker, A, B, score=0.6) == [2, 1]
    assert [round(t.score, 3) for t in tracker.tracked] == [0.6, 0.8]
    show(tracker, A, B, score=0.7)
    assert [round(t.score, 3) for t in tracker.tracked] == [0.7, 0.7]


def duplicate_of_a_lost_track(*, late: int) -> SlowJdeTracker:
    """A person seen twice is lost; one of another look is born ``late`` frames later beside the
    place and steps into it."""
    tracker = SlowJdeTracker()
    show(tracker, A)
    show(tracker, A)
    show(tracker)
    for _ in range(late):
        show(tracker, (A[0] + 10, A[1], 5))
    show(tracker, (A[0], A[1], 5))
    return tracker


def test_tie_of_duplicates_drops_the_tracked_one() -> None:
    tracker = duplicate_of_a_lost_track(late=1)  # both 1 frame old
    assert (tracker.tracked, [t.id for t in tracker.lost]) == ([], [1])


def test_older_tracked_duplicate_drops_the_lost_one() -> None:
    tracker = duplicate_of_a_lost_track(late=2)
    assert ([t.id for t in tracker.tracked], tracker.lost) == ([2], [])
    assert show(tracker, (A[0], A[1], 5)) == [2]


def test_birth_upon_a_lost_track_costs_an_id_and_nothing_else() -> None:
    tracker = duplicate_of_a_lost_track(late=0)
    assert (tracker.births, tracker.tracked) == (2, [])
    assert show(tracker, A) == [1]


def test_duplicates_are_judged_for_all_pairs_at_once() -> None:
    detection = Detection(
        np.array([0, 0, 40, 100], np.float32), 0.9, np.eye(1, 4, dtype=np.float32)[0]
    )
    elder, heir, young = (Track(i, detection, 1) for i in (1, 2, 3))
    elder.last_frame, heir.last_frame, young.last_frame = 5, 4, 3
    # the elder drops the heir, and yet the heir still drops the young one
    assert without_duplicates([heir], [elder, young]) == ([], [elder])
    assert without_duplicates([heir], [young]) == ([heir], [])
    assert without_duplicates([heir], [heir]) == ([], [heir])  # a tie


def test_looks_are_smoothed_and_kept_at_length_one() -> None:
    tracker = SlowJdeTracker()
    show(tracker, A)
    show(tracker, A)
    show(tracker, (A[0], A[1], 1))
    expected = np.array([0.9, 0.1]) / np.hypot(0.9, 0.1)
    np.testing.assert_allclose(tracker.tracked[0].embedding[:2], expected, rtol=1e-6)


def test_stream_is_tracked_the_same_way_twice_and_unchanged() -> None:
    first, second = SlowJdeTracker(), SlowJdeTracker()
    reported: set[int] = set()
    for detections in crowd(20, 60, 3, embedding_dim=128):
        given = (detections.boxes, detections.scores, detections.embeddings)
        assert given[2] is not None
        copies = [array.copy() for array in (given[0], given[1], given[2])]
        tracks = first.update(given[0], given[1], given[2])
        assert tracks == second.update(copies[0], copies[1], copies[2])
        np.testing.assert_array_equal(copies[0], given[0])
        np.testing.assert_array_equal(copies[2], given[2])
        reported |= {identity for identity, _, _ in tracks}
    assert 20 <= len(reported) < first.births
