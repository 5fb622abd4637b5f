"""How well a model detects people: average precision on labelled pictures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from jdetrt.evaluation.average_precision import judge, reference_average_precision
from jdetrt.evaluation.inference import Seen, infer
from jdetrt.runtime.decode import detections
from jdetrt.types import Detections, Session

if TYPE_CHECKING:
    from jdetrt.training.data.sample import Sample

__all__ = ["DetectionScores", "DetectionTest", "evaluate_detection"]

NMS_IOU = 0.5  # reference test.py, command line
REFERENCE_SCORE = 0.3  # reference test.py: what is below is not looked at


@dataclass(frozen=True, slots=True)
class DetectionScores:
    """Detection accuracy, everything from 0 to 1 but the counts.

    Attributes:
        ap50: COCO's average precision at an IoU of 0.5, over the boxes of all pictures.
        reference_ap: what the reference prints: per picture, averaged, scores above 0.3.
        precision: at ``score_threshold``.
        recall: at ``score_threshold``.
        score_threshold: that the tracker uses.
        pictures: how many.
        people: boxes to find.
    """

    ap50: float
    reference_ap: float
    precision: float
    recall: float
    score_threshold: float
    pictures: int
    people: int

    def to_dict(self) -> dict[str, float | int]:
        """The numbers by name."""
        return asdict(self)


class DetectionTest:
    """Collects what a model detects, picture by picture.

    Args:
        score_threshold: at which precision and recall are given.
        nms_iou: overlap above which two detections are one.
    """

    def __init__(self, *, score_threshold: float = 0.5, nms_iou: float = NMS_IOU) -> None:
        self._score_threshold = score_threshold
        self._nms_iou = nms_iou
        self._found: list[Detections] = []
        self._truth: list[npt.NDArray[np.float32]] = []
        self._ignore: list[npt.NDArray[np.float32]] = []

    def add(self, seen: Seen) -> None:
        """Take in one picture. Raises SessionError where the outputs are no detections."""
        outputs = {k: array for k, array in seen.outputs.items() if k in ("boxes", "scores")}
        found = detections(outputs, seen.letterbox, score_threshold=0.0, nms_iou=self._nms_iou)
        self._found.append(found)
        # Detections are clamped at the left and upper edge of the picture; so are the people.
        self._truth.append(seen.sample.boxes.clip(min=0))
        self._ignore.append(seen.sample.ignore)

    def scores(self) -> DetectionScores:
        """The numbers of all pictures together. Raises DataError where nobody was to be found."""
        judged = judge(self._found, self._truth, self._ignore)
        confident = [_above(found, REFERENCE_SCORE) for found in self._found]
        precision, recall = judged.at(self._score_threshold)
        return DetectionScores(
            ap50=judged.average_precision(),
            reference_ap=reference_average_precision(confident, self._truth),
            precision=precision,
            recall=recall,
            score_threshold=self._score_threshold,
            pictures=len(self._truth),
            people=judged.people,
        )


def evaluate_detection(
    session: Session,
    samples: Iterable[Sample],
    *,
    size: tuple[int, int] | None = None,
    batch: int = 1,
    score_threshold: float = 0.5,
    nms_iou: float = NMS_IOU,
) -> DetectionScores:
    """Measure how well a model detects people.

    Args:
        session: a model of any kind; a network in training is one as ``TorchSession``.
        samples: labelled pictures.
        size: network width and height, for a model that leaves them free.
        batch: pictures at a time, where the model takes more than one.
        score_threshold: at which precision and recall are given.
        nms_iou: overlap above which two detections are one.

    Raises:
        SessionError: the model fails, or gives numbers that are not finite.
        DataError: there is nobody to find.
    """
    test = DetectionTest(score_threshold=score_threshold, nms_iou=nms_iou)
    for seen in infer(session, samples, size=size, batch=batch):
        test.add(seen)
    return test.scores()


def _above(found: Detections, score: float) -> Detections:
    kept = found.scores > score
    return Detections(found.boxes[kept], found.scores[kept])
