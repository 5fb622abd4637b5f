"""Track store: an array for each property, in which every track has a row, its *slot*."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from jdetrt.runtime.jit import kernel, reduction_kernel
from jdetrt.runtime.tracking import kalman
from jdetrt.runtime.tracking.costs import Pairs, appearance_pairs

__all__ = ["LOST", "REMOVED", "TRACKED", "Observations", "TrackStore"]

_F32 = npt.NDArray[np.float32]
_F64 = npt.NDArray[np.float64]
_I64 = npt.NDArray[np.int64]

TRACKED, LOST, REMOVED = 1, 2, 3


class Observations:
    """The detections of one frame as the association uses them.

    Attributes:
        boxes: ``(N, 4)`` float64, x1 y1 x2 y2 in source pixels.
        xyah: ``(N, 4)`` float64, centre x and y, width / height, height.
        scores: ``(N,)`` float32.
        embeddings: ``(N, D)`` float32 unit vectors; ``D`` is 0 where there are none.
        bad: row of the first box or embedding that is not finite or has no area, or -1.
    """

    __slots__ = ("bad", "boxes", "embeddings", "scores", "xyah")

    def __init__(self, boxes: _F32, scores: _F32, embeddings: _F32 | None) -> None:
        if embeddings is None:
            embeddings = np.empty((len(boxes), 0), np.float32)
        self.boxes, self.xyah, self.embeddings, self.bad = _observe(boxes, embeddings)
        self.scores = scores

    def __len__(self) -> int:
        return len(self.boxes)


@kernel
def _observe(boxes: _F32, embeddings: _F32) -> tuple[_F64, _F64, _F32, int]:
    n = len(boxes)
    wide = np.empty((n, 4), np.float64)
    xyah = np.empty((n, 4), np.float64)
    unit = np.empty(embeddings.shape, np.float32)
    bad = -1
    for j in range(n):
        # Width and height are float32 differences, as in the reference (basetrack tlbr_to_tlwh).
        w = np.float64(np.float32(boxes[j, 2] - boxes[j, 0]))
        h = np.float64(np.float32(boxes[j, 3] - boxes[j, 1]))
        x = np.float64(boxes[j, 0])
        y = np.float64(boxes[j, 1])
        ok = w > 0.0 and h > 0.0 and np.isfinite(x + y + w + h)
        if not ok and bad < 0:
            bad = j
        wide[j, 0] = x
        wide[j, 1] = y
        wide[j, 2] = x + w
        wide[j, 3] = y + h
        xyah[j, 0] = x + w / 2.0
        xyah[j, 1] = y + h / 2.0
        xyah[j, 2] = w / h if ok else 0.0
        xyah[j, 3] = h
        norm = _norm(embeddings[j])
        if bad < 0 and not np.isfinite(norm):
            bad = j
        for i in range(embeddings.shape[1]):
            unit[j, i] = embeddings[j, i] / norm
    return wide, xyah, unit, bad


@reduction_kernel
def _norm(vector: _F32) -> Any:
    """Length of a vector as float32, 1 for one of zeros; not finite where a value is not."""
    total = 0.0
    for i in range(len(vector)):
        total += np.float64(vector[i]) * np.float64(vector[i])
    return np.float32(np.sqrt(total)) if total != 0.0 else np.float32(1.0)


@kernel
def _smooth(
    unit: _F32,
    length: _F32,
    slots: _I64,
    embeddings: _F32,
    rows: _I64,
    keep: float,
    renormalise: bool,
) -> None:
    new = np.float32(1.0 - keep)
    for k in range(len(slots)):
        e = unit[slots[k]]
        f = embeddings[rows[k]]
        old = np.float32(keep) * length[slots[k]]
        for i in range(len(e)):
            e[i] = old * e[i] + new * f[i]
        norm = _norm(e)
        for i in range(len(e)):
            e[i] /= norm
        length[slots[k]] = np.float32(1.0) if renormalise else norm


class TrackStore:
    """Arrays over slots; a track keeps its slot until it is released.

    Attributes:
        mean: ``(S, 8)`` float64 Kalman states.
        cov: ``(S, 4, 3)`` float64 covariances (see ``jdetrt.runtime.tracking.kalman``).
        embedding: ``(S, D)`` float32 smoothed embeddings as unit vectors; ``D`` is that of the
            first track.
        length: ``(S,)`` float32, the lengths of the smoothed embeddings.
        score: ``(S,)`` float32.
        id: ``(S,)`` int64, from 1; 0 where none was given yet.
        state: ``(S,)`` int8: TRACKED, LOST or REMOVED.
        confirmed: ``(S,)`` bool: matched at least once after its birth.
        removed_before: ``(S,)`` bool: was REMOVED in some frame before.
        start: ``(S,)`` int64, frame of birth.
        last: ``(S,)`` int64, frame of the last match.
        time: ``(S,)`` float64, ``now`` at the last match.
        row: ``(S,)`` int64, its detection: the row in `Observations` of that frame.
        frame: number of the frame in hand, from 1.
        now: its time, in frames at the tracker's frame rate.
        elapsed: time since the frame before, in the same unit.
    """

    def __init__(self, noise: _F64 = kalman.REFERENCE_NOISE, capacity: int = 64) -> None:
        self.noise = noise
        self.mean = np.zeros((capacity, 8))
        self.cov = np.zeros((capacity, 4, 3))
        self.embedding = np.zeros((capacity, 0), np.float32)
        self.length = np.zeros(capacity, np.float32)
        self.score = np.zeros(capacity, np.float32)
        self.id = np.zeros(capacity, np.int64)
        self.state = np.zeros(capacity, np.int8)
        self.confirmed = np.zeros(capacity, np.bool_)
        self.removed_before = np.zeros(capacity, np.bool_)
        self.start = np.zeros(capacity, np.int64)
        self.last = np.zeros(capacity, np.int64)
        self.time = np.zeros(capacity)
        self.row = np.zeros(capacity, np.int64)
        self.frame = 0
        self.now = 0.0
        self.elapsed = 1.0
        self._free = list(range(capacity - 1, -1, -1))
        self._next_id = 1

    def __len__(self) -> int:
        """Number of slots in use."""
        return len(self.state) - len(self._free)

    def _grow(self) -> None:
        capacity = len(self.state)
        for name, array in vars(self).items():
            if name != "noise" and isinstance(array, np.ndarray):
                setattr(self, name, np.concatenate([array, np.zeros_like(array)]))
        self._free[:0] = range(2 * capacity - 1, capacity - 1, -1)

    def next_frame(self, elapsed: float) -> None:
        """Begin a frame that is ``elapsed`` frames after the one before."""
        self.frame += 1
        self.elapsed = elapsed
        self.now += elapsed

    def unseen(self, slots: _I64) -> _F64:
        """Time ``(K,)`` since the tracks ``slots`` were matched last, in frames."""
        return np.asarray(self.now - self.time[slots])

    def start_tracks(self, detections: Observations, rows: _I64) -> _I64:
        """Give each of the detections ``rows`` a slot, as yet without an id; return the slots."""
        if len(rows) == 0:
            return rows
        if len(self) == 0 and self.embedding.shape[1] != detections.embeddings.shape[1]:
            self.embedding = np.zeros((len(self.state), detections.embeddings.shape[1]), np.float32)
        while len(self._free) < len(rows):
            self._grow()
        slots = np.array([self._free.pop() for _ in rows], np.int64)
        kalman.initiate(self.mean, self.cov, slots, detections.xyah, rows, self.noise)
        self.embedding[slots] = detections.embeddings[rows]
        self.length[slots] = 1.0
        self.score[slots] = detections.scores[rows]
        self.id[slots] = 0
        self.state[slots] = TRACKED
        self.confirmed[slots] = False
        self.removed_before[slots] = False
        self.start[slots] = self.frame
        self.last[slots] = self.frame
        self.time[slots] = self.now
        self.row[slots] = rows
        return slots

    def number(self, slots: _I64) -> None:
        """Give the tracks ``slots`` the next ids, in this order."""
        self.id[slots] = np.arange(self._next_id, self._next_id + len(slots))
        self._next_id += len(slots)

    def correct(
        self,
        slots: _I64,
        detections: Observations,
        rows: _I64,
        *,
        smoothing: float = 0.0,
        renormalise: bool = True,
    ) -> None:
        """Correct the tracks ``slots`` with the detections ``rows``; they are TRACKED from now.

        Args:
            slots: ``(K,)`` the tracks.
            detections: the detections of the frame.
            rows: ``(K,)`` the detection of each track.
            smoothing: weight of the old embedding; the new one has the rest.
            renormalise: make the smoothed embedding a unit vector again (reference
                tracker/multitracker.py, update_features; paper equation 7 does not).
        """
        if len(slots) == 0:
            return
        kalman.update(self.mean, self.cov, slots, detections.xyah, rows, self.noise)
        if self.embedding.shape[1]:
            _smooth(
                self.embedding,
                self.length,
                slots,
                detections.embeddings,
                rows,
                smoothing,
                renormalise,
            )
        self.state[slots] = TRACKED
        self.last[slots] = self.frame
        self.time[slots] = self.now
        self.row[slots] = rows

    def pairs_by_appearance(
        self,
        slots: _I64,
        detections: Observations,
        *,
        gate: float,
        motion_weight: float,
        limit: float,
        cosine: bool = False,
    ) -> Pairs:
        """The tracks ``slots`` with the detections, as ``costs.appearance_pairs`` pairs them."""
        return appearance_pairs(
            self.mean,
            self.cov,
            self.noise,
            slots,
            self.embedding,
            detections.xyah,
            detections.embeddings,
            gate=gate,
            motion_weight=motion_weight,
            limit=limit,
            cosine=cosine,
        )

    def release(self, slots: _I64) -> None:
        """Give slots back."""
        self._free.extend(slots.tolist())

    def predict(self, slots: _I64) -> None:
        """Move the tracks ``slots`` on by the elapsed time."""
        kalman.predict(self.mean, self.cov, slots, self.noise, self.elapsed)

    def warp(self, motion: _F64) -> None:
        """Move all tracks as the camera moved the image: ``motion`` ``(2, 3)`` in source pixels."""
        kalman.warp(self.mean, self.cov, np.arange(len(self.state)), motion)

    def boxes(self, slots: _I64) -> _F64:
        """Boxes ``(K, 4)`` x1 y1 x2 y2 in source pixels, from the filtered states."""
        return kalman.boxes_of(self.mean, slots)
