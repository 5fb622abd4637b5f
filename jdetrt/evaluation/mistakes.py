"""The worst misses and false alarms of a detector on labelled images."""

from __future__ import annotations

import base64
import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from jdetrt.account import Account
from jdetrt.boxes import box_iou, covered
from jdetrt.evaluation.average_precision import match
from jdetrt.evaluation.detection import NMS_IOU
from jdetrt.evaluation.inference import ImageOutputs, infer
from jdetrt.runtime.decode import detections
from jdetrt.runtime.opencv import load_cv2
from jdetrt.types import Detections, Session

if TYPE_CHECKING:
    from jdetrt.training.data.datasets import DataSet
    from jdetrt.training.data.sample import Sample

__all__ = ["Kind", "Mistake", "Mistakes", "find_mistakes"]

_F32 = npt.NDArray[np.float32]

_IOU = 0.5  # from which on a detection is right, as for AP50
_SAME_PLACE = 0.3  # IoU of a false alarm with one of an earlier frame
_GAP = 15  # frames that a mistake may be absent and is still the same
_AROUND = 2.0  # sides of a crop, in sides of the box
_HEIGHT = 240  # pixels of a crop
_WIDEST = 480
_KEPT = 4  # times as many mistakes as are asked for are kept while more come in
_WRONG, _OTHER = (60, 60, 230), (150, 180, 60)  # BGR


@dataclass(frozen=True, slots=True)
class Mistake:
    """Somebody who is missed, or a place where nobody is, over the frames that it lasts.

    Attributes:
        image: name of the image where it is worst.
        box: ``(4,)`` float32 x1 y1 x2 y2 there, in pixels.
        score: of a false alarm; of somebody who is missed, the best score of a box that fits.
        frames: number of images.
        badness: the larger, the worse: the height of somebody in pixels, the score of nobody.
        crop: base64 of a JPEG of the surroundings.
    """

    image: str
    box: _F32
    score: float
    frames: int
    badness: float
    crop: str


@dataclass(slots=True)
class Kind:
    """Mistakes of one kind.

    Attributes:
        boxes: number in all images.
        worst: the worst first, one for each person or place.
        separate: number of persons or places.
    """

    boxes: int
    separate: int
    worst: list[Mistake]


@dataclass(frozen=True, slots=True)
class Mistakes:
    """Mistakes in a data set at a score threshold."""

    images: int
    people: int
    score_threshold: float
    misses: Kind
    false_alarms: Kind


class _Collector:
    """Mistakes of one kind, joined over frames by identity or by place."""

    def __init__(self, worst: int) -> None:
        self._worst = worst
        self._open: list[tuple[int, int, _F32, Mistake]] = []  # last frame, identity, last box
        self._closed: list[Mistake] = []
        self.boxes = self.separate = 0

    def add(self, frame: int, identity: int, mistake: Mistake) -> None:
        """Take a mistake of a frame; of unknown identity (-1) it is joined by its place."""
        self.boxes += 1
        for at, (last, known, box, old) in enumerate(self._open):
            alike = known == identity >= 0 or (
                known == identity and box_iou(box[None], mistake.box[None])[0, 0] >= _SAME_PLACE
            )
            if alike and last < frame:
                new = mistake if mistake.badness > old.badness else old
                new = replace(new, frames=old.frames + 1)
                self._open[at] = frame, identity, mistake.box, new
                return
        self.separate += 1
        self._open.append((frame, identity, mistake.box, mistake))

    def close(self, frame: int) -> None:
        """Stop joining mistakes to those that ended long before a frame."""
        self._closed += [one for last, _, _, one in self._open if last < frame - _GAP]
        self._open = [entry for entry in self._open if entry[0] >= frame - _GAP]
        if len(self._closed) > _KEPT * self._worst:
            self._closed = self._best(self._closed)

    def kind(self) -> Kind:
        """All that was collected."""
        return Kind(self.boxes, self.separate, self._best(self._closed))

    def _best(self, mistakes: Sequence[Mistake]) -> list[Mistake]:
        return heapq.nlargest(self._worst, mistakes, key=lambda one: one.badness)


