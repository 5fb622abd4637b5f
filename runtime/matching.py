"""Who may be matched with whom, and the best assignment of tracks to detections.

Costs are never a full matrix. Detections are sorted by x, each track looks only at those inside
its gate, and only pairs whose cost is within the limit become *pairs*: a sparse matrix in CSR form
(``indptr (K+1,)``, ``columns (E,)``, ``costs (E,)``). What is left falls apart into small
independent pieces.

The cost limit means what ``lap.lapjv(extend_cost=True, cost_limit=L)`` means in the reference
(Towards-Realtime-MOT e9fa1e8, tracker/matching.py): leaving a track and a detection unmatched costs
``L``, so that a pair at cost ``c <= L`` gains ``L - c`` and the sum of gains is made as large as
possible. This is not "solve, then drop what is above the limit".
"""

from __future__ import annotations

from typing import NamedTuple

import lap
import numpy as np
import numpy.typing as npt

from jdetrt.runtime.jit import kernel, reduction_kernel
from jdetrt.runtime.kalman import project

__all__ = ["Pairs", "appearance_pairs", "assign", "iou_pairs"]

_F32 = npt.NDArray[np.float32]
_F64 = npt.NDArray[np.float64]
_I64 = npt.NDArray[np.int64]

_BLOCK = 64  # embedding values compared before asking whether the pair is already too far apart


class Pairs(NamedTuple):
    """Allowed pairs of ``K`` rows (tracks) with columns (detections), row by row."""

    indptr: _I64
    columns: _I64
    costs: _F64


@reduction_kernel
def _squared_distance(a: _F32, b: _F32, start: int, stop: int) -> np.float32:
    total = np.float32(0.0)
    for i in range(start, stop):
        d = a[i] - b[i]
        total += d * d
    return total


@kernel
def _grow(columns: _I64, costs: _F64) -> tuple[_I64, _F64]:
    more_columns = np.empty(2 * len(columns), np.int64)
    more_costs = np.empty(2 * len(costs), np.float64)
    more_columns[: len(columns)] = columns
    more_costs[: len(costs)] = costs
    return more_columns, more_costs


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
            m = 0.0
            for i in range(4):
                d = xyah[j, i] - mean[s, i]
                m += d * d / variance[i]
            if not m <= gate:
                continue
            # The largest squared distance that still keeps the cost within the limit.
            far = max(0.0, (limit - motion_weight * m) / (1.0 - motion_weight))
            bound = (2.0 * far if cosine else far * far) + 1e-6
            squared = np.float64(0.0)
            for start in range(0, dim, _BLOCK):
                squared += _squared_distance(
                    track_embeddings[s], embeddings[j], start, min(start + _BLOCK, dim)
                )
                if squared > bound:
                    break
            distance = squared / 2.0 if cosine else np.sqrt(squared)
            cost = (1.0 - motion_weight) * distance + motion_weight * m
            if cost <= limit:
                if count == len(columns):
                    columns, costs = _grow(columns, costs)
                columns[count] = j
                costs[count] = cost
                count += 1
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
def _iou_pairs(a: _F64, b: _F64, offset: float, limit: float) -> tuple[_I64, _I64, _F64]:
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
            cost = 1.0 - w * h / (area + other - w * h)
            if cost <= limit:
                if count == len(columns):
                    columns, costs = _grow(columns, costs)
                columns[count] = j
                costs[count] = cost
                count += 1
        indptr[k + 1] = count
    return indptr, columns[:count], costs[:count]


def iou_pairs(a: _F64, b: _F64, *, limit: float, plus_one: bool) -> Pairs:
    """Overlapping pairs at cost ``1 - IoU <= limit`` (``limit`` below 1).

    Args:
        a: ``(K, 4)`` boxes x1 y1 x2 y2 in pixels, the rows of the result.
        b: ``(N, 4)`` boxes, the columns.
        limit: largest cost, inclusive.
        plus_one: widths and heights are ``x2 - x1 + 1``, as in the IoU of the reference's tracker
            (cython_bbox): (10, 10, 20, 40) and (15, 10, 25, 40) then overlap by 0.375, not 0.333.
    """
    return Pairs(*_iou_pairs(a, b, 1.0 if plus_one else 0.0, limit))


