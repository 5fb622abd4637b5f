"""Detection scores of a model: average precision on labelled images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from jdetrt.config import TrackerConfig
from jdetrt.evaluation.average_precision import judge, reference_average_precision
from jdetrt.evaluation.inference import ImageOutputs, infer
from jdetrt.runtime.decode import detections
from jdetrt.types import Detections, Session

if TYPE_CHECKING:
    from jdetrt.training.data.sample import Sample

__all__ = ["DetectionScores", "DetectionTest", "evaluate_detection"]

SCORE = TrackerConfig().score_threshold
NMS_IOU = 0.5  # reference test.py, command line
REFERENCE_SCORE = 0.3  # reference test.py: lower scores are ignored


@dataclass(frozen=True, slots=True)
class DetectionScores:
    """Detection accuracy, everything from 0 to 1 but the counts.

    Attributes:
        ap50: COCO's average precision at an IoU of 0.5, over the boxes of all images.
        reference_ap: as the reference prints it: per image, averaged, scores above 0.3.
        precision: at ``score_threshold``.
        recall: at ``score_threshold``.
        score_threshold: of precision and recall.
        pictures: number of images.
        people: number of labelled boxes.
    """

    ap50: float
    reference_ap: float
    precision: float
    recall: float
    score_threshold: float
    pictures: int
    people: int

    def to_dict(self) -> dict[str, float | int]:
        """Numbers by name, for JSON."""
        return asdict(self)


class DetectionTest:
    """Collects detections image by image.

    Args:
        score_threshold: at which precision and recall are given.
        nms_iou: overlap above which two detections are one.
    """

    def __init__(
        self, *, score_threshold: float = TrackerConfig().score_threshold, nms_iou: float = NMS_IOU
    ) -> None:
        self._score_threshold = score_threshold
        self._nms_iou = nms_iou
        self._detections: list[Detections] = []
        self._truth: list[npt.NDArray[np.float32]] = []
        self._ignore: list[npt.NDArray[np.float32]] = []

    def add(self, image: ImageOutputs) -> None:
        """Add one image. Raises SessionError where the outputs are no detections."""
        outputs = {k: array for k, array in image.outputs.items() if k in ("boxes", "scores")}
        people = detections(outputs, image.letterbox, score_threshold=0.0, nms_iou=self._nms_iou)
        self._detections.append(people)
        # Detections are clamped at the left and upper edge of the image; so are the people.
        self._truth.append(image.sample.boxes.clip(min=0))
        self._ignore.append(image.sample.ignore)

    def scores(self) -> DetectionScores:
        """Compute the scores of all images. Raises DataError where nobody is labelled."""
        judged = judge(self._detections, self._truth, self._ignore)
        confident = [one[one.scores > REFERENCE_SCORE] for one in self._detections]
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
    score_threshold: float = SCORE,
    nms_iou: float = NMS_IOU,
) -> DetectionScores:
    """Measure the detections of a model.

    Args:
        session: a model of any kind; a network in training is one as ``TorchSession``.
        samples: labelled images.
        size: network width and height, for a model that leaves them free.
        batch: images at a time, where the model takes more than one.
        score_threshold: at which precision and recall are given.
        nms_iou: overlap above which two detections are one.

    Raises:
        SessionError: the model fails, or gives numbers that are not finite.
        DataError: nobody is labelled.
    """
    test = DetectionTest(score_threshold=score_threshold, nms_iou=nms_iou)
    for image in infer(session, samples, size=size, batch=batch):
        test.add(image)
    return test.scores()