def find_mistakes(
    session: Session,
    data: DataSet,
    names: Sequence[str],
    *,
    size: tuple[int, int] | None = None,
    score_threshold: float = 0.5,
    worst: int = 50,
    images: Account | None = None,
    on_image: Callable[[int], None] = lambda _: None,
) -> Mistakes:
    """Run a detector over labelled images and keep its worst mistakes.

    Consecutive frames show the same mistakes: a person of one identity who is missed, and false
    alarms at one place, count once, where they are worst, with the number of frames.

    Args:
        session: a JDE model. It stays open.
        data: labelled images.
        names: of the images.
        size: network width and height, for a model that leaves them free.
        score_threshold: detections with a score above it count.
        worst: number of mistakes of each kind that are kept.
        images: counts them; those that cannot be read are left out.
        on_image: called with the number of images that are done.

    Raises:
        SessionError: the model fails.
        DataError: not one image can be read.
    """
    from jdetrt.training.data.datasets import readable  # which loads torch

    misses, alarms = _Collector(worst), _Collector(worst)
    people = frame = 0
    indices: list[int] = []
    images = Account("image") if images is None else images

    def samples() -> Iterator[Sample]:
        for index, sample in readable(data, images):
            indices.append(index)
            yield sample

    for count, one in enumerate(infer(session, samples(), size=size), start=1):
        index = indices[count - 1]
        follows = count > 1 and data.successor(indices[count - 2]) == index
        frame += 1 if follows else _GAP + 2
        for collector in (misses, alarms):
            collector.close(frame)
        people += len(one.sample.boxes)
        _judge(one, names[index], frame, score_threshold, misses, alarms)
        on_image(index + 1)
    for collector in (misses, alarms):
        collector.close(frame + _GAP + 2)
    return Mistakes(images.taken, people, score_threshold, misses.kind(), alarms.kind())


def _judge(
    one: ImageOutputs,
    name: str,
    frame: int,
    threshold: float,
    misses: _Collector,
    alarms: _Collector,
) -> None:
    outputs = {key: array for key, array in one.outputs.items() if key in ("boxes", "scores")}
    every = detections(outputs, one.letterbox, score_threshold=0.0, nms_iou=NMS_IOU)
    sample = one.sample
    people = sample.boxes.clip(min=0)
    certain: Detections = every[every.scores > threshold]
    whom = match(certain.boxes, people, _IOU)
    for row in np.setdiff1d(np.arange(len(people)), whom):
        fits = box_iou(people[row : row + 1], every.boxes)[0] >= _IOU
        score = float(every.scores[fits].max(initial=0.0))
        box = people[row]
        mistake = Mistake(
            name, box, score, 1, float(box[3] - box[1]), _crop(sample, box, certain.boxes)
        )
        misses.add(frame, int(sample.ids[row]), mistake)
    wrong = (whom < 0) & ~covered(certain.boxes, sample.ignore, _IOU)
    for box, score in zip(certain.boxes[wrong], certain.scores[wrong].tolist(), strict=True):
        alarms.add(frame, -1, Mistake(name, box, score, 1, score, _crop(sample, box, people)))


def _crop(sample: Sample, box: _F32, others: _F32) -> str:
    """Crop of an image around a box, which is drawn, and thinner the others."""
    cv2 = load_cv2()
    height, width = sample.image.shape[:2]
    centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) * _AROUND / 2
    half = np.maximum(half, max(half) * 0.6)  # of thin boxes, enough of what is beside them
    low = np.clip(np.floor(centre - half), 0, (width - 1, height - 1)).astype(int)
    high = np.clip(np.ceil(centre + half), low + 1, (width, height)).astype(int)
    cut = sample.image[low[1] : high[1], low[0] : high[0]]
    gain = min(_HEIGHT / cut.shape[0], _WIDEST / cut.shape[1])
    sides = np.maximum(np.rint(np.array(cut.shape[1::-1]) * gain), 1).astype(int)
    drawn = cv2.resize(cut, sides.tolist(), interpolation=cv2.INTER_LINEAR)
    for boxes, colour, line in ((others, _OTHER, 1), (box[None], _WRONG, 2)):
        for corners in (boxes.reshape(-1, 2, 2) - low) * gain:
            first, last = np.rint(corners).astype(int).tolist()
            cv2.rectangle(drawn, first, last, colour, line)
    encoded = cv2.imencode(".jpg", drawn, [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
    return base64.b64encode(encoded.tobytes()).decode()
