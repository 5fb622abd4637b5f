"""The reference JDE tracker, written out step by step with objects, lists and loops.

Written from a description of Towards-Realtime-MOT e9fa1e8 tracker/multitracker.py, matching.py and
basetrack.py, to test the fast version against; it is meant to be read, not to be fast. Lines marked
[Q] are habits of the reference that nobody would choose but that decide what comes out.
"""

from __future__ import annotations

from enum import Enum, auto

import numpy as np
import numpy.typing as npt
import scipy.optimize
import slow_kalman
from scipy.spatial.distance import cdist

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
Box = tuple[float, float, float, float]

SMOOTHING = 0.9
APPEARANCE_WEIGHT, MOTION_WEIGHT = 0.98, 0.02
APPEARANCE_LIMIT = 0.7
IOU_LIMIT = 0.5
UNCONFIRMED_LIMIT = 0.7
DUPLICATE_LIMIT = 0.15
BUFFER = 30  # frames at 30 frames a second


class State(Enum):
    TRACKED = auto()
    LOST = auto()
    REMOVED = auto()


class Detection:
    """One box of one frame."""

    def __init__(self, xyxy: F32, score: float, embedding: F32) -> None:
        left, top, right, bottom = xyxy
        self.tlwh: F64 = np.array([left, top, right - left, bottom - top], np.float32).astype(float)
        self.score = score
        self.embedding = unit(embedding)

    def xyah(self) -> F64:
        left, top, width, height = self.tlwh
        return np.array([left + width / 2, top + height / 2, width / height, height])

    def xyxy(self) -> F64:
        left, top, width, height = self.tlwh
        return np.array([left, top, left + width, top + height])


class Track:
    """One person, from the first sight on."""

    def __init__(self, identity: int, detection: Detection, frame: int) -> None:
        self.id = identity
        self.mean, self.covariance = slow_kalman.initiate(detection.xyah())
        self.embedding = detection.embedding
        self.score = detection.score
        self.state = State.TRACKED
        self.is_activated = False  # [Q] on the first frame too
        self.start_frame = self.last_frame = frame

    def xyxy(self) -> F64:
        x, y, aspect, height = self.mean[:4]
        width = aspect * height
        left, top = x - width / 2, y - height / 2
        return np.array([left, top, left + width, top + height])

    def predict(self) -> None:
        if self.state is not State.TRACKED:
            self.mean = self.mean.copy()
            self.mean[7] = 0  # the height stands still, and stays so until an update
        self.mean, self.covariance = slow_kalman.predict(self.mean, self.covariance)

    def update(self, detection: Detection, frame: int) -> None:
        self._see(detection, frame)
        self.score = detection.score

    def reactivate(self, detection: Detection, frame: int) -> None:
        self._see(detection, frame)  # [Q] the score stays what it was

    def _see(self, detection: Detection, frame: int) -> None:
        self.mean, self.covariance = slow_kalman.update(
            self.mean, self.covariance, detection.xyah()
        )
        old, new = np.float32(SMOOTHING), np.float32(1 - SMOOTHING)
        self.embedding = unit(old * self.embedding + new * detection.embedding)
        self.state = State.TRACKED
        self.is_activated = True
        self.last_frame = frame


class SlowJdeTracker:
    """The reference tracker; ids count from 1 in each object.

    ``update`` takes ``boxes`` (N, 4) float32 x1 y1 x2 y2, ``scores`` (N,) float32 and
    ``embeddings`` (N, D) float32, and gives (id, (x1, y1, x2, y2), score) of every confirmed
    track, in the order of the tracked list.
    """

    def __init__(self, frame_rate: float = 30.0, score_threshold: float = 0.5) -> None:
        self.buffer = int(frame_rate / 30 * BUFFER)
        self.score_threshold = np.float32(score_threshold)
        self.frame = 0
        self.births = 0
        self.tracked: list[Track] = []
        self.lost: list[Track] = []
        self.removed: list[Track] = []

    def update(self, boxes: F32, scores: F32, embeddings: F32) -> list[tuple[int, Box, float]]:
        self.frame += 1
        lost_now: list[Track] = []
        removed_now: list[Track] = []
        born: list[Track] = []
        found_again: list[Track] = []

        # 1, 2. Keep what is above the threshold, and wrap it.
        detections = [
            Detection(boxes[i], float(scores[i]), embeddings[i])
            for i in range(len(scores))
            if scores[i] > self.score_threshold
        ]

        # 3. Split.
        confirmed = [t for t in self.tracked if t.is_activated]
        unconfirmed = [t for t in self.tracked if not t.is_activated]
        pool = confirmed + self.lost

        # 4. Predict the pool; [Q] unconfirmed tracks wait where they were seen.
        for track in pool:
            track.predict()

        # 5. First association: appearance and motion.
        pairs, pool_left, detections_left = assign(
            appearance_cost(pool, detections), APPEARANCE_LIMIT
        )
        for i, j in pairs:
            if pool[i].state is State.TRACKED:
                pool[i].update(detections[j], self.frame)
            else:
                pool[i].reactivate(detections[j], self.frame)
                found_again.append(pool[i])

        # 6. Second association: overlap, for those that were tracked until now.
        candidates = [pool[i] for i in pool_left if pool[i].state is State.TRACKED]
        detections = [detections[j] for j in detections_left]
        pairs, candidates_left, detections_left = assign(
            overlap_cost(candidates, detections), IOU_LIMIT
        )
        for i, j in pairs:
            candidates[i].update(detections[j], self.frame)
        for i in candidates_left:
            candidates[i].state = State.LOST
            lost_now.append(candidates[i])

        # 7. Unconfirmed tracks: overlap, now or never.
        detections = [detections[j] for j in detections_left]
        pairs, unconfirmed_left, detections_left = assign(
            overlap_cost(unconfirmed, detections), UNCONFIRMED_LIMIT
        )
        for i, j in pairs:
            unconfirmed[i].update(detections[j], self.frame)
        for i in unconfirmed_left:
            unconfirmed[i].state = State.REMOVED
            removed_now.append(unconfirmed[i])

        # 8. Births; [Q] each takes an id, whether or not it is ever reported.
        for j in detections_left:
            if detections[j].score >= self.score_threshold:
                self.births += 1
                born.append(Track(self.births, detections[j], self.frame))

        # 9. Deaths.
        for track in self.lost:
            if self.frame - track.last_frame > self.buffer:
                track.state = State.REMOVED
                removed_now.append(track)

        # 10. Merge. [Q] The lost list is pruned before this frame's deaths are known, so the dead
        # may be found again in the next frame, and the pruning then strikes if they get lost again.
        self.tracked = [t for t in self.tracked if t.state is State.TRACKED]
        self.tracked = joined(joined(self.tracked, born), found_again)
        self.lost = without(self.lost, self.tracked) + lost_now
        self.lost = without(self.lost, self.removed)
        self.removed = self.removed + removed_now

        # 11. Duplicates, judged for all pairs at once.
        self.tracked, self.lost = without_duplicates(self.tracked, self.lost)

        # 12. Report.
        return [(t.id, as_box(t.xyxy()), t.score) for t in self.tracked if t.is_activated]


