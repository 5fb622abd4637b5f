"""Average precision against COCO's own code and a written-out version of the reference's rule."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from jdetrt.boxes import box_iou
from jdetrt.errors import DataError
from jdetrt.evaluation.average_precision import (
    average_precision,
    judge,
    reference_average_precision,
)
from jdetrt.types import Detections

F32 = npt.NDArray[np.float32]
EMPTY = np.empty((0, 4), np.float32)


def boxes(*rows: Sequence[float]) -> F32:
    return np.array(rows, np.float32).reshape(-1, 4)


def seen(found: F32, *scores: float) -> Detections:
    return Detections(found, np.array(scores, np.float32))


PERSON = boxes((10, 10, 30, 70))
OTHER = boxes((110, 10, 130, 70))
NOBODY = boxes((210, 10, 230, 70))


def random_data(seed: int) -> tuple[list[Detections], list[F32], list[F32]]:
    """Six pictures: people, regions to ignore, detections near both and nowhere.

    Coordinates are whole and scores have one digit, so that overlaps and scores come out equal.
    """
    random = np.random.default_rng(seed)
    found, truth, ignore = [], [], []
    for _ in range(6):
        people = random_boxes(random, random.integers(0, 7))
        regions = random_boxes(random, random.integers(0, 3), 60)
        near = np.concatenate([people, people, regions])
        near = near + random.integers(-4, 5, near.shape)
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        detected = np.concatenate([near, random_boxes(random, random.integers(0, 6))])
        random.shuffle(detected)
        scores = random.integers(1, 11, len(detected)) / 10
        found.append(Detections(detected.astype(np.float32), scores.astype(np.float32)))
        truth.append(people.astype(np.float32))
        ignore.append(regions.astype(np.float32))
    return found, truth, ignore


def random_boxes(random: np.random.Generator, count: np.int64, side: int = 20) -> npt.NDArray[Any]:
    corner = random.integers(0, 60, (count, 2))
    return np.hstack([corner, corner + random.integers(4, side, (count, 2))])


def coco_ap(
    found: list[Detections], truth: list[F32], ignore: list[F32], iou: float
) -> tuple[float, int]:
    """AP by pycocotools, and how many detections it made neither right nor wrong."""
    people = [(i, box, 0) for i, one in enumerate(truth) for box in one.tolist()]
    people += [(i, box, 1) for i, one in enumerate(ignore) for box in one.tolist()]
    annotations = [
        {
            "id": number,
            "image_id": i,
            "category_id": 1,
            "bbox": xywh(box),
            "area": xywh(box)[2] * xywh(box)[3],
            "iscrowd": crowd,
        }
        for number, (i, box, crowd) in enumerate(people, start=1)
    ]
    results = [
        {"image_id": i, "category_id": 1, "bbox": xywh(box), "score": score}
        for i, one in enumerate(found)
        for box, score in zip(one.boxes.tolist(), one.scores.tolist(), strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "info": {},
            "images": [{"id": i} for i in range(len(truth))],
            "categories": [{"id": 1, "name": "person"}],
            "annotations": annotations,
        }
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.params.iouThrs = np.array([iou])
        evaluation.params.areaRng = [[0, 1e10]]
        evaluation.params.areaRngLbl = ["all"]
        evaluation.params.maxDets = [1000]
        evaluation.evaluate()
        evaluation.accumulate()
    ignored = sum(int(one["dtIgnore"].sum()) for one in evaluation.evalImgs if one)
    return float(evaluation.eval["precision"][0, :, 0, 0, 0].mean()), ignored


def xywh(box: Sequence[float]) -> list[float]:
    left, top, right, bottom = box
    return [left, top, right - left, bottom - top]


@pytest.mark.parametrize("iou", [0.5, 0.75])
@pytest.mark.parametrize("seed", range(25))
def test_average_precision_is_that_of_coco(seed: int, iou: float) -> None:
    found, truth, ignore = random_data(seed)
    expected, ignored = coco_ap(found, truth, ignore, iou)
    assert average_precision(found, truth, ignore, iou=iou) == pytest.approx(expected, abs=1e-12)
    judged = judge(found, truth, ignore, iou=iou)
    assert sum(map(len, found)) - len(judged.scores) == ignored


def test_the_random_data_have_what_is_tested() -> None:
    """Regions that make a difference, equal scores, and AP that is neither 0 nor 1."""
    found, truth, ignore = random_data(0)
    assert any(len(np.unique(one.scores)) < len(one) for one in found)
    with_regions = average_precision(found, truth, ignore)
    assert 0.1 < average_precision(found, truth) < with_regions < 0.9


def test_curve_worked_out_by_hand() -> None:
    # By falling score: right, wrong, right; of three people. Precision 1, 1/2, 2/3 at the recalls
    # 1/3, 1/3, 2/3: the envelope is 1 up to 0.33 (34 of the 101 points), 2/3 up to 0.66 (33).
    found = [
        seen(np.concatenate([PERSON, NOBODY]), 0.9, 0.8),
        seen(OTHER, 0.7),
    ]
    judged = judge(found, [PERSON, np.concatenate([OTHER, PERSON])])
    assert judged.right.tolist() == [True, False, True]
    assert judged.average_precision() == pytest.approx((34 + 33 * 2 / 3) / 101)
    assert judged.at(0.75) == (1 / 2, 1 / 3)
    assert judged.at(0.0) == (2 / 3, 2 / 3)
    assert judged.at(0.9) == (1.0, 0.0)  # strictly above: nothing is left, so nothing is wrong


def test_who_is_seen_twice_counts_once() -> None:
    judged = judge([seen(np.concatenate([PERSON, PERSON]), 0.6, 0.9)], [PERSON])
    assert judged.scores.tolist() == pytest.approx([0.9, 0.6])
    assert judged.right.tolist() == [True, False]


def test_half_of_a_detection_in_a_region_is_ignored_and_less_is_not() -> None:
    region = boxes((200, 0, 220, 300))  # the left half of NOBODY
    people = [PERSON]
    half = judge([seen(NOBODY, 0.9)], people, [region])
    assert len(half.scores) == 0
    assert half.at(0.5) == (1.0, 0.0)
    less = judge([seen(NOBODY, 0.9)], people, [region - np.float32(1)])
    assert less.right.tolist() == [False]


def test_a_person_in_a_region_still_counts() -> None:
    judged = judge([seen(PERSON, 0.9)], [PERSON], [boxes((0, 0, 500, 500))])
    assert judged.right.tolist() == [True]


@given(st.integers(0, 10**6), st.floats(0.01, 0.99))
def test_only_the_order_of_the_scores_matters(seed: int, power: float) -> None:
    found, truth, ignore = random_data(seed)
    if not sum(map(len, truth)):
        return
    squeezed = [Detections(one.boxes, one.scores ** np.float32(power)) for one in found]
    before = average_precision(found, truth, ignore)
    assert 0 <= before <= 1
    assert average_precision(squeezed, truth, ignore) == before


@pytest.mark.parametrize("found", [[], [seen(PERSON, 0.9), seen(PERSON, 0.9)]])
def test_lists_of_different_lengths_are_refused(found: list[Detections]) -> None:
    with pytest.raises(DataError, match="people of 1"):
        judge(found, [PERSON])
    with pytest.raises(DataError, match="people of 1"):
        reference_average_precision(found, [PERSON])


def test_nobody_to_find_is_refused() -> None:
    with pytest.raises(DataError, match="nobody is labelled in the images \\(2\\)"):
        average_precision([seen(PERSON, 0.9), seen(EMPTY)], [EMPTY, EMPTY])


def slow_reference_ap(found: list[Detections], truth: list[F32], iou: float) -> float:
    """The rule of the reference, one detection after the other."""
    areas = []
    for detections, people in zip(found, truth, strict=True):
        if len(detections) == 0 or len(people) == 0:
            continue
        taken: set[int] = set()
        recalls, precisions = [0.0], [1.0]
        right = 0
        order = sorted(range(len(detections)), key=lambda i: -float(detections.scores[i]))
        for rank, i in enumerate(order, start=1):
            overlaps = [slow_iou(detections.boxes[i].tolist(), box) for box in people.tolist()]
            best = overlaps.index(max(overlaps))
            if overlaps[best] > iou and best not in taken:
                taken.add(best)
                right += 1
            recalls.append(right / len(people))
            precisions.append(right / rank)
        area = 0.0
        for i in range(1, len(recalls)):
            area += (recalls[i] - recalls[i - 1]) * max(precisions[i:])
        areas.append(area)
    return sum(areas) / len(areas)


def slow_iou(a: Sequence[float], b: Sequence[float]) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    shared = width * height
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return shared / (sum(areas) - shared)


@pytest.mark.parametrize("seed", range(20))
def test_reference_average_precision_is_the_written_out_version(seed: int) -> None:
    found, truth, _ = random_data(seed)
    expected = slow_reference_ap(found, truth, 0.5)
    assert 0 < expected < 1
    assert reference_average_precision(found, truth) == pytest.approx(expected)


def test_the_reference_leaves_pictures_out() -> None:
    """One without a detection and one without a person change nothing, in COCO's AP they do."""
    found, truth = [seen(PERSON, 0.9)], [PERSON]
    more, missed = [*found, seen(EMPTY), seen(NOBODY, 0.95)], [*truth, OTHER, EMPTY]
    assert reference_average_precision(more, missed) == reference_average_precision(found, truth)
    assert average_precision(found, truth) == 1
    assert average_precision(more, missed) < 0.5
    assert reference_average_precision([seen(EMPTY)], [PERSON]) == 0


def test_the_reference_wants_more_than_half() -> None:
    # 20 wide and moved by a third: 13 1/3 shared of 26 2/3.
    half = boxes((0, 0, 30, 30)), boxes((0, 0, 15, 30))
    assert box_iou(*half)[0, 0] == 0.5
    assert reference_average_precision([seen(half[0], 0.9)], [half[1]]) == 0
    assert average_precision([seen(half[0], 0.9)], [half[1]]) == 1


def test_iou_of_boxes_without_area_is_0() -> None:
    point = boxes((5, 5, 5, 5))
    assert box_iou(point, np.concatenate([point, PERSON])).tolist() == [[0, 0]]
    assert box_iou(EMPTY, PERSON).shape == (0, 1)
