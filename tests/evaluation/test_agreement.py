"""Agreement of two models: pairs, spreads, what has no partner, and what is past the limits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from jdetrt.boxes import box_iou
from jdetrt.errors import SessionError
from jdetrt.evaluation.agreement import Agreement, Comparison
from jdetrt.evaluation.tolerance import LIMITS, PAIR_IOU, Limits, few, people_faults
from jdetrt.types import Array

EDGE = 0.01
Outputs = dict[str, Array]


def crowd(count: int, seed: int = 0) -> Outputs:
    """People who do not touch, as a model gives them: float32, best first, with a batch axis."""
    random = np.random.default_rng(seed)
    left = 60.0 * np.arange(count) + random.uniform(0, 10, count)
    top = random.uniform(0, 50, count)
    boxes = np.stack([left, top, left + 40, top + 100], axis=1)
    embeddings = random.normal(size=(count, 8))
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    scores = np.linspace(0.95, 0.3, count)
    return {
        "boxes": boxes[None].astype(np.float32),
        "scores": scores[None].astype(np.float32),
        "embeddings": embeddings[None].astype(np.float32),
    }


def chosen(outputs: Outputs, order: list[int]) -> Outputs:
    return {name: array[:, order] for name, array in outputs.items()}


def compare(first: Outputs, second: Outputs, threshold: float = 0.1) -> Comparison:
    agreement = Agreement(threshold, EDGE)
    agreement.add(first, second)
    return agreement.result()


def test_a_model_agrees_with_itself_whatever_the_order() -> None:
    people = crowd(9)
    found = compare(people, chosen(people, [4, 2, 8, 0, 1, 3, 5, 7, 6]))
    assert (found.frames, found.pairs, found.unmatched) == (1, 9, 0.0)
    assert (found.boxes_px.max, found.scores.max, found.iou_min) == (0, 0, 1)
    assert found.cosine_min == pytest.approx(1, abs=1e-6)
    assert found.faults(LIMITS["fp32"]) == []


def test_differences_by_hand() -> None:
    first = crowd(100)
    second = {name: array.copy() for name, array in first.items()}
    second["boxes"][0, 0] += [3, 0, 3, 0]
    second["boxes"][0, 1:] += [0, 0, 0, 1]
    second["scores"][0, 7] -= 0.25
    second["embeddings"][0, 5] *= -1
    found = compare(first, second)
    assert found.pairs == 100
    assert found.boxes_px.max == pytest.approx(3, abs=1e-4)
    assert found.boxes_px.mean == pytest.approx((3 + 99) / 100, abs=1e-4)
    assert found.iou_min == pytest.approx(37 / 43, abs=1e-5)  # 37 of 40 + 3 columns are common
    assert found.iou_p1 == pytest.approx(100 / 101, abs=2e-3)
    assert found.scores.max == pytest.approx(0.25, abs=1e-6)
    assert found.scores.p99 == pytest.approx(np.percentile([0] * 99 + [0.25], 99), abs=1e-6)
    assert found.scores.mean == pytest.approx(0.0025, abs=1e-7)
    assert found.cosine_min == pytest.approx(-1, abs=1e-6)
    assert found.cosine_p5 == pytest.approx(1, abs=1e-6)
    assert found.cosine_median == pytest.approx(1, abs=1e-6)


def test_without_embeddings() -> None:
    people = crowd(4)
    del people["embeddings"]
    found = compare(people, crowd(4))
    assert (found.cosine_min, found.cosine_p5, found.cosine_median) == (None, None, None)
    assert found.faults(LIMITS["fp32"]) == []


def test_who_has_no_partner() -> None:
    people = crowd(10)
    missing = chosen(people, [0, 1, 2, 3, 4, 5, 7, 8, 9])  # number 6 is left out, not the last
    found = compare(people, missing)
    assert found.pairs == 9
    assert found.unmatched == pytest.approx(1 / 19)
    assert compare(missing, people).unmatched == pytest.approx(1 / 19)
    faults = found.faults(LIMITS["int8"])
    assert faults == ["5.26% of the candidates have no partner (limit 5.00%)"]


def test_the_last_of_a_full_list_are_not_missed() -> None:
    # The other model gives eight: nobody can say that it would not have found the other two.
    people = crowd(10)
    assert compare(people, chosen(people, list(range(8)))).unmatched == 0
    # Nor can one of a score that is hardly above that of the last.
    swapped = chosen(people, [0, 1, 2, 3, 4, 5, 6, 8])
    swapped["scores"][0, 7] = people["scores"][0, 7] - EDGE / 2
    assert compare(people, swapped).unmatched == 0
    swapped["scores"][0, 7] = people["scores"][0, 7] - EDGE * 2
    assert compare(people, swapped).unmatched > 0


def people_of(first: Outputs, second: Outputs, threshold: float = 0.5) -> Comparison:
    agreement = Agreement(threshold, EDGE, people=True)
    agreement.add(first, second)
    return agreement.result()


def doubled(outputs: Outputs) -> Outputs:
    """Each candidate twice, the second three pixels aside and with 0.02 less."""
    aside = {name: array.copy() for name, array in outputs.items()}
    aside["boxes"][..., ::2] += 3
    aside["scores"] -= 0.02
    return {name: np.concatenate([outputs[name], aside[name]], axis=1) for name in outputs}


def test_people_are_what_is_left_after_suppression_above_one_half() -> None:
    reference = doubled(crowd(10))
    above = int((crowd(10)["scores"] > 0.5).sum())
    found = people_of(reference, reference)
    assert (found.population, found.score_threshold) == ("people", 0.5)
    assert (found.pairs, found.unmatched, found.iou_min) == (above, 0, 1)
    assert compare(reference, reference).pairs == 20


def test_candidates_below_one_half_do_not_decide_about_people() -> None:
    reference = crowd(40)
    other = {name: array.copy() for name, array in reference.items()}
    weak = reference["scores"][0] <= 0.5
    other["embeddings"][0, weak] *= -1
    limits = LIMITS["int8"]
    assert people_of(other, reference).faults(limits) == []
    assert compare(other, reference).faults(limits) != []


def test_people_that_only_one_model_detects_are_unmatched() -> None:
    people = crowd(10)
    assert people_of(chosen(people, [1, 2, 3, 9]), chosen(people, [0, 1, 2, 3, 9])).unmatched == (
        pytest.approx(1 / 7)
    )
    assert people_of(chosen(people, [0, 1, 2, 3, 9]), chosen(people, [1, 2, 3, 9])).unmatched == (
        pytest.approx(1 / 7)
    )
    with pytest.raises(SessionError, match=r"no person with a score above 0.5"):
        people_of(chosen(people, [9]), chosen(people, [9]))


def test_the_calibration_judges_people_as_verify_does() -> None:
    reference, other = crowd(60, seed=1), crowd(60, seed=1)
    random = np.random.default_rng(2)
    other["boxes"] += random.normal(0, 4, other["boxes"].shape).astype(np.float32)
    other["scores"] += random.normal(0, 0.08, other["scores"].shape).astype(np.float32).clip(-0.1)
    other["embeddings"] += random.normal(0, 0.05, other["embeddings"].shape).astype(np.float32)
    people = reference["scores"][0] > 0.5
    boxes, scores, embeddings = (
        (reference[name][0, people], other[name][0, people])
        for name in ("boxes", "scores", "embeddings")
    )
    cosine = np.einsum("nd,nd->n", *embeddings) / np.linalg.norm(embeddings, axis=2).prod(axis=0)
    faults = people_faults(
        box_iou(*boxes).diagonal(), abs(scores[0] - scores[1]).astype(float), cosine, LIMITS["int8"]
    )
    verified = people_of(other, reference).faults(LIMITS["int8"])
    assert [fault.split("(")[0] for fault in faults] == [it.split("(")[0] for it in verified]
    assert len(faults) >= 2


@pytest.mark.parametrize(("count", "warned"), [(1, True), (19, True), (20, False)])
def test_few_people_are_told(count: int, warned: bool) -> None:
    assert (few(count, 3) is not None) is warned


def test_the_threshold_does_not_cut_between_partners() -> None:
    first, second = crowd(5), crowd(5)
    first["scores"][0] = [0.9, 0.8, 0.51, 0.49, 0.3]
    second["scores"][0] = [0.9, 0.8, 0.49, 0.51, 0.3]
    found = compare(first, second, 0.5)
    assert (found.pairs, found.unmatched) == (4, 0.0)
    assert found.scores.max == pytest.approx(0.02, abs=1e-6)
    # But one of less than half of it is another finding.
    second["scores"][0, 1] = 0.2
    found = compare(first, second, 0.5)
    assert found.pairs == 3
    assert found.unmatched == pytest.approx(1 / 7)


def test_neighbours_are_told_apart_by_the_whole_picture() -> None:
    # Each of the second model lies 8 px right of its own, and 12 px left of the next: who takes
    # the best for the first alone would still be right; who goes by rank is not.
    boxes = np.array([[0, 0, 40, 100], [20, 0, 60, 100], [40, 0, 80, 100]], np.float32)
    scores = np.array([[0.9, 0.8, 0.7]], np.float32)
    first = {"boxes": boxes[None], "scores": scores}
    second = {
        "boxes": (boxes + np.array([8, 0, 8, 0], np.float32))[None, ::-1],
        "scores": scores[:, ::-1] - np.float32(0.05),
    }
    found = compare(first, second)
    assert found.pairs == 3
    assert found.boxes_px.max == 8
    assert found.scores.max == pytest.approx(0.05, abs=1e-6)


def test_frames_add_up() -> None:
    agreement = Agreement(0.1, EDGE)
    agreement.add(crowd(3, 1), crowd(3, 1))
    agreement.add(crowd(5, 2), chosen(crowd(5, 2), [0, 1, 3, 4]))
    empty = chosen(crowd(1), [])
    agreement.add(empty, empty)
    found = agreement.result()
    assert (found.frames, found.pairs) == (3, 7)
    assert found.unmatched == pytest.approx(1 / 15)


def test_nothing_to_compare() -> None:
    with pytest.raises(SessionError, match=r"above 0\.99 .*frames: 1, .*model: 0\)"):
        compare(crowd(4), crowd(4), 0.99)
    elsewhere = crowd(4)
    elsewhere["boxes"] += np.float32(1e4)
    # The last of each may have been left out for its score.
    with pytest.raises(SessionError, match=r"model: 6\)"):
        compare(crowd(4), elsewhere, 0.2)


@pytest.mark.parametrize("name", ["boxes", "scores", "embeddings"])
def test_numbers_that_are_none(name: str) -> None:
    broken = crowd(4)
    broken[name].reshape(-1)[0] = np.nan
    with pytest.raises(SessionError, match=f"the second model .* NaN .* output {name}"):
        compare(crowd(4), broken)


@pytest.mark.parametrize("precision", LIMITS)
def test_embeddings_of_a_few_that_are_wrong_do_not_hide(precision: str) -> None:
    first, second = crowd(40), crowd(40)
    second["embeddings"][0, ::10] *= -1  # as if those of one pyramid level were mixed up
    (fault,) = compare(first, second).faults(LIMITS[precision])
    assert fault.startswith("5th-percentile cosine of the embeddings is -1 ")


def test_each_limit_is_a_limit() -> None:
    first, second = crowd(10), crowd(10)
    second["boxes"] += np.array([2, 0, 2, 0], np.float32)
    second["scores"] -= np.float32(0.03)
    second["embeddings"] += np.float32(0.05)
    found = compare(first, chosen(second, [0, 1, 3, 4, 5, 6, 7, 8, 9]))
    assert found.cosine_median is not None
    assert found.cosine_p5 is not None
    exact = Limits(
        found.iou_p1, found.scores.p99, found.cosine_median, found.cosine_p5, found.unmatched
    )
    assert found.faults(exact) == []
    for field, step, word in (
        ("iou", 1e-6, "IoU"),
        ("score", -1e-6, "score"),
        ("cosine", 1e-6, "median cosine"),
        ("cosine_p5", 1e-6, "5th-percentile cosine"),
        ("unmatched", -1e-6, "no partner"),
    ):
        (fault,) = found.faults(exact._replace(**{field: getattr(exact, field) + step}))
        assert word in fault


def slow_iou(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    common = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common
    return common / union if union > 0 else 0.0


boxes_of = st.lists(
    st.tuples(*[st.integers(0, 30)] * 2, *[st.integers(0, 20)] * 2), min_size=1, max_size=7
).map(lambda rows: np.array([(x, y, x + w, y + h) for x, y, w, h in rows], np.float64))


@settings(max_examples=60)
@given(boxes_of, boxes_of)
def test_pairs_are_the_best_assignment(
    a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]
) -> None:
    iou = box_iou(a, b)
    want = np.array([[slow_iou(x, y) for y in b] for x in a])
    np.testing.assert_allclose(iou, want, atol=1e-12)

    # Each pair gains what it overlaps beyond the least; SciPy finds the largest sum.
    gain = np.maximum(want - PAIR_IOU, 0.0)
    best = gain[linear_sum_assignment(gain, maximize=True)].sum()
    outputs = [{"boxes": x[None], "scores": np.full((1, len(x)), 0.9)} for x in (a, b)]
    agreement = Agreement(0.1, EDGE)
    agreement.add(*outputs)
    found = np.concatenate(agreement._iou)
    assert (found > PAIR_IOU - 1e-9).all()
    assert (found - PAIR_IOU).sum() == pytest.approx(best, abs=1e-9)
