"""Damage of quantisation to the boxes, scores and embeddings of the people that a model detects.

Everybody the float model detects is looked up in the quantised one at the same candidate: the same
anchor in the same cell. So the numbers show quantisation alone, and not which of two neighbouring
candidates happens to come first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

from jdetrt.boxes import box_iou
from jdetrt.config import TrackerConfig
from jdetrt.engine.onnxruntime import session_options
from jdetrt.errors import CalibrationError
from jdetrt.evaluation.average_precision import judge
from jdetrt.evaluation.tolerance import PERSON_SCORE
from jdetrt.runtime.decode import nms
from jdetrt.types import Detections

__all__ = ["Closeness", "Comparison", "Observer", "Pairs", "Reference"]

_F32 = npt.NDArray[np.float32]
_I64 = npt.NDArray[np.int64]

_TRACKED = TrackerConfig()  # thresholds of the reference
_CANDIDATES = 1024  # of a frame that take part in non-maximum suppression
_LOGITS = 2  # of an anchor, people or none; a network without anchors has one
_BEST = 20  # of a frame, from a model that is confident of nobody


class Maps(NamedTuple):
    """Outputs of a network for one image, before the best candidates are chosen.

    Attributes:
        margins: ``(candidates,)`` of the score, before the sigmoid.
        deltas: ``(4, candidates)`` dx dy dw dh relative to the anchors; or ``(4 * n, candidates)``
            logits of the ``n`` distances of each edge, left top right bottom.
        embeddings: ``(D, cells)`` of any length; of a model that reads them from its best boxes
            alone, those of other cells are 0.
    """

    margins: _F32
    deltas: _F32
    embeddings: _F32


class Pairs(NamedTuple):
    """One entry for each person that the float model detected.

    Attributes:
        iou: ``(n,)`` of the two boxes.
        scores: ``(n, 2)``, float and quantised.
        cosine: ``(n,)`` of the two embeddings.
    """

    iou: npt.NDArray[np.float64]
    scores: _F32
    cosine: _F32


class Closeness(msgspec.Struct, frozen=True):
    """Closeness of a quantised model to the float one; 1 is the same, 0 for score and damage.

    Attributes:
        people: that the float model detected, over all frames.
        iou: mean of the box overlaps.
        score: mean difference of the scores, without sign.
        cosine: median of the embeddings' cosines.
        mean_cosine: their mean, which also sees a change in few of them.
        agreement: average precision at an IoU of 0.5, with the float model's detections as truth.
        damage: one number to rank by: the losses of box, score and embedding, added up.
    """

    people: int
    iou: float
    score: float
    cosine: float
    mean_cosine: float
    agreement: float
    damage: float = 0.0

    def __post_init__(self) -> None:
        damage = (1 - self.iou) + self.score + (1 - self.mean_cosine)
        msgspec.structs.force_setattr(self, "damage", damage)


class Comparison(NamedTuple):
    """The summary, and the people that it is about."""

    closeness: Closeness
    pairs: Pairs


class Observer:
    """A model of ``jdetrt export``, quantised or not, run by ONNX Runtime on the CPU.

    Args:
        model: is left as it is.
        threads: CPU threads of one operator; None for one a physical core.

    Attributes:
        priors: ``(candidates, 4)`` anchor boxes, or the largest boxes: centre x, centre y, width,
            height.
        cells: ``(candidates,)`` the cell of each.

    Raises:
        CalibrationError: its graph does not end as ``jdetrt export`` has it.
    """

    def __init__(self, model: onnx.ModelProto, threads: int | None = None) -> None:
        ends = _ends(model)
        self.priors, self.cells = ends.priors, ends.cells
        self._input: str = model.graph.input[0].name
        self._rows = ends.rows
        self._outputs = [ends.margins, ends.boxes, ends.embeddings, *ends.chosen]
        watched = onnx.ModelProto()
        watched.CopyFrom(model)
        del watched.graph.output[:]
        watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in self._outputs)
        self._session: Any = ort.InferenceSession(
            watched.SerializeToString(),
            session_options(threads),
            providers=["CPUExecutionProvider"],
        )

    def run(self, image: _F32) -> Maps:
        """Run one image, ``(1, 3, H, W)``. Raises CalibrationError on NaN and infinity."""
        outputs = self._session.run(self._outputs, {self._input: image})
        margins, lines, embeddings, *chosen = (output[0] for output in outputs)
        if not (np.isfinite(margins).all() and np.isfinite(lines).all()):
            raise CalibrationError(
                "the model outputs NaN or infinite numbers; its weights may be damaged"
            )
        if chosen:
            every = np.zeros((embeddings.shape[1], len(self.cells)), np.float32)
            every[:, chosen[0]] = embeddings.T
        else:
            every = embeddings.T if self._rows else embeddings
        return Maps(margins, _deltas(lines.T) if self._rows else lines, every)

    def boxes(self, maps: Maps, candidates: _I64) -> _F32:
        """Compute boxes of candidates: ``(n, 4)`` xyxy in network pixels."""
        anchors = self.priors[candidates]
        deltas = maps.deltas[:, candidates].T
        if deltas.shape[1] != 4:
            return _boxes_by_distances(anchors, deltas)
        centre = anchors[:, :2] + anchors[:, 2:] * deltas[:, :2]
        half = 0.5 * anchors[:, 2:] * np.exp(deltas[:, 2:].clip(max=10.0))
        boxes: _F32 = np.concatenate([centre - half, centre + half], axis=1)
        return boxes

    def detect(self, maps: Maps) -> tuple[_I64, Detections]:
        """Find candidates by non-maximum suppression, best first, whatever their score."""
        best = np.argsort(-maps.margins, kind="stable")[:_CANDIDATES]
        boxes, scores = self.boxes(maps, best), _sigmoid(maps.margins[best])
        rows = nms(boxes, scores, _TRACKED.nms_iou)
        return best[rows], Detections(boxes[rows], scores[rows])


class Reference:
    """Detections of the float model in some frames, for others to be compared with.

    Args:
        model: in float32.
        images: frames, ``(1, 3, H, W)`` each, kept.
        threads: CPU threads of one operator; None for one a physical core.

    Attributes:
        people: number of detections.
        confident: whether they are those with a score that is tracked. Where there is none, as
            with a network that was not trained, they are the 20 best candidates of each frame.

    Raises:
        CalibrationError: there is no frame, or the model is not one of ``jdetrt export``.
    """

    def __init__(
        self, model: onnx.ModelProto, images: Iterable[_F32], threads: int | None = None
    ) -> None:
        self._threads = threads
        self._images = list(images)
        if not self._images:
            raise CalibrationError("no frames to compare on")
        observer = Observer(model, threads)
        outputs = [(maps, *observer.detect(maps)) for maps in map(observer.run, self._images)]
        threshold = PERSON_SCORE
        self.confident = any((best.scores > threshold).any() for _, _, best in outputs)
        self._candidates: list[_I64] = []
        self._embeddings: list[_F32] = []
        self._truth: list[Detections] = []
        for maps, candidates, best in outputs:
            count = int((best.scores > threshold).sum()) if self.confident else _BEST
            self._candidates.append(candidates[:count])
            self._truth.append(Detections(best.boxes[:count], best.scores[:count]))
            self._embeddings.append(_units(maps.embeddings[:, observer.cells[candidates[:count]]]))
        self.people = sum(map(len, self._candidates))

    def compare(self, model: onnx.ModelProto) -> Comparison:
        """Run another model of the same graph on the same frames."""
        observer = Observer(model, self._threads)
        pairs, detections = [], []
        for image, candidates, truth, embeddings in zip(
            self._images, self._candidates, self._truth, self._embeddings, strict=True
        ):
            maps = observer.run(image)
            # Without a score that tells people from the rest, no more than were taken as true.
            most = None if self.confident else _BEST
            _, best = observer.detect(maps)
            detections.append(Detections(best.boxes[:most], best.scores[:most]))
            scores = _sigmoid(maps.margins[candidates])
            other = _units(maps.embeddings[:, observer.cells[candidates]])
            pairs.append(
                Pairs(
                    box_iou(truth.boxes, observer.boxes(maps, candidates)).diagonal(),
                    np.stack([truth.scores, scores], axis=1),
                    np.einsum("dn,dn->n", embeddings, other),
                )
            )
        together = Pairs(*(np.concatenate(column) for column in zip(*pairs, strict=True)))
        return Comparison(self._summary(together, detections), together)

    def _summary(self, pairs: Pairs, detections: Sequence[Detections]) -> Closeness:
        judged = judge(detections, [truth.boxes for truth in self._truth])
        return Closeness(
            people=self.people,
            iou=float(pairs.iou.mean()),
            score=float(np.abs(pairs.scores[:, 1] - pairs.scores[:, 0]).mean()),
            cosine=float(np.median(pairs.cosine)),
            mean_cosine=float(pairs.cosine.mean()),
            agreement=judged.average_precision(),
        )


class _Ends(NamedTuple):
    margins: str
    boxes: str  # lines of all candidates
    embeddings: str
    chosen: tuple[str, ...]  # candidates that the embeddings are of, where not of all cells
    priors: _F32
    cells: _I64
    rows: bool  # a candidate and a cell is a row; a column in models of earlier versions


def _ends(model: onnx.ModelProto) -> _Ends:
    """Find the tensors that decoding reads, by how the graph is joined and not by names."""
    nodes = model.graph.node
    producers = {name: node for node in nodes for name in node.output}
    constants = {
        node.output[0]: onnx.numpy_helper.to_array(node.attribute[0].t)
        for node in nodes
        if node.op_type == "Constant" and node.attribute[0].HasField("t")
    }
    constants |= {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    try:
        first, *more = (node for node in nodes if node.op_type == "TopK")
        (margins, choice) = (first.input[0], first.output[1])
        if more:  # top-k in groups, whose indices are looked up at the end
            (last,) = more
            (merge,) = (node for node in nodes if last.output[1] in node.input)
            margins, choice = producers[margins].input[0], merge.output[0]
        lookups = [
            node
            for node in nodes
            if node.op_type == "Gather" and node.input[1] == choice and node.input[0] in constants
        ]
        tables = [constants[node.input[0]] for node in lookups]
        (priors,) = (table for table in tables if table.ndim == 2)
        indices = {choice, *(node.output[0] for node in lookups)}
        rows = [
            producers[node.input[0]].input[0]
            for node in nodes
            if node.op_type == "Gather"
            and (index := producers.get(node.input[1])) is not None
            and index.op_type == "Add"  # of the first row of the image
            and not indices.isdisjoint(index.input)
        ]
        columns = [n.input[0] for n in nodes if n.op_type == "GatherElements"]
        boxes, *maps = rows or columns
        if maps:
            (embeddings,) = maps
            (cells,) = (table for table in tables if table.ndim == 1)
            chosen: tuple[str, ...] = ()
        else:  # boxes are read for embeddings; a cell has one candidate
            embeddings, chosen = model.graph.output[2].name, (choice,)
            cells = np.arange(len(priors))
    except (KeyError, ValueError) as err:
        raise CalibrationError(
            "the model does not end like one from jdetrt export (one top-k that gathers "
            "boxes and embeddings); export the checkpoint with this version"
        ) from err
    return _Ends(margins, boxes, embeddings, chosen, priors, cells, bool(rows))


def _deltas(lines: _F32) -> _F32:
    """Take what boxes are of from ``lines``: before the two logits, or after the one."""
    return lines[:4] if len(lines) == 4 + _LOGITS else lines[1:]


def _boxes_by_distances(largest: _F32, logits: _F32) -> _F32:
    """Boxes whose edges are at the mean distance; the largest box has all at the last."""
    edges = logits.reshape(len(logits), 4, logits.shape[1] // 4)
    shares = np.exp(edges - edges.max(axis=2, keepdims=True))
    last = shares.shape[2] - 1
    mean = (shares * np.arange(last + 1, dtype=np.float32)).sum(2) / shares.sum(2)
    distance = mean / last * (largest[:, 2:3] / 2)
    centre = largest[:, :2]
    boxes: _F32 = np.concatenate([centre - distance[:, :2], centre + distance[:, 2:]], axis=1)
    return boxes


def _sigmoid(margins: _F32) -> _F32:
    scores: _F32 = 1 / (1 + np.exp(-margins.clip(-80, 80)))
    return scores


def _units(vectors: _F32) -> _F32:
    """Columns ``(D, n)`` of length 1."""
    vectors = vectors.astype(np.float32, copy=False)
    units: _F32 = vectors / np.linalg.norm(vectors, axis=0).clip(min=1e-12)
    return units
