"""How far two models agree: their boxes, scores and embeddings, candidate by candidate.

Two runs on float arithmetic may rank two nearly equal scores the other way round, and a lower
precision does so often. So entries are never compared by their rank: each is paired with the one of
the other model that overlaps it, by the assignment with the largest sum of overlaps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import lap
import numpy as np
import numpy.typing as npt

from jdetrt.errors import SessionError
from jdetrt.evaluation.average_precision import box_iou
from jdetrt.runtime.detector import network_size
from jdetrt.runtime.preprocess import letterbox
from jdetrt.types import Array, Frame, Session

__all__ = ["LIMITS", "Agreement", "Comparison", "Limits", "Spread", "precision_of", "verify"]

_F64 = npt.NDArray[np.float64]

# Pairs overlap by more than this; whatever overlaps less is another candidate.
PAIR_IOU = 0.5


class Limits(NamedTuple):
    """What two models must keep to agree.

    Attributes:
        iou: 99 of 100 pairs overlap at least so much.
        score: 99 of 100 pairs have scores no further apart.
        cosine: half of the pairs have a cosine of at least this between their embeddings.
        cosine_p5: 19 of 20 pairs have a cosine of at least this.
        unmatched: no larger share of the entries has no partner.
    """

    iou: float
    score: float
    cosine: float
    cosine_p5: float
    unmatched: float


# By the lower precision of the two. A GPU multiplies float32 as TF32 unless it is told otherwise,
# which rounds its factors as float16 does. What float16 itself does, `jdetrt.export.parity` says.
# For INT8 the cosine is the one that calibration aims at.
LIMITS: Mapping[str, Limits] = {
    "fp32": Limits(iou=0.98, score=0.005, cosine=0.9999, cosine_p5=0.999, unmatched=0.01),
    "fp16": Limits(iou=0.95, score=0.02, cosine=0.999, cosine_p5=0.99, unmatched=0.02),
    "int8": Limits(iou=0.8, score=0.1, cosine=0.99, cosine_p5=0.9, unmatched=0.05),
}


@dataclass(frozen=True, slots=True)
class Spread:
    """How large the differences are."""

    max: float
    p99: float
    mean: float

    @staticmethod
    def of(values: _F64) -> Spread:
        """Of one number or more."""
        return Spread(float(values.max()), float(np.percentile(values, 99)), float(values.mean()))


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was found, over all frames.

    Attributes:
        frames: pictures compared.
        pairs: entries of the one model with a partner in the other.
        unmatched: share of the entries of both that have none.
        boxes_px: largest difference of a coordinate of a pair, in network pixels.
        iou_min: smallest overlap of a pair.
        iou_p1: 99 of 100 pairs overlap at least so much.
        scores: difference of a pair.
        cosine_min: smallest cosine between the embeddings of a pair; None without embeddings.
        cosine_p5: 19 of 20 pairs have a cosine of at least this.
        cosine_median: the median of the cosines.
    """

    frames: int
    pairs: int
    unmatched: float
    boxes_px: Spread
    iou_min: float
    iou_p1: float
    scores: Spread
    cosine_min: float | None
    cosine_p5: float | None
    cosine_median: float | None

    def faults(self, limits: Limits) -> list[str]:
        """What is past the limits, one a text; empty where the models agree."""
        found = []
        if self.iou_p1 < limits.iou:
            found.append(f"boxes: 1 of 100 overlaps by {self.iou_p1:.4g} or less ({limits.iou:g})")
        if self.scores.p99 > limits.score:
            found.append(
                f"scores: 1 of 100 differs by {self.scores.p99:.4g} or more ({limits.score:g})"
            )
        if self.cosine_median is not None and self.cosine_median < limits.cosine:
            found.append(
                f"embeddings: the median cosine is {self.cosine_median:.6g} ({limits.cosine:g})"
            )
        if self.cosine_p5 is not None and self.cosine_p5 < limits.cosine_p5:
            found.append(
                f"embeddings: 1 of 20 has a cosine of {self.cosine_p5:.6g} or less "
                f"({limits.cosine_p5:g})"
            )
        if self.unmatched > limits.unmatched:
            found.append(
                f"entries without a partner: {self.unmatched:.2%} ({limits.unmatched:.2%})"
            )
        return found


