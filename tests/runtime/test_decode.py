from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jdetrt.errors import SessionError
from jdetrt.runtime.decode import candidates, detections, nms
from jdetrt.runtime.preprocess import Letterbox, to_source

Floats = npt.NDArray[np.float32]
SAME = Letterbox.fit((100, 100), (100, 100))  # network pixels are source pixels


def _slow_nms(boxes: Floats, scores: Floats, limit: float) -> list[int]:
    """Greedy suppression, one pair at a time, in exact order."""
    left = sorted(range(len(boxes)), key=lambda i: (-float(scores[i]), i))
    kept = []
    while left:
        best = left.pop(0)
        kept.append(best)
        left = [i for i in left if _iou(boxes[best], boxes[i]) <= limit]
    return kept


def _iou(a: Floats, b: Floats) -> float:
    zero = np.float32(0)
    width = max(min(a[2], b[2]) - max(a[0], b[0]), zero)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), zero)
    both = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    return float(both / union) if union > 0 else 0.0  # float32 arithmetic, compared as double


def _boxes(count: int) -> st.SearchStrategy[Floats]:
    corner = arrays(np.float32, (count, 2), elements=st.integers(0, 40).map(float))
    size = arrays(np.float32, (count, 2), elements=st.integers(1, 20).map(float))
    return st.builds(lambda c, s: np.hstack([c, c + s]), corner, size)


SCORES = st.sampled_from([np.float32(v) for v in (0.1, 0.4, 0.5, 0.6, 0.9)])


@settings(max_examples=200)
@given(data=st.data(), count=st.integers(0, 25), limit=st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_nms_equals_the_slow_version(data: st.DataObject, count: int, limit: float) -> None:
    boxes = data.draw(_boxes(count))
    scores: Floats = data.draw(arrays(np.float32, count, elements=SCORES))
    kept = nms(boxes, scores, limit)
    assert kept.dtype == np.int64
    assert kept.tolist() == _slow_nms(boxes, scores, limit)


def test_nms_limit_is_strict_and_widths_have_no_plus_one() -> None:
    boxes = np.array([[10, 10, 20, 40], [15, 10, 25, 40]], np.float32)  # 1/3; 0.375 with +1
    scores = np.array([0.9, 0.8], np.float32)
    assert nms(boxes, scores, float(np.float32(1 / 3))).tolist() == [0, 1]
    assert nms(boxes, scores, 0.34).tolist() == [0, 1]
    assert nms(boxes, scores, 0.33).tolist() == [0]


def test_nms_equal_scores_keep_their_order() -> None:
    boxes = np.array([[0, 0, 9, 9], [50, 0, 59, 9], [0, 0, 9, 9]], np.float32)
    assert nms(boxes, np.full(3, 0.5, np.float32), 0.4).tolist() == [0, 1]


def _outputs(
    boxes: Sequence[Sequence[float]], scores: list[float]
) -> dict[str, npt.NDArray[np.float32]]:
    return {
        "boxes": np.array([boxes], np.float32),
        "scores": np.array([scores], np.float32),
        "embeddings": np.eye(len(scores), 8, dtype=np.float32)[None],
    }


def test_threshold_suppression_and_mapping() -> None:
    fit = Letterbox.fit((1920, 1080), (1088, 608))
    boxes = [[200, 100, 260, 280], [202, 100, 262, 280], [500, 100, 540, 200], [700, 1, 720, 60]]
    outputs = _outputs(boxes, [0.9, 0.8, 0.7, 0.5])
    seen = detections(outputs, fit)
    # The second lies on the first; the last is not strictly above the threshold.
    np.testing.assert_array_equal(seen.scores, np.array([0.9, 0.7], np.float32))
    np.testing.assert_array_equal(seen.boxes, to_source(outputs["boxes"][0, [0, 2]], fit))
    assert seen.embeddings is not None
    np.testing.assert_array_equal(seen.embeddings.argmax(axis=1), [0, 2])


def test_settings() -> None:
    outputs = _outputs([[0, 0, 10, 10], [0, 0, 10, 9], [50, 50, 60, 60]], [0.9, 0.8, 0.3])
    assert len(detections(outputs, SAME, score_threshold=0.2, nms_iou=0.95)) == 3
    assert len(detections(outputs, SAME, score_threshold=0.2)) == 2
    assert len(detections(outputs, SAME, score_threshold=0.95)) == 0


def test_one_picture_of_a_batch() -> None:
    one, two = _outputs([[0, 0, 10, 10]], [0.9]), _outputs([[20, 20, 40, 40]], [0.6])
    both = {name: np.concatenate([one[name], two[name]]) for name in one}
    assert detections(both, SAME, batch_index=1).boxes.tolist() == [[20, 20, 40, 40]]
    with pytest.raises(SessionError, match="image 2 asked for, the model gave 2"):
        detections(both, SAME, batch_index=2)


def test_a_box_without_area_is_dropped() -> None:
    boxes = [[-30, 10, -5, 40], [10, 10, 20, 30], [40, 50, 40, 90]]
    seen = detections(_outputs(boxes, [0.9, 0.8, 0.7]), SAME)
    assert seen.boxes.tolist() == [[10, 10, 20, 30]]
    assert seen.embeddings is not None
    assert seen.embeddings.argmax(axis=1).tolist() == [1]


def test_without_embeddings_and_in_other_dtypes() -> None:
    outputs: dict[str, npt.NDArray[Any]] = {
        "boxes": np.array([[[1, 2, 30, 40]]], np.float64),
        "scores": np.array([[0.75]], np.float16),
    }
    seen = detections(outputs, SAME)
    assert seen.embeddings is None
    assert seen.boxes.dtype == seen.scores.dtype == np.float32


def test_the_outputs_are_not_changed() -> None:
    outputs = _outputs([[0, 0, 10, 10], [0, 0, 10, 9]], [0.9, 0.8])
    before = {name: array.copy() for name, array in outputs.items()}
    detections(outputs, Letterbox.fit((640, 480), (320, 320)))
    for name, array in outputs.items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["boxes", "scores", "embeddings"])
