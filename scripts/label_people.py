"""Label the people of images that have no labels, or not all: a MOT sequence to train detection on.

usage: label_people.py NANODET.onnx SOURCE OUT [EVERY]. SOURCE is a video (every EVERY-th frame), or
a folder of images with labels in a form that `jdetrt train` reads. NanoDet-g looks at each image at
three scales. A person whom two of them find is labelled; what only one of them finds, or is unsure
of, is a region to ignore, so that nothing is learnt from it. Labels that are there stay, and what
is found beside them is ignored.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click
import cv2
import numpy as np
import numpy.typing as npt

from jdetrt.export.torch_session import TorchSession
from jdetrt.runtime.decode import detections
from jdetrt.runtime.preprocess import letterbox
from jdetrt.training.checkpoints.nanodet_weights import read_nanodet
from jdetrt.training.data.datasets import open_data_set
from jdetrt.training.network.model import JdeNetwork, random_network
from jdetrt.types import Detections, Size

LONGEST = (416, 576, 832)  # sides in pixels that images are looked at with
SURE = 0.5  # a score of a box that is labelled, if
AGREED = 0.25  # another scale gives at least this one
UNSURE = 0.25  # what scores less is background
SAME = 0.5  # IoU of boxes of one person
NMS = 0.5
COVERED = 0.6  # of a box by a labelled one: a part of a person who is labelled already

Boxes = npt.NDArray[np.float32]
Labelled = tuple[npt.NDArray[np.uint8], Boxes, Boxes]  # image, people, regions to ignore


def overlaps(first: Boxes, second: Boxes) -> tuple[Boxes, Boxes]:
    """IoU ``(n, m)``, and the share of each first box that the second covers."""
    a, b = first[:, None], second[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    both = sides.clip(min=0).prod(-1)
    areas = [(c[..., 2:] - c[..., :2]).prod(-1) for c in (a, b)]
    return both / (areas[0] + areas[1] - both), both / np.maximum(areas[0], 1e-6)


class Teacher:
    """NanoDet-g at several scales."""

    def __init__(self, network: JdeNetwork) -> None:
        self._network = network
        self._sessions: dict[Size, TorchSession] = {}

    def _look(self, image: npt.NDArray[np.uint8], longest: int) -> Detections:
        sides = Size.of(image)
        gain = longest / max(sides)
        size = Size(*(max(round(side * gain / 32), 1) * 32 for side in sides))
        if size not in self._sessions:
            self._sessions[size] = TorchSession(self._network, size)
        blob, fit = letterbox(image, size)
        outputs = self._sessions[size].infer({"images": blob[None]})
        return detections(outputs, fit, score_threshold=UNSURE, nms_iou=NMS)

    def __call__(self, image: npt.NDArray[np.uint8]) -> tuple[Boxes, Boxes]:
        """People, and regions to ignore."""
        looks = [self._look(image, longest) for longest in LONGEST]
        boxes = np.concatenate([look.boxes for look in looks])
        scores = np.concatenate([look.scores for look in looks])
        scale = np.repeat(np.arange(len(looks)), [len(look.boxes) for look in looks])
        iou, _ = overlaps(boxes, boxes)
        people, ignored = [], []
        free = np.ones(len(boxes), bool)
        for best in np.argsort(-scores, kind="stable"):
            if not free[best]:
                continue
            alike = free & (iou[best] >= SAME)
            free[alike] = False
            others = scores[alike & (scale != scale[best])]
            sure = scores[best] >= SURE and others.max(initial=0.0) >= AGREED
            weights = scores[alike, None]
            box = (boxes[alike] * weights).sum(0) / weights.sum()
            (people if sure else ignored).append(box)
        return _boxes(people), _boxes(ignored)


def _boxes(rows: list[Boxes]) -> Boxes:
    return np.array(rows, np.float32).reshape(-1, 4)


def labelled(teacher: Teacher, source: Path) -> Iterator[Labelled]:
    """Images with labels of their own; what the teacher finds beside them is ignored."""
    images = open_data_set(source)
    for at in range(len(images)):
        sample = images[at]
        found = np.concatenate(teacher(sample.image))
        iou, covered = overlaps(found, sample.boxes)
        known = (iou >= SAME).any(1) | (covered >= COVERED).any(1)
        yield sample.image, sample.boxes, np.concatenate([sample.ignore, found[~known]])


def frames(teacher: Teacher, source: Path, every: int) -> Iterator[Labelled]:
    """Every so many frames of a video."""
    video = cv2.VideoCapture(str(source))
    at = 0
    while True:
        read, image = video.read()
        if not read:
            return
        if at % every == 0:
            yield np.asarray(image, np.uint8), *teacher(np.asarray(image, np.uint8))
        at += 1


def main(nanodet: Path, source: Path, output: Path, every: str = "1") -> None:
    """Label, write a sequence."""
    network = random_network(0, "nanodet-g", 64)
    read_nanodet(network, nanodet)
    teacher = Teacher(network.eval())
    (output / "img1").mkdir(parents=True)
    (output / "gt").mkdir()
    rows, people = [], 0
    given = labelled(teacher, source) if source.is_dir() else frames(teacher, source, int(every))
    for number, (image, boxes, ignored) in enumerate(given, start=1):
        cv2.imwrite(
            str(output / "img1" / f"{number:06d}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 92]
        )
        people += len(boxes)
        for some, mark in ((boxes, 1), (ignored, 0)):
            for x1, y1, x2, y2 in some.tolist():
                rows.append(
                    f"{number},-1,{x1:.1f},{y1:.1f},{x2 - x1:.1f},{y2 - y1:.1f},{mark},1,1\n"
                )
    (output / "gt" / "gt.txt").write_text("".join(rows))
    click.echo(f"{output}: {number} images, {people} people, {len(rows) - people} regions ignored")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]), *sys.argv[4:])