@kernel
def _settle(
    indptr: _I64, columns: _I64, costs: _F64, n_columns: int, limit: float
) -> tuple[_I64, _I64, int]:
    """Match every pair that is in some best assignment whatever happens elsewhere.

    A pair whose gain is at least the best other gain of its row plus that of its column can be
    exchanged into any assignment without loss. Matching it removes its rivals, which may settle
    others. Returns the matches and how many pairs stay open.
    """
    n_rows = len(indptr) - 1
    row_match = np.full(n_rows, -1, np.int64)
    column_match = np.full(n_columns, -1, np.int64)
    row_first = np.empty(n_rows)
    row_second = np.empty(n_rows)
    column_first = np.empty(n_columns)
    column_second = np.empty(n_columns)
    while True:
        row_first[:] = 0.0
        row_second[:] = 0.0
        column_first[:] = 0.0
        column_second[:] = 0.0
        still_open = 0
        for i in range(n_rows):
            if row_match[i] >= 0:
                continue
            for e in range(indptr[i], indptr[i + 1]):
                j = columns[e]
                if column_match[j] >= 0:
                    continue
                still_open += 1
                gain = limit - costs[e]
                if gain > row_first[i]:
                    row_second[i] = row_first[i]
                    row_first[i] = gain
                elif gain > row_second[i]:
                    row_second[i] = gain
                if gain > column_first[j]:
                    column_second[j] = column_first[j]
                    column_first[j] = gain
                elif gain > column_second[j]:
                    column_second[j] = gain
        settled = False
        for i in range(n_rows):
            if row_match[i] >= 0:
                continue
            for e in range(indptr[i], indptr[i + 1]):
                j = columns[e]
                gain = limit - costs[e]
                if column_match[j] >= 0 or gain < row_first[i] or gain < column_first[j]:
                    continue
                if gain >= row_second[i] + column_second[j]:
                    row_match[i] = j
                    column_match[j] = i
                    settled = True
                    break
        if not settled or still_open == 0:
            return row_match, column_match, still_open


@kernel
def _open_problem(
    indptr: _I64,
    columns: _I64,
    costs: _F64,
    row_match: _I64,
    column_match: _I64,
    limit: float,
) -> tuple[_I64, _I64, _F64, npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """The open pairs as the square sparse problem of ``n + m`` rows that carries the cost limit."""
    row_index = np.full(len(row_match), -1, np.int64)
    column_index = np.full(len(column_match), -1, np.int64)
    n = 0
    edges = 0
    for i in range(len(row_match)):
        if row_match[i] >= 0:
            continue
        for e in range(indptr[i], indptr[i + 1]):
            if column_match[columns[e]] < 0:
                edges += 1
                column_index[columns[e]] = 0
                row_index[i] = n
        if row_index[i] >= 0:
            n += 1
    m = 0
    for j in range(len(column_match)):
        if column_index[j] >= 0:
            column_index[j] = m
            m += 1
    rows = np.empty(n, np.int64)
    cols = np.empty(m, np.int64)
    degree = np.zeros(m, np.int64)
    starts = np.zeros(n + m + 1, np.int32)
    kk = np.empty(2 * edges + n + m, np.int32)
    cc = np.empty(2 * edges + n + m, np.float64)
    at = 0
    for i in range(len(row_match)):
        a = row_index[i]
        if a < 0:
            continue
        rows[a] = i
        begin = at
        for e in range(indptr[i], indptr[i + 1]):
            b = column_index[columns[e]]
            if b < 0:
                continue
            cols[b] = columns[e]
            degree[b] += 1
            p = at  # insertion keeps the columns of a row in order, as lapmod wants them
            while p > begin and kk[p - 1] > b:
                kk[p] = kk[p - 1]
                cc[p] = cc[p - 1]
                p -= 1
            kk[p] = b
            cc[p] = costs[e]
            at += 1
        kk[at] = m + a
        cc[at] = limit / 2.0
        at += 1
        starts[a + 1] = at
    for b in range(m):
        starts[n + b + 1] = starts[n + b] + degree[b] + 1
        kk[starts[n + b]] = b
        cc[starts[n + b]] = limit / 2.0
    fill = starts[n : n + m] + 1
    for a in range(n):
        for e in range(starts[a], starts[a + 1] - 1):
            b = kk[e]
            kk[fill[b]] = m + a
            cc[fill[b]] = 0.0
            fill[b] += 1
    return rows, cols, cc, starts, kk


def assign(pairs: Pairs, n_columns: int, limit: float) -> tuple[_I64, _I64]:
    """The assignment with the largest sum of gains ``limit - cost``.

    Args:
        pairs: the allowed pairs, each at a cost within ``limit``.
        n_columns: number of detections ``N``.
        limit: the cost limit.

    Returns:
        ``row_match (K,)`` the column of each row or -1, and ``column_match (N,)`` the row of each
        column or -1, both int64.

    >>> pairs = Pairs(np.array([0, 2, 3]), np.array([0, 1, 0]), np.array([0.1, 0.6, 0.6]))
    >>> assign(pairs, 2, 0.7)[0]  # (0,0) alone gains 0.6; (0,1) with (1,0) only 0.2
    array([ 0, -1])
    """
    row_match, column_match, still_open = _settle(*pairs, n_columns, limit)
    if still_open:
        rows, cols, cc, ii, kk = _open_problem(*pairs, row_match, column_match, limit)
        chosen, _ = lap.lapmod(len(ii) - 1, cc, ii, kk, return_cost=False)
        chosen = chosen[: len(rows)].astype(np.int64)
        matched = chosen < len(cols)
        row_match[rows[matched]] = cols[chosen[matched]]
        column_match[cols[chosen[matched]]] = rows[matched]
    return row_match, column_match
