"""Tolerances within which two models agree, by precision, and the faults outside of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from jdetrt.account import counted
from jdetrt.config import TrackerConfig
from jdetrt.types import Session

__all__ = [
    "CANDIDATE_SCORE",
    "LIMITS",
    "PAIR_IOU",
    "PERSON_SCORE",
    "Limits",
    "difference_faults",
    "few",
    "people_faults",
    "precision_of",
]

_F64 = npt.NDArray[np.float64]

# Pairs overlap by more than this; whatever overlaps less is another candidate.
PAIR_IOU = 0.5
CANDIDATE_SCORE = 0.1
PERSON_SCORE = TrackerConfig().score_threshold  # that the reference tracks
_FEW = 20  # people; a percentile of fewer is the worst of them


class Limits(NamedTuple):
    """Limits within which two models agree.

    Attributes:
        iou: smallest 1st percentile of the IoU of pairs.
        score: largest 99th percentile of the difference of scores.
        cosine: smallest median cosine between the embeddings of pairs.
        cosine_p5: smallest 5th percentile of the cosine.
        unmatched: largest share of candidates without a partner.
    """

    iou: float
    score: float
    cosine: float
    cosine_p5: float
    unmatched: float


# By the lower precision of the two. A GPU multiplies float32 as TF32 unless it is told otherwise,
# which rounds its factors as float16 does. For float16 itself see `jdetrt.export.parity`. For INT8
# the cosine is the target of the calibration.
LIMITS: Mapping[str, Limits] = {
    "fp32": Limits(iou=0.98, score=0.005, cosine=0.9999, cosine_p5=0.999, unmatched=0.01),
    "fp16": Limits(iou=0.95, score=0.02, cosine=0.999, cosine_p5=0.99, unmatched=0.02),
    "int8": Limits(iou=0.8, score=0.1, cosine=0.99, cosine_p5=0.9, unmatched=0.05),
}


def people_faults(iou: _F64, scores: _F64, cosine: _F64, limits: Limits) -> list[str]:
    """List what is outside of the limits, for people whose partners are known.

    Args:
        iou: ``(n,)`` of their boxes, at least one; without an overlap of 0.5 they have no partner.
        scores: ``(n,)`` differences without sign.
        cosine: ``(n,)`` of their embeddings.
        limits: within which the models agree.
    """
    paired = iou > PAIR_IOU
    if not paired.any():
        return [f"none of {counted(len(iou), 'person', 'people')} has a partner"]
    return difference_faults(
        limits,
        float(np.percentile(iou[paired], 1)),
        float(np.percentile(scores[paired], 99)),
        float(np.median(cosine[paired])),
        float(np.percentile(cosine[paired], 5)),
        float((~paired).sum() / (len(paired) + paired.sum())),  # of both models, as `verify` counts
        "people",
    )


def few(count: int, frames: int, population: str = "people") -> str | None:
    """Warn where few people or candidates decide; None for 20 and more.

    >>> few(1, 3)
    'only 1 person in 3 frames to judge by; add frames with more people'
    """
    if count >= _FEW:
        return None
    nouns = ("person", "people") if population == "people" else ("candidate", "candidates")
    return (
        f"only {counted(count, *nouns)} in {counted(frames, 'frame')} to judge by; add frames with "
        "more people"
    )


def difference_faults(
    limits: Limits,
    iou_p1: float,
    score_p99: float,
    cosine_median: float | None,
    cosine_p5: float | None,
    unmatched: float,
    population: str,
) -> list[str]:
    """List which of the differences are outside of the limits, a sentence each.

    Args:
        limits: within which the models agree.
        iou_p1: 1st percentile of the IoU of pairs.
        score_p99: 99th percentile of the difference of scores.
        cosine_median: of the embeddings of pairs; None without embeddings.
        cosine_p5: 5th percentile of the same.
        unmatched: share without a partner, 0 to 1.
        population: that is compared, in the plural.
    """
    faults = []
    if iou_p1 < limits.iou:
        faults.append(f"1st-percentile IoU is {iou_p1:.4g} (limit {limits.iou:g})")
    if score_p99 > limits.score:
        faults.append(
            f"99th-percentile score difference is {score_p99:.4g} (limit {limits.score:g})"
        )
    if cosine_median is not None and cosine_median < limits.cosine:
        faults.append(
            f"median cosine of the embeddings is {cosine_median:.6g} (limit {limits.cosine:g})"
        )
    if cosine_p5 is not None and cosine_p5 < limits.cosine_p5:
        faults.append(
            f"5th-percentile cosine of the embeddings is {cosine_p5:.6g} (limit "
            f"{limits.cosine_p5:g})"
        )
    if unmatched > limits.unmatched:
        faults.append(
            f"{unmatched:.2%} of the {population} have no partner (limit {limits.unmatched:.2%})"
        )
    return faults


def precision_of(*sessions: Session) -> str:
    """Find the lowest precision that models record, a name in ``LIMITS``.

    A model that records none, or an unknown one, counts as float32.
    """
    recorded = " ".join(session.metadata.get("precision", "") for session in sessions)
    return next((name for name in ("int8", "fp16") if name in recorded), "fp32")
