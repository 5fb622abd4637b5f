"""A MOT sequence of coloured blocks that walk, and a session that sees just what is true."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np

from jdetrt.config import default_config
from jdetrt.runtime.settings import tracker_note
from jdetrt.testing import FakeSession
from jdetrt.training.data.datasets import open_data_set
from jdetrt.training.data.sample import Sample
from jdetrt.types import Detections

CLIP = (256, 128)  # width and height of the images
NET = (128, 64)  # of the network, half of it: no border
FRAMES = 6
PEOPLE = 3


def walkers(folder: Path, frames: int = FRAMES, people: int = PEOPLE) -> Path:
    """Write a sequence; person ``p`` walks 4 pixels a frame, 80 pixels from the next one."""
    (folder / "gt").mkdir(parents=True)
    (folder / "img1").mkdir()
    rows = []
    for frame in range(1, frames + 1):
        image = np.full((CLIP[1], CLIP[0], 3), 90, np.uint8)
        for person in range(people):
            left, top = 80 * person + 4 * frame, 20 + 8 * person
            image[top : top + 72, left : left + 24] = 255 - 60 * person, 60 * person, 200
            rows.append(f"{frame},{person + 1},{left},{top},24,72,1,1,1\n")
        cv2.imwrite(str(folder / "img1" / f"{frame:06d}.png"), image)
    (folder / "gt" / "gt.txt").write_text("".join(rows))
    (folder / "seqinfo.ini").write_text(
        f"[Sequence]\nname=walkers\nimDir=img1\nframeRate=25\nseqLength={frames}\n"
        f"imWidth={CLIP[0]}\nimHeight={CLIP[1]}\nimExt=.png\n"
    )
    return folder


def samples_of(folder: Path) -> list[Sample]:
    """All frames with their labels."""
    data = open_data_set(folder)
    return [data[index] for index in range(len(data))]


def true_session(
    samples: list[Sample],
    size: tuple[int, int] = NET,
    change: Callable[[int, Detections], Detections] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> FakeSession:
    """A session that sees the people of the samples in turn; each identity has its own embedding.

    Args:
        samples: what will be fed, in this order.
        size: network width and height.
        change: what it is to see instead, given the index of the sample and the truth.
        metadata: what it says about itself; by default that the reference's tracker suits it.
    """
    if metadata is None:
        metadata = tracker_note(default_config("reference"))
    dim = 1 + max(int(sample.ids.max(initial=-1)) for sample in samples)
    frames = []
    for index, sample in enumerate(samples):
        scores = np.linspace(0.95, 0.6, len(sample.boxes), dtype=np.float32)
        seen = Detections(sample.boxes, scores, np.eye(dim, dtype=np.float32)[sample.ids])
        frames.append(seen if change is None else change(index, seen))
    height, width, _ = samples[0].image.shape
    return FakeSession.from_detections(
        frames, size=size, source_size=(width, height), metadata=metadata
    )
