"""True positive rate of embeddings at a false accept rate.

Every box is compared with every other by cosine similarity (paper section 4.1; reference test.py,
test_emb). A pair above a threshold is accepted: rightly where both are one person (TPR, of all
pairs that are), wrongly where they are not (FAR, of all pairs that are not).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from jdetrt.errors import DataError

__all__ = ["FARS", "tpr_at_far"]

FARS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)  # reference test.py
EXACT_PAIRS = 1 << 22  # up to 2896 boxes
BINS = 1 << 20  # of similarities from -1 to 1: steps of 1.9e-6
_BLOCK = 1024  # rows and columns compared at a time

_F32 = npt.NDArray[np.float32]
_I64 = npt.NDArray[np.int64]


def tpr_at_far(
    embeddings: _F32,
    ids: _I64,
    fars: Sequence[float] = FARS,
    *,
    exact_pairs: int = EXACT_PAIRS,
) -> dict[float, float]:
    """Compute the true positive rate at each false accept rate, on the ROC curve of all pairs.

    Between its points the curve is a straight line, as in the reference; at a FAR that several of
    its points have, the highest counts. The reference holds all pairs in memory. Here up to
    ``exact_pairs`` are; of more, a histogram of their similarities in steps of 1.9e-6, in which
    pairs of one step are taken as equally similar.

    Args:
        embeddings: ``(n, D)`` float32, of any length.
        ids: ``(n,)`` int64, of the person; boxes with an id below 0 are left out.
        fars: from 0 to 1.
        exact_pairs: largest number of pairs compared without a histogram.

    Returns:
        TPR by FAR, from 0 to 1.

    Raises:
        DataError: shapes do not fit, an embedding is not finite, or there are not two boxes of
            one person and two persons.

    >>> corners = np.array([[1, 0], [0.9, 0.1], [0, 1], [0.1, 0.9]], np.float32)
    >>> tpr_at_far(corners, np.array([0, 0, 1, 1]), [0.1])
    {0.1: 1.0}
    """
    if embeddings.ndim != 2 or ids.shape != embeddings.shape[:1]:
        raise DataError(
            f"expected embeddings (n, D) and ids (n,), got {embeddings.shape} and {ids.shape}"
        )
    known = ids >= 0
    ids, unit = ids[known], _unit(embeddings[known])
    pairs = len(ids) * (len(ids) - 1) // 2
    same = sum(int(n) * (int(n) - 1) // 2 for n in np.unique(ids, return_counts=True)[1])
    if not same or same == pairs:
        raise DataError(
            f"too few identified boxes ({len(ids)}, different people {len(np.unique(ids))}): the "
            "true positive rate needs at least two boxes of one person and one of another"
        )
    count = _exact if pairs <= exact_pairs else _histogram
    accepted, wrong = (np.cumsum(counts) for counts in count(unit, ids))
    far = np.concatenate([[0.0], wrong / wrong[-1]])
    tpr = np.concatenate([[0.0], accepted / accepted[-1]])
    return {float(at): float(np.interp(at, far, tpr)) for at in fars}


def _unit(embeddings: _F32) -> _F32:
    if not np.isfinite(embeddings).all():
        raise DataError("an embedding is NaN or infinite; its network may be damaged")
    length = np.linalg.norm(embeddings, axis=1, keepdims=True)
    unit: _F32 = (embeddings / np.maximum(length, 1e-12)).astype(np.float32)
    return unit


def _blocks(unit: _F32, ids: _I64) -> Iterator[tuple[_F32, npt.NDArray[np.bool_]]]:
    """Yield every pair once: cosine similarities, and whether they are of one person."""
    for top in range(0, len(ids), _BLOCK):
        rows = slice(top, top + _BLOCK)
        for left in range(top, len(ids), _BLOCK):
            columns = slice(left, left + _BLOCK)
            similarity = unit[rows] @ unit[columns].T
            same = ids[rows, None] == ids[columns]
            if top == left:
                upper = np.triu_indices(len(similarity), 1)
                similarity, same = similarity[upper], same[upper]
            yield similarity.reshape(-1), same.reshape(-1)


def _exact(unit: _F32, ids: _I64) -> tuple[_I64, _I64]:
    """Count pairs of one person, and of two, at each similarity, the highest first."""
    similarities, same = (np.concatenate(parts) for parts in zip(*_blocks(unit, ids), strict=True))
    levels, level = np.unique(-similarities, return_inverse=True)
    level = level.reshape(-1)
    count = len(levels)
    return np.bincount(level[same], minlength=count), np.bincount(level[~same], minlength=count)


def _histogram(unit: _F32, ids: _I64) -> tuple[_I64, _I64]:
    """Do the same with similarities counted in ``BINS`` steps."""
    counts = np.zeros(2 * BINS, np.int64)
    for similarity, same in _blocks(unit, ids):
        steps = ((np.float32(1.0) - similarity) * np.float32(BINS / 2)).astype(np.int64)
        level = steps.clip(0, BINS - 1)
        counts += np.bincount(level + BINS * same, minlength=2 * BINS)
    return counts[BINS:], counts[:BINS]
