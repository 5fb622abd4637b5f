"""Agreement of two models: their boxes, scores and embeddings, candidate by candidate.

Two runs on float arithmetic may rank two nearly equal scores the other way round, and a lower
precision does so often. So candidates are never compared by rank: each is paired with the candidate
of the other model that overlaps it, by the assignment with the largest sum of overlaps.

What is compared is one of two populations. *Candidates* are all entries above a score, several for
each person. *People* are what the reference model detects: candidates with a score that is tracked
(`jdetrt.evaluation.tolerance.PERSON_SCORE`), after suppression. INT8 models are judged on people,
by the calibration as well as here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import lap
import numpy as np
import numpy.typing as npt

from jdetrt.account import counted
from jdetrt.boxes import box_iou
from jdetrt.config import TrackerConfig
from jdetrt.errors import SessionError
from jdetrt.evaluation.tolerance import (
    CANDIDATE_SCORE,
    LIMITS,
    PAIR_IOU,
    PERSON_SCORE,
    Limits,
    difference_faults,
)
from jdetrt.runtime.decode import nms
from jdetrt.runtime.detector import network_size
from jdetrt.runtime.preprocess import letterbox
from jdetrt.types import Array, Frame, Session, Size

__all__ = [
    "Agreement",
    "Comparison",
    "Spread",
    "verify",
]

_F64 = npt.NDArray[np.float64]

_NMS_IOU = TrackerConfig().nms_iou


@dataclass(frozen=True, slots=True)
class Spread:
    """Largest, 99th percentile and mean of differences."""

    max: float
    p99: float
    mean: float

    @staticmethod
    def of(values: _F64) -> Spread:
        """Summarise one number or more."""
        return Spread(float(values.max()), float(np.percentile(values, 99)), float(values.mean()))


@dataclass(frozen=True, slots=True)
class Comparison:
    """Differences of two models over all frames.

    Attributes:
        frames: number of frames compared.
        population: "people" or "candidates".
        score_threshold: of the population.
        pairs: candidates, or people of the reference, with a partner in the other model.
        unmatched: share of the candidates of both that have none.
        boxes_px: largest difference of a coordinate of a pair, in network pixels.
        iou_min: smallest IoU of a pair.
        iou_p1: 1st percentile of the IoU.
        scores: difference of the scores of a pair.
        cosine_min: smallest cosine between the embeddings of a pair; None without embeddings.
        cosine_p5: 5th percentile of the cosine.
        cosine_median: median of the cosine.
    """

    frames: int
    population: str
    score_threshold: float
    pairs: int
    unmatched: float
    boxes_px: Spread
    iou_min: float
    iou_p1: float
    scores: Spread
    cosine_min: float | None
    cosine_p5: float | None
    cosine_median: float | None

    @property
    def compared(self) -> str:
        """Number of pairs in words: ``1 person``, ``20 pairs``."""
        if self.population == "people":
            return counted(self.pairs, "person", "people")
        return counted(self.pairs, "pair")

    def faults(self, limits: Limits) -> list[str]:
        """List what is outside the limits, a sentence each; empty where the models agree."""
        return difference_faults(
            limits,
            self.iou_p1,
            self.scores.p99,
            self.cosine_median,
            self.cosine_p5,
            self.unmatched,
            self.population,
        )


class Agreement:
    """Compare two models frame by frame.

    Candidates with a score above a threshold in either model are compared; a partner may have half
    of it. A candidate that the other model may only have left out for its score, because that is no
    more than ``edge`` above the lowest that it gives, does not count as unmatched.

    Args:
        score_threshold: 0 to 1; 0 compares everything that the models give.
        edge: a difference of scores.
        people: compare people and not candidates. Each person that the second model detects is
            paired with a candidate of the first; one that only the first detects is unmatched.
    """

    def __init__(self, score_threshold: float, edge: float, *, people: bool = False) -> None:
        self._threshold = score_threshold
        self._people = people
        self._edge = edge
        self._frames = self._entries = self._unmatched = 0
        self._px: list[_F64] = []
        self._iou: list[_F64] = []
        self._scores: list[_F64] = []
        self._cosine: list[_F64] = []

    def add(self, first: Mapping[str, Array], second: Mapping[str, Array]) -> None:
        """Compare the outputs of the two for the same image.

        Args:
            first: ``boxes (1, k, 4)`` in network pixels, ``scores (1, k)`` and, where the model
                has them, ``embeddings (1, k, D)``.
            second: the same of the other; its k may be another.

        Raises:
            SessionError: an output has NaN or infinite numbers.
        """
        one, other = _entries(first, "the first"), _entries(second, "the second")
        rows, columns = (np.flatnonzero(e["scores"] > self._threshold / 2) for e in (one, other))
        if self._people:
            columns = self._detected(other)
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
        lone = self._lone(b["scores"], j, one["scores"])
        if self._people:
            lone += self._unseen(one, other)
        else:
            lone += self._lone(a["scores"], i, other["scores"])
        self._unmatched += lone
        self._entries += 2 * len(i) + lone

    def _detected(self, entries: Mapping[str, _F64]) -> npt.NDArray[np.int64]:
        """Find the entries that are people: above the threshold, after suppression."""
        above = np.flatnonzero(entries["scores"] > self._threshold)
        boxes, scores = (entries[name][above].astype(np.float32) for name in ("boxes", "scores"))
        return above[nms(boxes, scores, _NMS_IOU)]

    def _unseen(self, one: Mapping[str, _F64], other: Mapping[str, _F64]) -> int:
        """Count people of the first model for whom the second has no candidate at all."""
        people = self._detected(one)
        near = other["boxes"][other["scores"] > self._threshold / 2]
        iou = box_iou(one["boxes"][people], near).max(axis=1, initial=0.0)
        return self._lone(one["scores"][people], np.flatnonzero(iou > PAIR_IOU), other["scores"])

    def _lone(self, scores: _F64, paired: npt.NDArray[np.int64], others: _F64) -> int:
        """Count candidates above the threshold that should have a partner and have none."""
        alone = np.ones(len(scores), bool)
        alone[paired] = False
        least = max(self._threshold, others.min(initial=1.0) + self._edge)
        return int((alone & (scores > least)).sum())

    def result(self) -> Comparison:
        """Compare all frames together.

        Raises:
            SessionError: there is nothing to compare.
        """
        iou, px, scores = (np.concatenate(x) for x in (self._iou, self._px, self._scores))
        if not len(iou):
            raise SessionError(
                f"nothing to compare: no {'person' if self._people else 'candidate'} with a score "
                f"above {self._threshold:g} is in both models (frames: {self._frames}, in only one "
                f"model: {self._unmatched}). Use frames with people in them, or a lower score "
                "threshold; 0 compares everything, for random weights"
            )
        cosine = np.concatenate(self._cosine) if self._cosine else None
        return Comparison(
            frames=self._frames,
            population="people" if self._people else "candidates",
            score_threshold=self._threshold,
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
    entries = {}
    for name in ("boxes", "scores", "embeddings"):
        if name in outputs:
            entries[name] = outputs[name][0].astype(np.float64)
            if not np.isfinite(entries[name]).all():
                raise SessionError(
                    f"{which} model has NaN or infinite numbers in its output {name}; its "
                    f"weights may be damaged, or its precision may be too low"
                )
    return entries


def _assign(iou: _F64) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Find the best assignment: indices of rows and of columns."""
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
    score_threshold: float | None = None,
    edge: float = LIMITS["fp16"].score,
    people: bool = False,
) -> Comparison:
    """Run two models on the same frames and compare their outputs.

    Args:
        session: a JDE model of any kind: ONNX, plan or checkpoint. It stays open.
        reference: another one, of the same size.
        frames: read as needed.
        score_threshold: 0 to 1; what is above it in either model counts. By default `PERSON_SCORE`
            or `CANDIDATE_SCORE`.
        edge: how far a score may be above the lowest that the other model gives before its absence
            there counts.
        people: compare the people that ``reference`` detects, as the calibration does, and not all
            candidates.

    Raises:
        SessionError: the sizes differ, a run fails, a model gives NaN, or there is nothing to
            compare.
        SourceError: a frame cannot be read.
    """
    size = network_size(session)
    if size != network_size(reference):
        raise SessionError(
            f"the model takes images of {Size(*size)}, but the model to compare with takes "
            f"{Size(*network_size(reference))}; export both at the same size"
        )
    if score_threshold is None:
        score_threshold = PERSON_SCORE if people else CANDIDATE_SCORE
    agreement = Agreement(score_threshold, edge, people=people)
    for frame in frames:
        images = letterbox(frame.image, size)[0][np.newaxis]
        agreement.add(
            session.infer({session.inputs[0].name: images}),
            reference.infer({reference.inputs[0].name: images}),
        )
    return agreement.result()
