"""TPR at FAR against the naive version over all pairs, and by hand."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import interp1d

from jdetrt.errors import DataError
from jdetrt.evaluation import tpr_at_far as verification
from jdetrt.evaluation.tpr_at_far import FARS, tpr_at_far

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]


def people(seed: int, count: int = 60, noise: float = 0.6) -> tuple[F32, I64]:
    random = np.random.default_rng(seed)
    ids = random.integers(0, count // 5, count)
    centres = random.normal(size=(count // 5, 8))
    embeddings = centres[ids] + noise * random.normal(size=(count, 8))
    return embeddings.astype(np.float32), ids.astype(np.int64)


def naive_roc(embeddings: F32, ids: I64) -> tuple[list[float], list[float]]:
    """FAR and TPR at every threshold, highest first."""
    pairs = []
    for i, j in itertools.combinations(range(len(ids)), 2):
        a, b = embeddings[i].astype(float), embeddings[j].astype(float)
        cosine = float(a @ b / np.sqrt((a @ a) * (b @ b)))
        pairs.append((cosine, bool(ids[i] == ids[j])))
    same = sum(alike for _, alike in pairs)
    far, tpr, wrong, right = [0.0], [0.0], 0, 0
    for _, alike in sorted(pairs, reverse=True):
        right += alike
        wrong += not alike
        far.append(wrong / (len(pairs) - same))
        tpr.append(right / same)
    return far, tpr


AT = (0.0007, 0.0013, 0.0111, 0.0303, 0.1007, 0.2501, 0.77)  # between the points of the curves


@pytest.mark.parametrize("seed", range(8))
def test_the_naive_version_over_all_pairs(seed: int) -> None:
    embeddings, ids = people(seed)
    expected = interp1d(*naive_roc(embeddings, ids))(AT)
    assert expected[0] < 0.9 * expected[3] < expected[-1] <= 1
    found = tpr_at_far(embeddings, ids, AT)
    assert list(found) == list(AT)
    np.testing.assert_allclose(list(found.values()), expected, atol=1e-6)


@pytest.mark.parametrize("block", [7, 64])
def test_blocks_and_histogram_are_the_exact_curve_to_its_resolution(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    embeddings, ids = people(3, count=200)
    exact = tpr_at_far(embeddings, ids, AT)
    monkeypatch.setattr(verification, "_BLOCK", block)
    assert tpr_at_far(embeddings, ids, AT) == pytest.approx(exact, abs=1e-6)
    # 19 900 pairs in a million steps: a step rarely holds two of them.
    counted = tpr_at_far(embeddings, ids, AT, exact_pairs=0)
    assert counted == pytest.approx(exact, abs=2e-3)


def test_the_histogram_counts_every_pair_once() -> None:
    embeddings, ids = people(1)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    same, different = verification._histogram(unit, ids)
    pairs = list(itertools.combinations(range(len(ids)), 2))
    assert same.sum() == sum(int(ids[i] == ids[j]) for i, j in pairs)
    assert same.sum() + different.sum() == len(pairs)
    # The steps go from similarity 1 to -1.
    steps = np.repeat(np.arange(len(same)), same)
    similarities = sorted((float(unit[i] @ unit[j]) for i, j in pairs if ids[i] == ids[j]))[::-1]
    np.testing.assert_allclose(1 - (steps + 0.5) * 2 / len(same), similarities, atol=3e-6)


def test_large_numbers_take_no_memory_for_their_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """12.5 million pairs, of which never more than a block's are there at a time."""
    embeddings, ids = people(2, count=5000)
    largest = 0
    blocks = verification._blocks

    def watched(unit: F32, ids: I64) -> object:
        nonlocal largest
        for similarity, same in blocks(unit, ids):
            largest = max(largest, len(similarity))
            yield similarity, same

    monkeypatch.setattr(verification, "_blocks", watched)
    found = tpr_at_far(embeddings, ids)
    assert largest <= verification._BLOCK**2 < 5000 * 4999 / 2 / 10
    assert list(found) == list(FARS)
    assert sorted(found.values()) == list(found.values())


def angles(*degrees: float) -> F32:
    turned = np.radians(degrees)
    return np.stack([np.cos(turned), np.sin(turned)], axis=1).astype(np.float32)


def test_by_hand() -> None:
    # Persons 0 0 1 1 at 0, 20, 30 and 90 degrees. Same: 20, 60. Different: 30, 90, 10, 70.
    # By falling similarity: 10 wrong, 20 right, 30 wrong, 60 right, 70 wrong, 90 wrong.
    embeddings, ids = angles(0, 20, 30, 90), np.array([0, 0, 1, 1])
    expected = {0.0: 0.0, 0.125: 0.0, 0.25: 0.5, 0.375: 0.5, 0.5: 1.0, 1.0: 1.0}
    assert tpr_at_far(embeddings, ids, list(expected)) == expected
    # One more of nobody changes nothing.
    more, unknown = np.concatenate([embeddings, angles(5)]), np.array([0, 0, 1, 1, -1])
    assert tpr_at_far(more, unknown, list(expected)) == expected


def test_a_straight_line_between_the_points() -> None:
    # All similarities are equal: one threshold accepts everything, and half of it half.
    embeddings = np.ones((4, 3), np.float32)
    assert tpr_at_far(embeddings, np.array([0, 0, 1, 1]), [0.25, 0.5]) == {0.25: 0.25, 0.5: 0.5}


def test_length_does_not_matter_and_zeros_are_like_nobody() -> None:
    embeddings, ids = people(5)
    lengths = np.random.default_rng(0).uniform(0.1, 30, (len(ids), 1)).astype(np.float32)
    before = tpr_at_far(embeddings, ids, AT)
    assert tpr_at_far(embeddings * lengths, ids, AT) == pytest.approx(before, abs=1e-3)
    embeddings[:2] = 0
    assert all(np.isfinite(list(tpr_at_far(embeddings, ids).values())))


@given(st.integers(0, 10**6), st.floats(0.0, 3.0))
def test_it_lies_between_0_and_1_and_rises(seed: int, noise: float) -> None:
    embeddings, ids = people(seed, 30, noise)
    rates = list(tpr_at_far(embeddings, ids, [0.0, *FARS, 1.0]).values())
    assert rates == sorted(rates)
    assert rates[0] >= 0
    assert rates[-1] == 1


@pytest.mark.parametrize("ids", [[0, 0, 0], [0, 1, 2], [-1, -1, -1], [0, 0, -1]])
def test_too_few_people_are_refused(ids: list[int]) -> None:
    with pytest.raises(DataError, match="two boxes of one person and one of another"):
        tpr_at_far(angles(0, 10, 20), np.array(ids))


def test_wrong_arrays_are_refused() -> None:
    with pytest.raises(DataError, match=r"got \(3, 2\) and \(2,\)"):
        tpr_at_far(angles(0, 10, 20), np.array([0, 1]))
    broken = angles(0, 10, 20)
    broken[1, 0] = np.nan
    with pytest.raises(DataError, match="NaN or infinite"):
        tpr_at_far(broken, np.array([0, 0, 1]))
