from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from walkers import NET, samples_of, true_session, walkers

from jdetrt.config import STRIDES
from jdetrt.errors import ConfigError, DataError, SessionError
from jdetrt.evaluation import embedding
from jdetrt.evaluation.embedding import EmbeddingTest, best_anchors, evaluate_embedding, to_network
from jdetrt.runtime.preprocess import Letterbox, to_source
from jdetrt.runtime.session import SessionBase
from jdetrt.testing import FakeSession
from jdetrt.training.data.sample import Sample
from jdetrt.training.network.anchors import anchor_sizes, candidate_cells, candidate_priors, grids
from jdetrt.types import Detections, TensorSpec

REAL = Path(__file__).parents[2] / "../shared/data/sequences"
F32 = npt.NDArray[np.float32]


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    return samples_of(walkers(tmp_path / "walkers"))


class MapSession(FakeSession):
    """A network that sees nobody, with given embedding maps: ``(cells, D)``, one a run."""

    def __init__(self, maps: list[F32], size: tuple[int, int]) -> None:
        dim = maps[0].shape[1]
        outputs = [
            {
                "boxes": np.zeros((1, 1, 4), np.float32),
                "scores": np.zeros((1, 1), np.float32),
                "embeddings": np.zeros((1, 1, dim), np.float32),
                "embedding_maps": one[np.newaxis],
            }
            for one in maps
        ]
        note = {"anchors": json.dumps(anchor_sizes(*size).tolist())}
        super().__init__(outputs, size=size, embedding_size=dim, metadata=note)
        self._outputs = (*self._outputs, TensorSpec("embedding_maps", "float32", (-1, -1, dim)))


def test_one_embedding_a_person_is_perfect(samples: list[Sample]) -> None:
    scores = evaluate_embedding(true_session(samples), samples)
    assert (scores.rule, scores.coverage, scores.boxes) == ("candidates", 1.0, 18)
    assert scores.identities == 3
    assert set(scores.tpr.values()) == {1.0}
    assert scores.to_dict()["tpr_at_far"]["1e-06"] == 1.0


def test_who_is_not_detected_lowers_the_coverage(samples: list[Sample]) -> None:
    def change(index: int, seen: Detections) -> Detections:
        boxes = seen.boxes.copy()
        boxes[0] += 11 if index < 2 else 0  # of 24 x 72: IoU about 0.3
        assert seen.embeddings is not None
        return Detections(boxes, seen.scores, seen.embeddings)

    scores = evaluate_embedding(true_session(samples, change=change), samples)
    assert scores.coverage == 16 / 18
    assert scores.tpr[0.1] == 1.0


def test_low_scores_count_and_the_best_overlap_is_taken(samples: list[Sample]) -> None:
    """Beside each person stands a better scored candidate with somebody else's embedding."""

    def change(index: int, seen: Detections) -> Detections:
        assert seen.embeddings is not None
        return Detections(
            np.concatenate([seen.boxes, seen.boxes + np.float32(3)]),
            np.concatenate([seen.scores / 100, seen.scores]),
            np.concatenate([seen.embeddings, np.roll(seen.embeddings, index, axis=0)]),
        )

    scores = evaluate_embedding(true_session(samples, change=change), samples)
    assert (scores.coverage, scores.tpr[1e-6]) == (1.0, 1.0)


def test_one_candidate_is_one_person(samples: list[Sample]) -> None:
    """Two people share a candidate: it is the one's whom it fits best."""
    twice = [
        replace(s, boxes=np.concatenate([s.boxes, s.boxes + 1]), ids=np.concatenate([s.ids] * 2))
        for s in samples
    ]
    twice = [replace(s, ids=np.where(np.arange(6) < 3, s.ids, 3)) for s in twice]
    scores = evaluate_embedding(true_session(samples), twice)
    assert (scores.coverage, scores.identities) == (0.5, 3)


def test_unknown_people_do_not_count(samples: list[Sample]) -> None:
    partly = [replace(s, ids=np.where(s.ids == 1, -1, s.ids)) for s in samples]
    scores = evaluate_embedding(true_session(samples), partly)
    assert (scores.boxes, scores.identities) == (12, 2)


