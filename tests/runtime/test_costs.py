"""Sparse pairs against full matrices; the assignment against SciPy and lap."""

from __future__ import annotations

import lap
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from jdetrt.runtime.tracking import kalman
from jdetrt.runtime.tracking.assignment import assign
from jdetrt.runtime.tracking.costs import Pairs, appearance_pairs, iou_pairs, near_pairs

LIMIT = 0.7


def sparse(cost: np.ndarray, limit: float = LIMIT) -> Pairs:
    rows, columns = np.nonzero(cost <= limit)
    indptr = np.searchsorted(rows, np.arange(len(cost) + 1))
    return Pairs(indptr, columns.astype(np.int64), cost[rows, columns])


def dense(pairs: Pairs, n_columns: int) -> np.ndarray:
    full = np.full((len(pairs.indptr) - 1, n_columns), np.inf)
    for i in range(len(full)):
        part = slice(pairs.indptr[i], pairs.indptr[i + 1])
        full[i, pairs.columns[part]] = pairs.costs[part]
    return full


def price(cost: np.ndarray, row_match: np.ndarray, limit: float = LIMIT) -> float:
    matched = row_match >= 0
    alone = (~matched).sum() + cost.shape[1] - matched.sum()
    return float(cost[matched, row_match[matched]].sum() + alone * limit / 2)


@settings(max_examples=300)
@given(st.integers(0, 2**32 - 1), st.integers(0, 14), st.integers(0, 14), st.floats(0, 1))
def test_assign_equals_lap_with_a_cost_limit(seed: int, n: int, m: int, far: float) -> None:
    rng = np.random.default_rng(seed)
    cost = rng.random((n, m)) * 1.4
    cost[rng.random((n, m)) < far] = 9.0
    rows, columns = assign(sparse(cost), m, LIMIT)
    if n and m:
        _, x, y = lap.lapjv(cost, extend_cost=True, cost_limit=LIMIT)
        assert rows.tolist() == x.tolist()
        assert columns.tolist() == y.tolist()
    else:
        assert (rows == -1).all()
        assert (columns == -1).all()


def test_assign_is_optimal_where_hard_and_large() -> None:
    """Dense costs that no pair dominates: the sparse solver has to do the work."""
    rng = np.random.default_rng(0)
    for size in (20, 60):
        cost = 0.3 + 0.1 * rng.random((size, size + 7))
        rows, columns = assign(sparse(cost), size + 7, LIMIT)
        extended = np.full((2 * size + 7, 2 * size + 7), LIMIT / 2)
        extended[:size, : size + 7] = cost
        extended[size:, size + 7 :] = 0
        best = extended[linear_sum_assignment(extended)].sum()
        assert price(cost, rows) == pytest.approx(best)
        assert (columns[rows[rows >= 0]] == np.flatnonzero(rows >= 0)).all()


def test_assign_is_not_dropping_pairs_after_solving() -> None:
    """The reference's own example: Hungarian first would match (0,1) and (1,0)."""
    rows, _ = assign(sparse(np.array([[0.1, 0.6], [0.6, 1.2]])), 2, LIMIT)
    assert rows.tolist() == [0, -1]


def test_the_limit_is_inclusive() -> None:
    rows, _ = assign(sparse(np.array([[LIMIT]])), 1, LIMIT)
    assert rows.tolist() == [0]


def random_boxes(rng: np.random.Generator, n: int) -> np.ndarray:
    corner = rng.random((n, 2)) * [400, 200]
    return np.hstack([corner, corner + 5 + rng.random((n, 2)) * [60, 120]])


@pytest.mark.parametrize("plus_one", [False, True])
@pytest.mark.parametrize("sizes", [(0, 5), (5, 0), (1, 1), (40, 60)])
def test_iou_pairs_equal_the_full_matrix(plus_one: bool, sizes: tuple[int, int]) -> None:
    rng = np.random.default_rng(3)
    a, b = random_boxes(rng, sizes[0]), random_boxes(rng, sizes[1])
    one = 1.0 if plus_one else 0.0
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = np.prod(np.clip(high - low + one, 0, None), axis=2)
    area_a = np.prod(a[:, 2:] - a[:, :2] + one, axis=1)
    area_b = np.prod(b[:, 2:] - b[:, :2] + one, axis=1)
    cost = 1 - inter / (area_a[:, None] + area_b[None] - inter)
    cost[cost > 0.9] = np.inf
    assert dense(iou_pairs(a, b, limit=0.9, plus_one=plus_one), sizes[1]) == pytest.approx(cost)