class Agreement:
    """Compare two models picture by picture.

    Compared are the entries whose score is above a threshold in either model; a partner may have
    half of it. An entry that the other model may only have left out for its score, because that is
    no more than ``edge`` above the lowest that it gives, does not count as unmatched.

    Args:
        score_threshold: 0 to 1; 0 compares everything that the models give.
        edge: a difference of scores.
    """

    def __init__(self, score_threshold: float, edge: float) -> None:
        self._threshold = score_threshold
        self._edge = edge
        self._frames = self._entries = self._unmatched = 0
        self._px: list[_F64] = []
        self._iou: list[_F64] = []
        self._scores: list[_F64] = []
        self._cosine: list[_F64] = []

    def add(self, first: Mapping[str, Array], second: Mapping[str, Array]) -> None:
        """Compare what the two give for the same picture.

        Args:
            first: ``boxes (1, k, 4)`` in network pixels, ``scores (1, k)`` and, where the model
                has them, ``embeddings (1, k, D)``.
            second: the same of the other; its k may be another.

        Raises:
            SessionError: an output has NaN or infinite numbers.
        """
        one, other = _entries(first, "the first"), _entries(second, "the second")
        rows, columns = (np.flatnonzero(e["scores"] > self._threshold / 2) for e in (one, other))
        a = {name: array[rows] for name, array in one.items()}
        b = {name: array[columns] for name, array in other.items()}
        iou = box_iou(a["boxes"], b["boxes"])
        i, j = _assign(iou)
        counted = (a["scores"][i] > self._threshold) | (b["scores"][j] > self._threshold)
        i, j = i[counted], j[counted]
        self._frames += 1
        self._iou.append(iou[i, j])
        self._px.append(np.abs(a["boxes"][i] - b["boxes"][j]).max(axis=1, initial=0.0))
        self._scores.append(np.abs(a["scores"][i] - b["scores"][j]))
        if "embeddings" in a and "embeddings" in b:
            x, y = a["embeddings"][i], b["embeddings"][j]
            lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
            # A vector of zeros, which no model of ours gives, is like no other.
            self._cosine.append((x * y).sum(axis=1) / np.maximum(lengths, 1e-30))
        lone = self._lone(a["scores"], i, other["scores"]) + self._lone(
            b["scores"], j, one["scores"]
        )
        self._unmatched += lone
        self._entries += 2 * len(i) + lone

    def _lone(self, scores: _F64, paired: npt.NDArray[np.int64], others: _F64) -> int:
        """Entries above the threshold without a partner, which the other model ought to have."""
        alone = np.ones(len(scores), bool)
        alone[paired] = False
        least = max(self._threshold, others.min(initial=1.0) + self._edge)
        return int((alone & (scores > least)).sum())

    def result(self) -> Comparison:
        """All pictures together.

        Raises:
            SessionError: there is nothing to compare.
        """
        iou, px, scores = (np.concatenate(x) for x in (self._iou, self._px, self._scores))
        if not len(iou):
            raise SessionError(
                f"nothing to compare: in {self._frames} frames no entry with a score above "
                f"{self._threshold:g} is in both models ({self._unmatched} are in one of them "
                "alone). Use frames with people in them, or a lower score threshold; 0 compares "
                "everything, which suits random weights"
            )
        cosine = np.concatenate(self._cosine) if self._cosine else None
        return Comparison(
            frames=self._frames,
            pairs=len(iou),
            unmatched=self._unmatched / self._entries,
            boxes_px=Spread.of(px),
            iou_min=float(iou.min()),
            iou_p1=float(np.percentile(iou, 1)),
            scores=Spread.of(scores),
            cosine_min=None if cosine is None else float(cosine.min()),
            cosine_p5=None if cosine is None else float(np.percentile(cosine, 5)),
            cosine_median=None if cosine is None else float(np.median(cosine)),
        )


def _entries(outputs: Mapping[str, Array], which: str) -> dict[str, _F64]:
    found = {}
    for name in ("boxes", "scores", "embeddings"):
        if name in outputs:
            found[name] = outputs[name][0].astype(np.float64)
            if not np.isfinite(found[name]).all():
                raise SessionError(
                    f"{which} model gives NaN or infinite numbers in its output {name}; its "
                    "weights may be damaged, or its precision overflows"
                )
    return found


def _assign(iou: _F64) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The pairs of the best assignment: indices of rows and of columns."""
    if 0 in iou.shape:
        nothing = np.empty(0, np.int64)
        return nothing, nothing
    _, column, _ = lap.lapjv(1.0 - iou, extend_cost=True, cost_limit=1.0 - PAIR_IOU)
    rows = np.flatnonzero(column >= 0)
    return rows, column[rows].astype(np.int64)


def verify(
    session: Session,
    reference: Session,
    frames: Iterable[Frame],
    *,
    score_threshold: float = 0.1,
    edge: float = LIMITS["fp16"].score,
) -> Comparison:
    """Run two models on the same pictures and compare what they give.

    Args:
        session: a JDE model of any kind: ONNX, plan or checkpoint. It stays open.
        reference: another one, of the same size.
        frames: read as needed.
        score_threshold: 0 to 1; entries above it in either model count.
        edge: how far a score may be above the lowest that the other model gives before its absence
            there counts.

    Raises:
        SessionError: the sizes differ, a run fails, a model gives NaN, or there is nothing to
            compare.
        SourceError: a frame cannot be read.
    """
    size = network_size(session)
    if size != network_size(reference):
        width, height = network_size(reference)
        raise SessionError(
            f"the model takes pictures of {size[0]}x{size[1]}, the one it is compared with of "
            f"{width}x{height}; export both at one size"
        )
    agreement = Agreement(score_threshold, edge)
    for frame in frames:
        images = letterbox(frame.image, size)[0][np.newaxis]
        agreement.add(
            session.infer({session.inputs[0].name: images}),
            reference.infer({reference.inputs[0].name: images}),
        )
    return agreement.result()


def precision_of(*sessions: Session) -> str:
    """The lowest precision that models say of themselves, a name in ``LIMITS``.

    A model that says nothing, or something unknown, counts as float32.
    """
    said = " ".join(session.metadata.get("precision", "") for session in sessions)
    return next((name for name in ("int8", "fp16") if name in said), "fp32")
