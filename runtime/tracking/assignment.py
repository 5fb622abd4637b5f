"""Optimal assignment of tracks to detections under a cost limit.

The limit means what ``lap.lapjv(extend_cost=True, cost_limit=L)`` means in the reference
(Towards-Realtime-MOT e9fa1e8, tracker/matching.py): leaving a track and a detection unmatched costs
``L``, so that a pair at cost ``c <= L`` gains ``L - c`` and the sum of gains is made as large as
possible. This is not "solve, then drop what is above the limit".

Most pairs settle themselves (``_settle``); ``lap`` solves the rest, usually a handful.
"""

from __future__ import annotations

import lap
import numpy as np
import numpy.typing as npt

from jdetrt.runtime.jit import kernel
from jdetrt.runtime.tracking.costs import Pairs

__all__ = ["assign"]

_F64 = npt.NDArray[np.float64]
_I64 = npt.NDArray[np.int64]


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
