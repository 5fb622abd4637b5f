"""Detections and tracks: what they convert, refuse, cut and pass on."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from jdetrt.errors import DataError
from jdetrt.types import Detections, Tracks

BOXES = [[10, 10, 50, 110], [60, 10, 90, 100], [5, 5, 9, 20]]
SCORES = [0.9, 0.4, 0.7]
EMBEDDINGS = [[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]


def people() -> Detections:
    return Detections(BOXES, SCORES, EMBEDDINGS)


def tracks() -> Tracks:
    return Tracks([4, 7, 9], BOXES, SCORES, [2, 0, -1], EMBEDDINGS, [0, 5, 30])


def test_lists_and_other_dtypes_are_converted() -> None:
    for made in (
        people(),
        Detections(np.array(BOXES, np.float64), np.array(SCORES), np.array(EMBEDDINGS)),
        Detections(np.array(BOXES, np.int16), np.array(SCORES, np.float64), tuple(EMBEDDINGS)),
    ):
        assert made.embeddings is not None
        assert {array.dtype for array in (made.boxes, made.scores, made.embeddings)} == {
            np.dtype(np.float32)
        }
        assert made.boxes.tolist() == BOXES
    made_tracks = tracks()
    for array in (made_tracks.ids, made_tracks.detection, made_tracks.age):
        assert array.dtype == np.int64


def test_arrays_of_the_right_dtype_are_not_copied() -> None:
    boxes, scores = np.array(BOXES, np.float32), np.array(SCORES, np.float32)
    made = Detections(boxes, scores)
    assert made.boxes is boxes
    assert made.scores is scores
    assert made.embeddings is None


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (([1, 2, 3, 4], [1]), "Detections.boxes"),
        (([[1, 2, 3]], [1]), "Detections.boxes"),
        (([[1, 2, 3, 4], [1]], [1]), "Detections.boxes"),
        (([["a", "b", "c", "d"]], [1]), "Detections.boxes"),
        ((BOXES, SCORES[:2]), "Detections.scores"),
        ((BOXES, [True, False, True]), "Detections.scores"),
        ((BOXES, SCORES, EMBEDDINGS[:2]), "Detections.embeddings"),
        ((BOXES, SCORES, SCORES), "Detections.embeddings"),
    ],
)
def test_other_shapes_and_other_things_are_refused(arguments: Any, field: str) -> None:
    with pytest.raises(DataError, match=field):
        Detections(*arguments)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"ids": [1.5, 2.5, 3.5]}, "Tracks.ids"),
        ({"boxes": BOXES[:2]}, "Tracks.boxes"),
        ({"scores": SCORES[:1]}, "Tracks.scores"),
        ({"detection": [1, 2]}, "Tracks.detection"),
        ({"embeddings": SCORES}, "Tracks.embeddings"),
        ({"age": [[1], [2], [3]]}, "Tracks.age"),
    ],
)
def test_tracks_are_checked_too(change: dict[str, Any], field: str) -> None:
    with pytest.raises(DataError, match=field):
        Tracks(**{"ids": [1, 2, 3], "boxes": BOXES, "scores": SCORES, **change})


@pytest.mark.parametrize(
    ("index", "rows"),
    [
        (np.array([True, False, True]), [0, 2]),
        ([True, False, True], [0, 2]),
        (np.array([2, 0]), [2, 0]),
        ([2, 0], [2, 0]),
        ([], []),
        (slice(1, None), [1, 2]),
        (slice(None, None, -1), [2, 1, 0]),
        (1, [1]),
        (-1, [2]),
        (np.int64(0), [0]),
    ],
)
def test_rows_by_mask_indices_slice_or_number(index: Any, rows: list[int]) -> None:
    cut = people()[index]
    assert isinstance(cut, Detections)
    assert cut.embeddings is not None
    assert cut.boxes.tolist() == [BOXES[row] for row in rows]
    np.testing.assert_array_equal(cut.scores, people().scores[rows])
    assert len(cut.embeddings) == len(cut) == len(rows)
    some = tracks()[index]
    assert some.ids.tolist() == [[4, 7, 9][row] for row in rows]
    assert some.detection.tolist() == [[2, 0, -1][row] for row in rows]
    assert some.age.tolist() == [[0, 5, 30][row] for row in rows]
    assert some.boxes.tolist() == cut.boxes.tolist()
    assert some.embeddings is not None
    assert some.embeddings.tolist() == cut.embeddings.tolist()
    assert Detections(BOXES, SCORES)[index].embeddings is None


def test_rows_that_are_not_there() -> None:
    assert [people()[row].boxes.tolist() for row in range(3)] == [[box] for box in BOXES]
    with pytest.raises(IndexError):
        people()[3]
    with pytest.raises(IndexError):
        people()[np.array([True, False])]


def test_nobody() -> None:
    for nobody in (Detections.empty(), Detections([], [])):
        assert nobody.boxes.shape == (0, 4)
        assert nobody.scores.shape == (0,)
        assert nobody.embeddings is None
    with_embeddings = Detections.empty(8).embeddings
    assert with_embeddings is not None
    assert with_embeddings.shape == (0, 8)
    none = Tracks.empty()
    assert (none.ids.shape, none.boxes.shape, none.detection.shape) == ((0,), (0, 4), (0,))
    assert none.embeddings is None


def test_tracks_without_more_belong_to_no_detection() -> None:
    plain = Tracks([1, 2, 3], BOXES, SCORES)
    assert plain.detection.tolist() == [-1, -1, -1]
    assert plain.age.tolist() == [0, 0, 0]
    assert plain.embeddings is None


def test_values_are_frozen_and_pickled() -> None:
    with pytest.raises(AttributeError):
        people().boxes = np.zeros((0, 4), np.float32)  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(tracks())).ids.tolist() == [4, 7, 9]
    assert pickle.loads(pickle.dumps(people())).boxes.tolist() == BOXES


def test_there_and_back_through_supervision() -> None:
    supervision = pytest.importorskip("supervision")
    there = people().to_supervision()
    assert isinstance(there, supervision.Detections)
    assert there.class_id.tolist() == [0, 0, 0]
    assert there[there.confidence > 0.5].data["embedding"].shape == (2, 2)
    back = Detections.from_supervision(there)
    assert back.embeddings is not None
    np.testing.assert_array_equal(back.embeddings, people().embeddings)
    np.testing.assert_array_equal(back.scores, people().scores)

    followed = tracks().to_supervision()
    assert followed.tracker_id.tolist() == [4, 7, 9]
    again = Tracks.from_supervision(followed)
    assert again.detection.tolist() == [2, 0, -1]
    assert again.age.tolist() == [0, 5, 30]
    np.testing.assert_array_equal(again.boxes, tracks().boxes)


def test_from_supervision_with_the_least_it_can_have() -> None:
    supervision = pytest.importorskip("supervision")
    boxes_alone = supervision.Detections(xyxy=np.array(BOXES, np.float64))
    assert Detections.from_supervision(boxes_alone).scores.tolist() == [1, 1, 1]
    with pytest.raises(DataError, match="tracker_id"):
        Tracks.from_supervision(boxes_alone)
    assert len(Detections.from_supervision(supervision.Detections.empty())) == 0
    assert len(Detections.from_supervision(Detections.empty(4).to_supervision())) == 0
