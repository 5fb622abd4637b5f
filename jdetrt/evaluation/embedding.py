"""Embedding scores of a model, at the boxes of the ground truth.

The paper takes each person's embedding from the cell at which training would teach it (rule
``"cells"``; the reference's ``test_emb`` words it so and selects in another way, so that some
people are in one count and not in the other). This needs the dense embedding maps: a checkpoint
has them, a deployed model gives only the embeddings of its best candidates. For these each person
has that of the candidate that overlaps best (rule ``"candidates"``), which is closer to what
tracking sees. By either rule some people have none; the share of those who have one is the
coverage.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from jdetrt.boxes import box_iou
from jdetrt.config import ANCHORS_PER_CELL, STRIDES, HeadAnchors
from jdetrt.documents import decode_json
from jdetrt.errors import ConfigError, DataError, SessionError
from jdetrt.evaluation.inference import ImageOutputs, infer
from jdetrt.evaluation.tpr_at_far import FARS, tpr_at_far
from jdetrt.runtime.preprocess import Letterbox
from jdetrt.training.network.anchors import grids
from jdetrt.types import Array, Session

if TYPE_CHECKING:
    from jdetrt.training.data.sample import Sample

__all__ = ["RULES", "EmbeddingScores", "EmbeddingTest", "best_anchors", "evaluate_embedding"]

RULES = ("cells", "candidates")
ANCHOR_IOU = 0.6  # reference utils/utils.py, test_emb
CANDIDATE_IOU = 0.5
_MAPS = "embedding_maps"
_Heads = tuple[HeadAnchors, HeadAnchors, HeadAnchors]

_F32 = npt.NDArray[np.float32]
_F64 = npt.NDArray[np.float64]
_I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class EmbeddingScores:
    """Scores of embeddings.

    Attributes:
        tpr: true positive rate by false accept rate, 0 to 1.
        rule: how embeddings are assigned to people, one of `RULES`.
        coverage: share of the identified boxes that have one.
        boxes: identified boxes.
        identities: different people among them.
    """

    tpr: dict[float, float]
    rule: str
    coverage: float
    boxes: int
    identities: int

    def to_dict(self) -> dict[str, Any]:
        """Numbers by name, for JSON; ``tpr`` by the false accept rate as text."""
        return {
            "tpr_at_far": {f"{far:g}": rate for far, rate in self.tpr.items()},
            "rule": self.rule,
            "coverage": self.coverage,
            "boxes": self.boxes,
            "identities": self.identities,
        }


class Anchored(NamedTuple):
    """Best anchor of each box, and its cell.

    Attributes:
        anchors: ``(n,)`` int64, 0 to 11, counted over the heads /32, /16, /8.
        cells: ``(n,)`` int64, of the box's centre in the head of the anchor, counted likewise.
        iou: ``(n,)`` float64, of the two sizes laid over each other.
    """

    anchors: _I64
    cells: _I64
    iou: _F64


class EmbeddingTest:
    """Collects the embeddings of identified people, image by image.

    Args:
        session: the model whose outputs will be added.
        rule: one of `RULES`; ``"cells"`` by default where the session gives embedding maps.
        fars: false accept rates.

    Raises:
        ConfigError: no such rule.
        SessionError: the model gives no embeddings, or no maps for the rule ``"cells"``.
    """

    def __init__(
        self, session: Session, *, rule: str | None = None, fars: Sequence[float] = FARS
    ) -> None:
        given = {spec.name for spec in session.outputs}
        if rule not in (None, *RULES):
            raise ConfigError(f"rule '{rule}': expected {' or '.join(RULES)}")
        if "embeddings" not in given:
            raise SessionError("the model has no output with embeddings: nothing to measure")
        if rule == "cells" and _MAPS not in given:
            raise SessionError(
                "the model outputs embeddings only for its best candidates; for the rule "
                "'cells' evaluate the checkpoint that it was exported from, or use the rule "
                "'candidates'"
            )
        self.rule = rule or ("cells" if _MAPS in given else "candidates")
        self._fars = fars
        self._anchors: _F32 | None = None
        if self.rule == "cells":
            try:
                notes = session.metadata.get("anchors", "")
                heads: Any = decode_json(notes, _Heads)  # type: ignore[arg-type]
            except ValueError as err:
                raise SessionError(f"'anchors' in the model's metadata: {err}") from err
            self._anchors = np.array(heads, np.float32)
        self._embeddings: list[_F32] = []
        self._ids: list[_I64] = []
        self._boxes = 0

    def add(self, image: ImageOutputs) -> None:
        """Add one image."""
        known = image.sample.ids >= 0
        ids = image.sample.ids[known]
        boxes = to_network(image.sample.boxes[known], image.letterbox)
        outputs = {name: array[0] for name, array in image.outputs.items()}
        self._boxes += len(ids)
        if self._anchors is None:
            people, rows = _by_candidate(boxes, outputs["boxes"])
            embeddings = outputs["embeddings"][rows]
        else:
            people, rows = _by_cell(boxes, image.letterbox.network_size, self._anchors)
            embeddings = outputs[_MAPS][rows]
        self._ids.append(ids[people])
        self._embeddings.append(embeddings.astype(np.float32, copy=False))

    def scores(self) -> EmbeddingScores:
        """Compute the scores of all images.

        Raises:
            DataError: nobody is identified, or too few people have an embedding.
        """
        if not self._boxes:
            raise DataError("nobody in the ground truth has an identity: nothing to measure")
        ids = np.concatenate(self._ids)
        if not len(ids):
            raise DataError(
                f"the model has no embedding for any ground-truth box with an identity "
                f"({self._boxes} boxes): it detects none of them"
            )
        return EmbeddingScores(
            tpr=tpr_at_far(np.concatenate(self._embeddings), ids, self._fars),
            rule=self.rule,
            coverage=len(ids) / self._boxes,
            boxes=self._boxes,
            identities=len(np.unique(ids)),
        )


def evaluate_embedding(
    session: Session,
    samples: Iterable[Sample],
    *,
    size: tuple[int, int] | None = None,
    batch: int = 1,
    rule: str | None = None,
    fars: Sequence[float] = FARS,
) -> EmbeddingScores:
    """Measure the embeddings of a model.

    Args:
        session: a model of any kind; a network in training is one as ``TorchSession``.
        samples: labelled images; equal ids are one person, wherever they come from.
        size: network width and height, for a model that leaves them free.
        batch: images at a time, where the model takes more than one.
        rule: how embeddings are assigned to people, one of `RULES`; by default ``"cells"`` where
            the model can.
        fars: false accept rates.

    Raises:
        ConfigError: no such rule.
        SessionError: the model gives no embeddings, cannot do by the rule, or fails.
        DataError: there are not two boxes of one person and two persons.
    """
    test = EmbeddingTest(session, rule=rule, fars=fars)
    for image in infer(session, samples, size=size, batch=batch):
        test.add(image)
    return test.scores()


def to_network(boxes: _F32, fit: Letterbox) -> _F32:
    """Map ``(n, 4)`` boxes from source pixels to network pixels."""
    pads = np.array([fit.pad_x, fit.pad_y, fit.pad_x, fit.pad_y], np.float32)
    mapped: _F32 = boxes * np.float32(fit.gain) + pads
    return mapped


def best_anchors(boxes: _F32, size: tuple[int, int], anchors: _F32) -> Anchored:
    """Find the anchor of the most similar width and height, and the cell of the centre (test_emb).

    Args:
        boxes: ``(n, 4)`` left, top, right, bottom in network pixels.
        size: network width and height.
        anchors: ``(3, 4, 2)`` widths and heights in network pixels.
    """
    sides = (boxes[:, 2:] - boxes[:, :2]).astype(np.float64)
    flat = anchors.reshape(-1, 2).astype(np.float64)
    shared = np.minimum(sides[:, None], flat).prod(axis=2)
    iou = shared / (sides.prod(axis=1)[:, None] + flat.prod(axis=1) - shared)
    best = iou.argmax(axis=1)
    head = best // ANCHORS_PER_CELL

    cells_of = np.array(grids(*size))
    first = np.concatenate([[0], np.cumsum(cells_of.prod(axis=1))])
    centres = (boxes[:, 2:] + boxes[:, :2]).astype(np.float64) / 2
    at = np.floor(centres / np.array(STRIDES)[head, None]).astype(np.int64)
    column, row = at.clip(0, cells_of[head] - 1).T
    return Anchored(best, first[head] + row * cells_of[head, 0] + column, iou.max(axis=1))


def _by_cell(boxes: _F32, size: tuple[int, int], anchors: _F32) -> tuple[_I64, _I64]:
    """Find people with an embedding, and the cell of each."""
    found = best_anchors(boxes, size, anchors)
    people = np.flatnonzero(found.iou > ANCHOR_IOU)
    place = found.cells[people] * len(STRIDES) * ANCHORS_PER_CELL + found.anchors[people]
    people = people[_one_each(place, found.iou[people])]
    return people, found.cells[people]


def _by_candidate(boxes: _F32, candidates: Array) -> tuple[_I64, _I64]:
    """Find people with an embedding, and the candidate of each."""
    if not len(boxes):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    iou = box_iou(boxes, candidates)
    best, fit = iou.argmax(axis=1), iou.max(axis=1)
    people = np.flatnonzero(fit > CANDIDATE_IOU)
    people = people[_one_each(best[people], fit[people])]
    return people, best[people]


def _one_each(places: _I64, fit: _F64) -> _I64:
    """Choose the best of those that share a place."""
    best_first = np.argsort(-fit, kind="stable")
    winners: _I64 = np.sort(best_first[np.unique(places[best_first], return_index=True)[1]])
    return winners
