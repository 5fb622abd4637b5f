"""Look through footage for frames that a calibration may be made on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from jdetrt.calibration.frames.footage import Fault, Footage
from jdetrt.calibration.frames.likeness import Look, distinct, look
from jdetrt.runtime.decode import detections
from jdetrt.runtime.detector import network_size
from jdetrt.runtime.preprocess import letterbox
from jdetrt.types import Frame, Session

__all__ = ["Candidate", "count_people", "scan"]

Seen = Callable[[], None]  # called after each frame that was looked at


@dataclass(frozen=True, slots=True)
class Candidate:
    """A frame that may be chosen.

    Attributes:
        index: its number in its source, from 1.
        name: of its file, or "".
        sha256: as in `Footage.digest`.
        look: what it looks like.
    """

    index: int
    name: str
    sha256: str
    look: Look


def scan(
    footage: Footage, limit: int, random: np.random.Generator, fault: Fault, seen: Seen
) -> tuple[list[Candidate], int]:
    """Look at frames all over a source, and keep those that differ.

    Of a folder so many pictures are read as are wanted, one somewhere in each of ``limit`` equal
    parts. A video is read to its end, because where that is, nobody knows before; from twice the
    limit on, every second frame kept so far is dropped, and from then on every second is left out.

    Args:
        footage: the source.
        limit: candidates wanted; up to twice as many are given.
        random: chooses the pictures.
        fault: told of frames that cannot be read.
        seen: called after each frame that was looked at.

    Returns:
        The candidates in order, none blank and no two alike; and how many were blank.
    """
    kept: list[Candidate] = []
    stride = 1
    for frame in footage.read(_places(len(footage.paths), limit, random), fault):
        if (frame.index - 1) % stride and not footage.paths:
            continue
        kept.append(_candidate(footage, frame))
        seen()
        if len(kept) > 2 * limit:
            kept = kept[::2]
            stride *= 2
    telling = [candidate for candidate in kept if not candidate.look.blank]
    if not telling:
        return [], len(kept)
    different = distinct(np.stack([candidate.look.bits for candidate in telling]))
    return [telling[i] for i in different], len(kept) - len(telling)


def count_people(
    footage: Footage, numbers: list[int], session: Session, fault: Fault, seen: Seen
) -> Iterator[tuple[int, int]]:
    """Let a model count the people in frames of a source.

    Yields:
        The number of a frame, and how many people a tracker would see in it.

    Raises:
        SessionError: the model fails, or gives numbers that are not finite.
    """
    size = network_size(session)
    for frame in footage.read(numbers, fault):
        image, fit = letterbox(frame.image, size)
        outputs = session.infer({session.inputs[0].name: image[np.newaxis]})
        yield frame.index, len(detections(outputs, fit))
        seen()


def _candidate(footage: Footage, frame: Frame) -> Candidate:
    return Candidate(frame.index, frame.name, footage.digest(frame), look(frame.image))


def _places(length: int, limit: int, random: np.random.Generator) -> list[int] | None:
    """Choose numbers from 1 to ``length``, one in each of ``limit`` equal parts; None for all."""
    if length <= limit:
        return None
    edges = np.linspace(0, length, limit + 1).astype(int)
    return [int(random.integers(low, high)) + 1 for low, high in itertools.pairwise(edges)]
