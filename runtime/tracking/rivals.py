"""Appearance of pairs that motion has found: their cosine distances, and what they decide."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from jdetrt.runtime.jit import kernel
from jdetrt.runtime.tracking.costs import Pairs, squared_distance

__all__ = ["cosine_distances", "weigh_rivals"]

_F32 = npt.NDArray[np.float32]
_F64 = npt.NDArray[np.float64]
_I64 = npt.NDArray[np.int64]


@kernel
def _cosine_distances(
    indptr: _I64,
    columns: _I64,
    slots: _I64,
    track_embeddings: _F32,
    rows: _I64,
    embeddings: _F32,
    rivals_only: bool,
) -> _F64:
    distances = np.zeros(len(columns))
    uses = np.zeros(len(rows), np.int64)
    for e in range(len(columns)):
        uses[columns[e]] += 1
    dim = embeddings.shape[1]
    for k in range(len(slots)):
        for e in range(indptr[k], indptr[k + 1]):
            if rivals_only and uses[columns[e]] == 1 and indptr[k + 1] - indptr[k] == 1:
                continue
            squared = squared_distance(
                track_embeddings[slots[k]], embeddings[rows[columns[e]]], 0, dim
            )
            distances[e] = squared / 2.0
    return distances


def cosine_distances(
    pairs: Pairs, slots: _I64, track_embeddings: _F32, rows: _I64, embeddings: _F32
) -> _F64:
    """Cosine distances ``(E,)`` of pairs: 0 for the same embedding, 1 for unlike ones.

    Args:
        pairs: of tracks and detections.
        slots: ``(K,)`` the tracks, the rows of ``pairs``.
        track_embeddings: ``(S, D)`` float32 unit vectors of all slots.
        rows: ``(N,)`` the detections that the columns of ``pairs`` stand for.
        embeddings: ``(M, D)`` float32 unit vectors of all detections.
    """
    distances: _F64 = _cosine_distances(
        *pairs[:2], slots, track_embeddings, rows, embeddings, False
    )
    return distances


@kernel
def _weigh_rivals(
    indptr: _I64, columns: _I64, costs: _F64, distances: _F64, n: int, weight: float, limit: float
) -> _F64:
    best = np.full(n, np.inf)
    for e in range(len(columns)):
        best[columns[e]] = min(best[columns[e]], distances[e])
    weighed: _F64 = costs.copy()
    for k in range(len(indptr) - 1):
        least = np.inf
        for e in range(indptr[k], indptr[k + 1]):
            least = min(least, distances[e])
        for e in range(indptr[k], indptr[k + 1]):
            worse = distances[e] - min(least, best[columns[e]])
            weighed[e] = min(costs[e] + weight * worse, limit)
    return weighed


def weigh_rivals(
    pairs: Pairs,
    slots: _I64,
    track_embeddings: _F32,
    rows: _I64,
    embeddings: _F32,
    *,
    weight: float,
    limit: float,
) -> Pairs:
    """Let appearance decide among pairs that share a track or a detection.

    Such a pair costs ``weight`` times as much more as its cosine distance is above the least of
    its rivals, up to ``limit``. A pair without a rival keeps its cost, and no embedding is read.

    Args:
        pairs: of tracks and detections, at costs within ``limit``.
        slots: as `cosine_distances`.
        track_embeddings: as `cosine_distances`.
        rows: as `cosine_distances`.
        embeddings: as `cosine_distances`.
        weight: of the difference, in costs.
        limit: largest cost.
    """
    distances = _cosine_distances(*pairs[:2], slots, track_embeddings, rows, embeddings, True)
    costs: _F64 = _weigh_rivals(*pairs, distances, len(rows), weight, limit)
    return Pairs(pairs.indptr, pairs.columns, costs)
