from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from walkers import samples_of, true_session, walkers

from jdetrt.errors import DataError, SessionError
from jdetrt.evaluation.average_precision import average_precision
from jdetrt.evaluation.detection import evaluate_detection
from jdetrt.training.data.sample import Sample
from jdetrt.types import Detections

REAL = Path(__file__).parents[2] / "../shared/data/sequences"


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    return samples_of(walkers(tmp_path / "walkers"))


def test_the_truth_itself_is_perfect(samples: list[Sample]) -> None:
    scores = evaluate_detection(true_session(samples), samples)
    assert scores.to_dict() == {
        "ap50": 1.0,
        "reference_ap": 1.0,
        "precision": 1.0,
        "recall": 1.0,
        "score_threshold": 0.5,
        "pictures": 6,
        "people": 18,
    }


def test_the_numbers_are_those_of_the_metrics(samples: list[Sample]) -> None:
    """Scores below every threshold count in the AP, not in precision, recall and reference AP."""
    faint = np.array([0.9, 0.4, 0.2], np.float32)

    def change(index: int, seen: Detections) -> Detections:
        boxes = seen.boxes.copy()
        if index == 2:
            boxes[0] += 500  # the first, and best, is nobody
        return Detections(boxes, faint)

    scores = evaluate_detection(true_session(samples, change=change), samples)
    found = [change(i, Detections(s.boxes, faint)) for i, s in enumerate(samples)]
    assert scores.ap50 == average_precision(found, [s.boxes for s in samples])
    assert 0.8 < scores.ap50 < 1
    assert scores.precision == 5 / 6
    assert scores.recall == 5 / 18
    # Two of three people, above 0.3; in one picture of six only the second detection is right.
    assert scores.reference_ap == pytest.approx((5 * 2 / 3 + 1 / 3 * 1 / 2) / 6)
    strict = evaluate_detection(true_session(samples, change=change), samples, score_threshold=0.3)
    assert (strict.precision, strict.recall) == (11 / 12, 11 / 18)


def test_double_detections_are_suppressed(samples: list[Sample]) -> None:
    def double(index: int, seen: Detections) -> Detections:
        return Detections(
            np.concatenate([seen.boxes, seen.boxes + np.float32(2)]),
            np.concatenate([seen.scores, seen.scores]),
        )

    assert evaluate_detection(true_session(samples, change=double), samples).precision == 1
    kept = evaluate_detection(true_session(samples, change=double), samples, nms_iou=1.0)
    assert kept.precision == 0.5


def test_ignored_regions_reach_the_metric(samples: list[Sample]) -> None:
    def more(index: int, seen: Detections) -> Detections:
        box = np.array([[200, 100, 220, 120]], np.float32)
        return Detections(np.concatenate([box, seen.boxes]), np.full(4, 0.9, np.float32))

    region = np.array([[190, 90, 250, 128]], np.float32)
    ignoring = [replace(sample, ignore=region) for sample in samples]
    assert evaluate_detection(true_session(samples, change=more), samples).precision == 0.75
    assert evaluate_detection(true_session(samples, change=more), ignoring).precision == 1


def test_people_at_the_edge_are_found() -> None:
    """Detections are clamped at 0; a person of whom more than half is outside still counts."""
    box = np.array([[-30, 10, 20, 60]], np.float32)
    image = np.zeros((64, 128, 3), np.uint8)
    sample = Sample(image, box, np.array([0]), np.empty((0, 4), np.float32))
    assert evaluate_detection(true_session([sample]), [sample]).ap50 == 1


def test_nobody_to_find_and_broken_models_are_refused(samples: list[Sample]) -> None:
    empty = np.empty((0, 4), np.float32)
    bare = [replace(s, boxes=empty, ids=np.empty(0, np.int64)) for s in samples]
    with pytest.raises(DataError, match="nobody is labelled in the images \\(6\\)"):
        evaluate_detection(true_session(samples), bare)

    def broken(index: int, seen: Detections) -> Detections:
        return Detections(seen.boxes, np.full(3, np.nan, np.float32))

    with pytest.raises(SessionError, match="non-finite"):
        evaluate_detection(true_session(samples, change=broken), samples)


@pytest.mark.skipif(not REAL.exists(), reason="needs ../shared/data/sequences")
@pytest.mark.parametrize("name", ["MOT17-04-mini", "MOT17-13-mini"])
def test_real_ground_truth_as_detections_is_perfect(name: str) -> None:
    samples = samples_of(REAL / name)
    # Without suppression: real people overlap.
    scores = evaluate_detection(true_session(samples, (960, 544)), samples, nms_iou=1.0)
    assert (scores.ap50, scores.reference_ap) == (1.0, 1.0)
    assert (scores.precision, scores.recall) == (1.0, 1.0)
    assert scores.people == sum(len(sample.boxes) for sample in samples) > 100