def test_non_finite_numbers_are_refused_by_name_and_number(name: str, bad: float) -> None:
    outputs = _outputs([[0, 0, 10, 10], [20, 0, 30, 10]], [0.9, 0.8])
    outputs[name].reshape(-1)[:2] = bad
    with pytest.raises(SessionError, match=rf"non-finite numbers: 2 of .* output {name}"):
        detections(outputs, SAME)


def test_a_nan_score_is_not_taken_for_a_low_one() -> None:
    outputs = _outputs([[0, 0, 10, 10], [20, 0, 30, 10]], [0.9, np.nan])
    with pytest.raises(SessionError, match="1 of 2 values of its output scores"):
        detections(outputs, SAME)


def test_an_overflow_below_the_threshold_does_no_harm() -> None:
    outputs = _outputs([[0.0, 0.0, 10.0, 10.0], [20.0, 0.0, np.inf, 10.0]], [0.9, 0.1])
    assert len(detections(outputs, SAME)) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": None}, "no output scores; it has boxes, embeddings"),
        ({"boxes": np.zeros((1, 2, 5))}, r"expected boxes \(N, k, 4\).*boxes \(1, 2, 5\)"),
        ({"scores": np.zeros((2,))}, "wrong shape"),
        ({"embeddings": np.zeros((1, 3, 8))}, "wrong shape"),
    ],
)
def test_other_outputs_are_refused(change: dict[str, np.ndarray | None], message: str) -> None:
    outputs = _outputs([[0, 0, 10, 10], [20, 0, 30, 10]], [0.9, 0.8]) | change
    given = {name: array for name, array in outputs.items() if array is not None}
    with pytest.raises(SessionError, match=message):
        detections(given, SAME)


def test_candidates_are_those_of_the_first_image_unless_told() -> None:
    boxes = np.array([[[1, 2, 9, 9]], [[3, 4, 8, 8]]], np.float32)
    outputs = {"boxes": boxes, "scores": np.full((2, 1), 0.9, np.float32)}
    np.testing.assert_array_equal(candidates(outputs, SAME).boxes, boxes[0])
    np.testing.assert_array_equal(candidates(outputs, SAME, batch_index=1).boxes, boxes[1])
