"""Pairs of tracks and detections that may be matched, and their costs.

Costs are never a full matrix: only pairs within the limit are kept, and
``assignment.assign`` chooses among them. Where all tracks meet all detections (by appearance,
by overlap) the detections are sorted by x and each track looks only at those within its reach.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from jdetrt.runtime.jit import kernel, reduction_kernel
from jdetrt.runtime.tracking.kalman import mahalanobis, project

__all__ = [
    "NO_WEIGHTS",
    "Pairs",
    "appearance_pairs",
    "iou_pairs",
    "near_pairs",
    "squared_distance",
    "subset",
]

_F32 = npt.NDArray[np.float32]
_F64 = npt.NDArray[np.float64]
_I64 = npt.NDArray[np.int64]

NO_WEIGHTS = np.empty(0, np.float32)
_BLOCK = 64  # embedding values compared before asking whether the pair is already too far apart


class Pairs(NamedTuple):
    """Allowed pairs of ``K`` rows (tracks) with columns (detections): a sparse matrix in CSR form.

    Attributes:
        indptr: ``(K + 1,)`` int64; row ``i`` has the pairs ``indptr[i]`` to ``indptr[i + 1]``.
        columns: ``(E,)`` int64, in no particular order within a row.
        costs: ``(E,)`` float64.
    """

    indptr: _I64
    columns: _I64
    costs: _F64


@reduction_kernel
def squared_distance(a: _F32, b: _F32, start: int, stop: int) -> float:
    """Squared Euclidean distance of two vectors, from one of their values to another."""
    total = np.float32(0.0)
    for i in range(start, stop):
        d = a[i] - b[i]
        total += d * d
    return float(total)


@kernel
def _append(
    columns: _I64, costs: _F64, count: int, column: int, cost: float
) -> tuple[_I64, _F64, int]:
    """Add a pair; the arrays are doubled when they are full."""
    if count == len(columns):
        more_columns = np.empty(2 * count, np.int64)
        more_costs = np.empty(2 * count, np.float64)
        more_columns[:count] = columns
        more_costs[:count] = costs
        columns, costs = more_columns, more_costs
    columns[count] = column
    costs[count] = cost
    return columns, costs, count + 1


@kernel
def _appearance_pairs(
    mean: _F64,
    cov: _F64,
    noise: _F64,
    slots: _I64,
    track_embeddings: _F32,
    xyah: _F64,
    embeddings: _F32,
    gate: float,
    motion_weight: float,
    limit: float,
    cosine: bool,
) -> tuple[_I64, _I64, _F64]:
    order = np.argsort(xyah[:, 0])
    sorted_x = xyah[order, 0]
    indptr = np.zeros(len(slots) + 1, np.int64)
    columns = np.empty(4 * len(xyah) + 16, np.int64)
    costs = np.empty(4 * len(xyah) + 16, np.float64)
    variance = np.empty(4)
    dim = embeddings.shape[1]
    count = 0
    for k in range(len(slots)):
        s = slots[k]
        project(mean, cov, s, noise, variance)
        reach = np.sqrt(gate * variance[0]) * (1.0 + 1e-9)
        first = np.searchsorted(sorted_x, mean[s, 0] - reach)
        for p in range(first, len(order)):
            if sorted_x[p] > mean[s, 0] + reach:
                break
            j = order[p]
            m = mahalanobis(mean, s, variance, xyah[j])
            if not m <= gate:
                continue
            # The largest squared distance that still keeps the cost within the limit.
            far = max(0.0, (limit - motion_weight * m) / (1.0 - motion_weight))
            bound = (2.0 * far if cosine else far * far) + 1e-6
            squared = np.float64(0.0)
            for start in range(0, dim, _BLOCK):
                squared += squared_distance(
                    track_embeddings[s], embeddings[j], start, min(start + _BLOCK, dim)
                )
                if squared > bound:
                    break
            distance = squared / 2.0 if cosine else np.sqrt(squared)
            cost = (1.0 - motion_weight) * distance + motion_weight * m
            if cost <= limit:
                columns, costs, count = _append(columns, costs, count, j, cost)
        indptr[k + 1] = count
    return indptr, columns[:count], costs[:count]


def appearance_pairs(
    mean: _F64,
    cov: _F64,
    noise: _F64,
    slots: _I64,
    track_embeddings: _F32,
    xyah: _F64,
    embeddings: _F32,
    *,
    gate: float,
    motion_weight: float,
    limit: float,
    cosine: bool = False,
) -> Pairs:
    """Pairs by appearance inside the motion gate.

    The cost is ``(1 - motion_weight) * d + motion_weight * m`` with ``d`` the distance of the unit
    embeddings and ``m`` the squared Mahalanobis distance in (x, y, a, h), for ``m <= gate``
    (Towards-Realtime-MOT e9fa1e8, tracker/matching.py, fuse_motion). Gate first: an embedding is
    read only where the gate is open, and only as far as it can still be within the limit.

    Args:
        mean: ``(S, 8)`` states of all slots.
        cov: ``(S, 4, 3)`` covariances of all slots.
        noise: ``(6,)`` noise of the filter (``kalman.REFERENCE_NOISE``).
        slots: ``(K,)`` the tracks, the rows of the result.
        track_embeddings: ``(S, D)`` float32 unit vectors of all slots.
        xyah: ``(N, 4)`` detections, the columns of the result.
        embeddings: ``(N, D)`` float32 unit vectors of the detections.
        gate: largest squared Mahalanobis distance.
        motion_weight: share of the motion in the cost, 0 to below 1.
        limit: largest cost, inclusive.
        cosine: ``d`` is the cosine distance (half the squared Euclidean one), as in the paper's
            text, instead of the Euclidean distance of the reference.
    """
    return Pairs(
        *_appearance_pairs(
            mean,
            cov,
            noise,
            slots,
            track_embeddings,
            xyah,
            embeddings,
            gate,
            motion_weight,
            limit,
            cosine,
        )
    )


@kernel
def _iou_pairs(
    a: _F64, b: _F64, weights: _F32, offset: float, limit: float
) -> tuple[_I64, _I64, _F64]:
    indptr = np.zeros(len(a) + 1, np.int64)
    columns = np.empty(4 * len(b) + 16, np.int64)
    costs = np.empty(4 * len(b) + 16, np.float64)
    if len(b) == 0:
        return indptr, columns[:0], costs[:0]
    order = np.argsort(b[:, 0])
    sorted_x = b[order, 0]
    widest = np.max(b[:, 2] - b[:, 0]) + offset
    count = 0
    for k in range(len(a)):
        x1, y1, x2, y2 = a[k]
        area = (x2 - x1 + offset) * (y2 - y1 + offset)
        for p in range(np.searchsorted(sorted_x, x1 - widest), len(order)):
            if sorted_x[p] > x2 + offset:
                break
            j = order[p]
            w = min(x2, b[j, 2]) - max(x1, b[j, 0]) + offset
            h = min(y2, b[j, 3]) - max(y1, b[j, 1]) + offset
            if w <= 0.0 or h <= 0.0:
                continue
            other = (b[j, 2] - b[j, 0] + offset) * (b[j, 3] - b[j, 1] + offset)
            iou = w * h / (area + other - w * h)
            cost = 1.0 - (iou * weights[j] if len(weights) else iou)
            if cost <= limit:
                columns, costs, count = _append(columns, costs, count, j, cost)
        indptr[k + 1] = count
    return indptr, columns[:count], costs[:count]


def iou_pairs(
    a: _F64, b: _F64, *, limit: float, plus_one: bool = False, weights: _F32 = NO_WEIGHTS
) -> Pairs:
    """Overlapping pairs at cost ``1 - IoU <= limit`` (``limit`` below 1).

    Args:
        a: ``(K, 4)`` boxes x1 y1 x2 y2 in pixels, the rows of the result.
        b: ``(N, 4)`` boxes, the columns.
        limit: largest cost, inclusive.
        plus_one: widths and heights are ``x2 - x1 + 1``, as in the IoU of the reference's tracker
            (cython_bbox): (10, 10, 20, 40) and (15, 10, 25, 40) then overlap by 0.375, not 0.333.
        weights: ``(N,)`` float32; the cost is then ``1 - IoU * weight`` of the column.
    """
    return Pairs(*_iou_pairs(a, b, weights, 1.0 if plus_one else 0.0, limit))


@kernel
def _near_pairs(
    mean: _F64, slots: _I64, reach: _F64, xyah: _F64, height_ratio: float
) -> tuple[_I64, _I64, _F64]:
    indptr = np.zeros(len(slots) + 1, np.int64)
    columns = np.empty(4 * len(xyah) + 16, np.int64)
    costs = np.empty(4 * len(xyah) + 16, np.float64)
    count = 0
    for k in range(len(slots)):
        x, y, h = mean[slots[k], 0], mean[slots[k], 1], mean[slots[k], 3]
        for j in range(len(xyah)):
            other = xyah[j, 3]
            if min(h, other) < height_ratio * max(h, other):
                continue
            distance = np.hypot(xyah[j, 0] - x, xyah[j, 1] - y)
            cost = distance / (reach[k] * np.sqrt(h * other))
            if cost <= 1.0:
                columns, costs, count = _append(columns, costs, count, j, cost)
        indptr[k + 1] = count
    return indptr, columns[:count], costs[:count]


def near_pairs(mean: _F64, slots: _I64, reach: _F64, xyah: _F64, *, height_ratio: float) -> Pairs:
    """Pairs of like height whose centres are near, overlapping or not, at cost 0 to 1.

    Args:
        mean: ``(S, 8)`` states of all slots.
        slots: ``(K,)`` the tracks, the rows of the result.
        reach: ``(K,)`` the distance of cost 1 of each track, in heights (the geometric mean of the
            two heights).
        xyah: ``(N, 4)`` detections, the columns.
        height_ratio: least ratio of the smaller height to the larger.
    """
    return Pairs(*_near_pairs(mean, slots, reach, xyah, height_ratio))


def subset(pairs: Pairs, keep: npt.NDArray[np.bool_]) -> Pairs:
    """The pairs that a mask ``(E,)`` keeps."""
    before = np.concatenate(([0], np.cumsum(keep)))
    return Pairs(before[pairs.indptr], pairs.columns[keep], pairs.costs[keep])
