"""Average precision, precision and recall of detections. NumPy alone.

``judge`` matches the detections of every image with its people once, by the rules of COCO; all
numbers but one come from that. The other is the mean over images that the reference prints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from jdetrt.boxes import box_iou, covered
from jdetrt.errors import DataError
from jdetrt.types import Detections

__all__ = [
    "Judged",
    "average_precision",
    "judge",
    "match",
    "reference_average_precision",
]

_F32 = npt.NDArray[np.float32]
_F64 = npt.NDArray[np.float64]
_Boxes = npt.NDArray[np.floating[Any]]
_RECALLS = np.linspace(0.0, 1.0, 101)  # where COCO reads the precision off


@dataclass(frozen=True, slots=True)
class Judged:
    """Detections of all images together, best first, without those that are ignored.

    Attributes:
        scores: ``(d,)`` float32, descending.
        right: ``(d,)`` bool, whether each matches a person.
        people: number of people in the truth, at least 1.
    """

    scores: _F32
    right: npt.NDArray[np.bool_]
    people: int

    def average_precision(self) -> float:
        """Compute the mean of the precision at the recalls 0, 0.01, ... 1, from 0 to 1.

        The precision at a recall is the best at that recall or a higher one; 0 where no such
        recall is reached (COCO, ``accumulate``).
        """
        matches, precision = self._curve()
        envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
        reached = np.searchsorted(matches / self.people, _RECALLS, side="left")
        return float(envelope[reached].mean())

    def at(self, score_threshold: float) -> tuple[float, float]:
        """Compute precision and recall of the detections with a score above ``score_threshold``.

        The precision of no detection at all is 1: none of them is wrong.
        """
        right = self.right[self.scores > score_threshold]
        matches = int(np.count_nonzero(right))
        return matches / len(right) if len(right) else 1.0, matches / self.people

    def _curve(self) -> tuple[npt.NDArray[np.int64], _F64]:
        """Count the matches, and compute the precision, of the best 1, 2, ... detections."""
        matches = np.cumsum(self.right, dtype=np.int64)
        precision: _F64 = matches / np.arange(1, len(matches) + 1)
        return matches, precision


def judge(
    found: Sequence[Detections],
    truth: Sequence[_F32],
    ignore: Sequence[_F32] | None = None,
    *,
    iou: float = 0.5,
) -> Judged:
    """Match detections with people as COCO does (Lin et al. 2014; its ``evaluateImg``).

    In each image the detections choose by falling score: of the people not chosen yet, the one with
    the largest IoU, if it is ``iou`` or more (of several alike, the last). A detection without a
    match is wrong, unless ``iou`` of its own area or more lies in one region to ignore.

    Args:
        found: the detections of each image.
        truth: ``(n, 4)`` boxes of the people of each image, left, top, right, bottom.
        ignore: ``(m, 4)`` regions of each image in which nothing counts (COCO's crowds).
        iou: IoU from which on a detection is right.

    Raises:
        DataError: the lists are of different lengths, or there is nobody in the truth.
    """
    regions = [np.empty((0, 4), np.float32)] * len(truth) if ignore is None else ignore
    if not len(found) == len(truth) == len(regions):
        raise DataError(
            f"detections of {len(found)} images, people of {len(truth)}, "
            f"regions to ignore of {len(regions)}: expected the same number of images for each"
        )
    people = sum(map(len, truth))
    if not people:
        raise DataError(f"nobody is labelled in the images ({len(truth)}): nothing to measure")
    scores, right = [], []
    for detections, boxes, ignored in zip(found, truth, regions, strict=True):
        order = np.argsort(-detections.scores, kind="stable")
        hit = match(detections.boxes[order], boxes, iou) >= 0
        counts = hit | ~covered(detections.boxes[order], ignored, iou)
        scores.append(detections.scores[order][counts])
        right.append(hit[counts])
    all_scores = np.concatenate(scores)
    best_first = np.argsort(-all_scores, kind="stable")
    return Judged(all_scores[best_first], np.concatenate(right)[best_first], people)


def average_precision(
    found: Sequence[Detections],
    truth: Sequence[_F32],
    ignore: Sequence[_F32] | None = None,
    *,
    iou: float = 0.5,
) -> float:
    """Compute COCO's average precision at one IoU; arguments and errors are those of ``judge``.

    >>> person = np.array([[10, 10, 30, 70]], np.float32)
    >>> seen = Detections(np.concatenate([person, person + 100]), np.array([0.9, 0.8], np.float32))
    >>> average_precision([seen], [person])
    1.0
    """
    return judge(found, truth, ignore, iou=iou).average_precision()


def reference_average_precision(
    found: Sequence[Detections], truth: Sequence[_F32], *, iou: float = 0.5
) -> float:
    """Compute the number that the reference's test.py prints: a mean over images.

    Within an image the rules are PASCAL VOC's (Everingham et al. 2010, from 2010 on): a detection
    goes for the person it overlaps most, is right if that is by more than ``iou`` and no better
    one was right about the same person; the area under the envelope of precision over recall is
    taken whole. Images without a person and images without a detection are left out, the
    latter in the network's favour.

    Args:
        found: the detections of each image; the reference keeps scores above 0.3.
        truth: ``(n, 4)`` boxes of the people of each image, left, top, right, bottom.
        iou: overlap above which a detection is right.

    Returns:
        0 to 1; 0 where no image is left.

    Raises:
        DataError: the lists are of different lengths.
    """
    if len(found) != len(truth):
        raise DataError(f"detections of {len(found)} images, people of {len(truth)}")
    areas = []
    for detections, boxes in zip(found, truth, strict=True):
        if not len(detections) or not len(boxes):
            continue
        order = np.argsort(-detections.scores, kind="stable")
        overlaps = box_iou(detections.boxes[order], boxes)
        best = overlaps.argmax(axis=1)
        near = np.flatnonzero(overlaps.max(axis=1) > iou)
        right = np.zeros(len(order), bool)
        right[near[np.unique(best[near], return_index=True)[1]]] = True
        precision = np.cumsum(right) / np.arange(1, len(right) + 1)
        envelope = np.maximum.accumulate(precision[::-1])[::-1]
        areas.append(envelope[right].sum() / len(boxes))
    return float(np.mean(areas)) if areas else 0.0


def match(boxes: _F32, people: _F32, iou: float) -> npt.NDArray[np.int64]:
    """Match boxes with people, as `judge` does.

    Args:
        boxes: ``(n, 4)``, best first.
        people: ``(m, 4)``.
        iou: from which on a box may match.

    Returns:
        ``(n,)``, the row of the person that each box matches, or -1.
    """
    overlaps = box_iou(boxes, people)
    whom = np.full(len(boxes), -1)
    for i in np.flatnonzero((overlaps >= iou).any(axis=1)):
        chosen = len(people) - 1 - int(overlaps[i, ::-1].argmax())
        if overlaps[i, chosen] >= iou:
            whom[i] = chosen
            overlaps[:, chosen] = -1.0
    return whom