def unit(vector: F32) -> F32:
    """``vector`` at length 1, in float32."""
    return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)


def as_box(xyxy: F64) -> Box:
    x1, y1, x2, y2 = (float(v) for v in xyxy)
    return x1, y1, x2, y2


def joined(first: list[Track], second: list[Track]) -> list[Track]:
    """``first``, then those of ``second`` that are not in it."""
    ids = {t.id for t in first}
    return first + [t for t in second if t.id not in ids]


def without(tracks: list[Track], others: list[Track]) -> list[Track]:
    ids = {t.id for t in others}
    return [t for t in tracks if t.id not in ids]


def without_duplicates(tracked: list[Track], lost: list[Track]) -> tuple[list[Track], list[Track]]:
    """Of each tracked and lost pair in one place, drop the younger; [Q] on a tie the tracked."""
    drop_tracked: set[int] = set()
    drop_lost: set[int] = set()
    for p, a in enumerate(tracked):
        for q, b in enumerate(lost):
            if 1 - iou(a.xyxy(), b.xyxy()) < DUPLICATE_LIMIT:
                if a.last_frame - a.start_frame > b.last_frame - b.start_frame:
                    drop_lost.add(q)
                else:
                    drop_tracked.add(p)
    return (
        [t for p, t in enumerate(tracked) if p not in drop_tracked],
        [t for q, t in enumerate(lost) if q not in drop_lost],
    )


def appearance_cost(tracks: list[Track], detections: list[Detection]) -> F64:
    """Distance of the embeddings mixed with the squared Mahalanobis distance; inf off the gate."""
    cost = np.zeros((len(tracks), len(detections)))
    if cost.size == 0:
        return cost
    looks = np.array([d.embedding for d in detections], np.float64)
    measurements = np.array([d.xyah() for d in detections])
    for i, track in enumerate(tracks):
        look = cdist(track.embedding.astype(np.float64)[None], looks)[0]
        motion = slow_kalman.gating_distance(track.mean, track.covariance, measurements)
        cost[i] = APPEARANCE_WEIGHT * look + MOTION_WEIGHT * motion
        cost[i, motion > slow_kalman.GATE] = np.inf
    return cost


def overlap_cost(tracks: list[Track], detections: list[Detection]) -> F64:
    cost = np.zeros((len(tracks), len(detections)))
    for i, track in enumerate(tracks):
        for j, detection in enumerate(detections):
            cost[i, j] = 1 - iou(track.xyxy(), detection.xyxy())
    return cost


def iou(a: F64, b: F64) -> float:
    """Overlap of two boxes x1 y1 x2 y2 whose far edges count as part of them (the +1 of VOC).

    >>> iou(np.array([10.0, 10, 20, 40]), np.array([15.0, 10, 25, 40]))
    0.375
    """
    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    area_a = (a[2] - a[0] + 1) * (a[3] - a[1] + 1)
    area_b = (b[2] - b[0] + 1) * (b[3] - b[1] + 1)
    return float(shared / (area_a + area_b - shared))


def assign(cost: F64, limit: float) -> tuple[list[tuple[int, int]], list[int], list[int]]:
    """Pairs, unpaired rows and unpaired columns of least cost; leaving a pair out costs ``limit``.

    That is a square problem of n + m: the costs, limit / 2 for each row and each column that stays
    alone, and nothing where two stand-ins meet. It is not "solve, then drop what is above the
    limit". No optimum pairs above the limit, so any greater number stands for infinity; the limit
    itself still pairs, hence the hair's breadth on staying alone.
    """
    n, m = cost.shape
    square = np.zeros((n + m, n + m))
    square[:n, :m] = np.where(np.isfinite(cost), cost, 2 * limit)
    square[:n, m:] = square[n:, :m] = limit / 2 + 1e-12
    rows, columns = scipy.optimize.linear_sum_assignment(square)
    pairs = [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if i < n and j < m]
    paired_rows = {i for i, _ in pairs}
    paired_columns = {j for _, j in pairs}
    return (
        pairs,
        [i for i in range(n) if i not in paired_rows],
        [j for j in range(m) if j not in paired_columns],
    )