def test_iou_with_plus_one_is_that_of_the_reference() -> None:
    a, b = np.array([[10.0, 10, 20, 40]]), np.array([[15.0, 10, 25, 40]])
    assert iou_pairs(a, b, limit=0.9, plus_one=True).costs == pytest.approx([1 - 0.375])
    assert iou_pairs(a, b, limit=0.9, plus_one=False).costs == pytest.approx([1 - 1 / 3])


@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize("dim", [0, 1, 64, 100, 512])
def test_appearance_pairs_equal_the_full_matrix(cosine: bool, dim: int) -> None:
    rng = np.random.default_rng(dim)
    n, m = 50, 70
    xyah = np.column_stack([rng.random((m, 2)) * 150, 0.3 + rng.random(m), 40 + rng.random(m) * 40])
    start = np.column_stack(
        [rng.random((n, 2)) * 150, 0.3 + rng.random(n), 40 + rng.random(n) * 40]
    )
    mean, cov, slots = np.zeros((n, 8)), np.zeros((n, 4, 3)), np.arange(n)
    noise = kalman.REFERENCE_NOISE
    kalman.initiate(mean, cov, slots, start, slots, noise)
    kalman.predict(mean, cov, slots, noise, 1.0)

    base = rng.normal(size=dim)

    def unit(k: int) -> np.ndarray:
        e = base + 0.4 * rng.normal(size=(k, dim))
        e /= np.maximum(np.linalg.norm(e, axis=1, keepdims=True), 1e-9)
        return np.asarray(e, np.float32)

    mine, theirs = unit(n), unit(m)
    motion = kalman.gating_distance(mean, cov, slots, xyah, noise)
    euclid = cdist(mine.astype(float), theirs.astype(float)) if dim else np.zeros((n, m))
    cost = 0.98 * (euclid**2 / 2 if cosine else euclid) + 0.02 * motion
    cost[(motion > 9.4877) | (cost > LIMIT)] = np.inf
    pairs = appearance_pairs(
        mean, cov, noise, slots, mine, xyah, theirs,
        gate=9.4877, motion_weight=0.02, limit=LIMIT, cosine=cosine,
    )  # fmt: skip
    assert 0 < len(pairs.costs) < n * m
    assert dense(pairs, m) == pytest.approx(cost, abs=1e-5)


def test_weights_scale_the_overlap_of_a_column() -> None:
    a, b = np.array([[0.0, 0, 10, 10]]), np.array([[0.0, 0, 10, 10], [0.0, 0, 10, 5]])
    pairs = iou_pairs(a, b, limit=0.9, weights=np.array([0.5, 1.0], np.float32))
    assert dense(pairs, 2).tolist() == [[0.5, 0.5]]


def test_near_pairs_equal_the_full_matrix() -> None:
    rng = np.random.default_rng(5)
    n, m = 40, 50
    mean, xyah = np.zeros((n, 8)), np.zeros((m, 4))
    for boxes in (mean, xyah):
        boxes[:, :2] = rng.random((len(boxes), 2)) * 300
        boxes[:, 3] = 40 + rng.random(len(boxes)) * 40
    reach = 0.2 + rng.random(n)
    distance = cdist(mean[:, :2], xyah[:, :2])
    h, other = mean[:, None, 3], xyah[None, :, 3]
    cost = distance / (reach[:, None] * np.sqrt(h * other))
    cost[(cost > 1.0) | (np.minimum(h, other) < 0.8 * np.maximum(h, other))] = np.inf
    pairs = near_pairs(mean, np.arange(n), reach, xyah, height_ratio=0.8)
    assert 0 < len(pairs.costs) < n * m
    assert dense(pairs, m) == pytest.approx(cost)