@pytest.mark.parametrize("size", [(576, 320), (1088, 608)])
def test_best_anchor_and_cell_one_by_one(size: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    centre = random.uniform(-20, (size[0] + 20, size[1] + 20), (200, 2))
    sides = np.exp(random.uniform(1.5, 6.5, (200, 2)))
    boxes = np.hstack([centre - sides / 2, centre + sides / 2]).astype(np.float32)
    anchors = anchor_sizes(*size)
    found = best_anchors(boxes, size, anchors)
    priors, cells = candidate_priors(*size, anchors), candidate_cells(*size)
    heads = np.repeat(range(3), [4 * columns * rows for columns, rows in grids(*size)])
    for i, (left, top, right, bottom) in enumerate(boxes.astype(float).tolist()):
        ious = []
        for width, height in anchors.reshape(12, 2).tolist():
            shared = min(width, right - left) * min(height, bottom - top)
            union = width * height + (right - left) * (bottom - top) - shared
            ious.append(shared / union)
        best = ious.index(max(ious))
        assert found.anchors[i] == best
        assert found.iou[i] == pytest.approx(max(ious))
        # The candidate with this anchor whose cell is nearest above and left of the centre.
        stride = STRIDES[best // 4]
        columns, rows = grids(*size)[best // 4]
        x = min(max(int((left + right) / 2 // stride), 0), columns - 1)
        y = min(max(int((top + bottom) / 2 // stride), 0), rows - 1)
        wanted = [x * stride, y * stride, *anchors.reshape(12, 2)[best].tolist()]
        (candidate,) = np.flatnonzero((priors == wanted).all(axis=1) & (heads == best // 4))
        assert found.cells[i] == cells[candidate]


def test_embeddings_come_from_the_cell_of_the_person(samples: list[Sample]) -> None:
    """The map holds the person's own vector at their cell and noise everywhere else."""
    size = (256, 128)
    anchors = anchor_sizes(*size)
    cells = sum(columns * rows for columns, rows in grids(*size))
    random = np.random.default_rng(0)
    maps, expected = [], 0
    for sample in samples:
        one = random.normal(size=(cells, 16)).astype(np.float32)
        fit = Letterbox.fit((256, 128), size)
        found = best_anchors(to_network(sample.boxes, fit), size, anchors)
        one[found.cells] = np.eye(16, dtype=np.float32)[sample.ids]
        expected += int((found.iou > 0.6).sum())
        maps.append(one)
    assert expected > 0
    scores = evaluate_embedding(MapSession(maps, size), samples)
    assert (scores.rule, scores.coverage) == ("cells", expected / 18)
    assert scores.tpr[1e-6] == 1.0


def test_an_anchor_that_does_not_fit_gives_no_embedding() -> None:
    size = (576, 320)  # anchors of the head /8: 6x16 and so on
    image = np.zeros((320, 576, 3), np.uint8)
    # 8 x 23 exactly; the same laid on its side; a person whose IoU with 8 x 23 is 0.6 and a bit.
    boxes = np.array([[0, 0, 8, 23], [40, 40, 63, 48], [80, 80, 85, 102.2]], np.float32)
    sample = Sample(image, boxes, np.array([0, 1, 2]), np.empty((0, 4), np.float32))
    cells = sum(columns * rows for columns, rows in grids(*size))
    session = MapSession([np.ones((cells, 4), np.float32)] * 2, size)
    test = EmbeddingTest(session)
    from jdetrt.evaluation.inference import infer

    for seen in infer(session, [sample, sample]):
        test.add(seen)
    assert test.scores().coverage == 2 / 3


def test_of_two_people_at_one_anchor_the_better_fit_stays() -> None:
    boxes = np.array([[0, 0, 9, 25], [1, 1, 9, 24], [1, 1, 12, 33]], np.float32)
    people, cells = embedding._by_cell(boxes, (576, 320), anchor_sizes(576, 320))
    # The first two fit 8x23 (the second exactly), the third 11x32: another anchor of the same cell.
    assert people.tolist() == [1, 2]
    assert len(set(cells.tolist())) <= 2


def test_to_network_undoes_to_source() -> None:
    fit = Letterbox.fit((1920, 1080), (576, 320))
    boxes = np.array([[200, 100, 260, 280]], np.float32)
    np.testing.assert_allclose(to_network(to_source(boxes, fit), fit), boxes, atol=1e-3)


def test_refusals(samples: list[Sample]) -> None:
    session = true_session(samples)
    with pytest.raises(ConfigError, match="expected cells or candidates"):
        EmbeddingTest(session, rule="all")
    with pytest.raises(SessionError, match="evaluate the checkpoint"):
        EmbeddingTest(session, rule="cells")
    bare = FakeSession([], size=NET)
    assert isinstance(bare, SessionBase)
    with pytest.raises(SessionError, match="embeddings: nothing"):
        EmbeddingTest(bare)
    unknown = [replace(s, ids=np.full(3, -1)) for s in samples]
    with pytest.raises(DataError, match="nothing to measure"):
        evaluate_embedding(true_session(samples), unknown)

    def elsewhere(index: int, seen: Detections) -> Detections:
        return Detections(seen.boxes + np.float32(500), seen.scores, seen.embeddings)

    with pytest.raises(DataError, match="\\(18 boxes\\)"):
        evaluate_embedding(true_session(samples, change=elsewhere), samples)


@pytest.mark.skipif(not REAL.exists(), reason="needs ../shared/data/sequences")
def test_real_ground_truth_is_told_apart() -> None:
    samples = samples_of(REAL / "MOT17-11-mini")
    scores = evaluate_embedding(true_session(samples, (960, 544)), samples)
    assert (scores.coverage, scores.tpr[1e-6]) == (1.0, 1.0)
    assert scores.boxes == sum(len(sample.boxes) for sample in samples)
