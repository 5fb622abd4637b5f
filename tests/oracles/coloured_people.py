"""Images of people who are rectangles, each in a colour that tells the id."""

import numpy as np

from jdetrt.training.data.sample import Sample

GROUND = (20, 20, 20)  # BGR
_DARKEST = (45, 55, 65)  # green is never equal to another channel


def colour(identity: int) -> tuple[int, int, int]:
    """The BGR colour of an id from 0 to 999; never grey, as ground and border are."""
    blue, green, red = identity % 10, identity // 10 % 10, identity // 100
    return _DARKEST[0] + 20 * blue, _DARKEST[1] + 20 * green, _DARKEST[2] + 20 * red


def identities(image: np.ndarray) -> np.ndarray:
    """``(H, W)`` the id whose colour a pixel has, to 4 levels of 256; -1 where it has nobody's."""
    digits = np.rint((image - np.array(_DARKEST)) / 20)
    off = np.abs(image - np.array(_DARKEST) - 20 * digits) > 4
    found: np.ndarray = (digits * (1, 10, 100)).sum(axis=2).astype(int)
    found[(off | (digits < 0) | (digits > 9)).any(axis=2)] = -1
    return found


def paint(size: tuple[int, int], boxes: np.ndarray, ids: list[int]) -> np.ndarray:
    """An image of ``size`` (width, height) with filled whole-numbered boxes, later ones on top."""
    image = np.full((size[1], size[0], 3), GROUND, np.uint8)
    for (left, top, right, bottom), identity in zip(boxes.astype(int), ids, strict=True):
        image[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = colour(identity)
    return image


class ColouredPeople:
    """A data set: sequences of ``frames`` images in which people stand apart in columns.

    Person k of the image with index i has the id ``people * i + k``.
    """

    def __init__(self, images: int, people: int = 3, frames: int = 5, side: int = 96) -> None:
        assert images * people <= 1000
        self.images, self.people, self.frames, self.side = images, people, frames, side
        self.identities = images * people

    def __len__(self) -> int:
        return self.images

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng(index)
        size = int(self.side * rng.uniform(1, 1.6)), self.side
        column = size[0] // self.people
        left = np.arange(self.people) * column + rng.integers(1, 4, self.people)
        wide = rng.integers(column // 2, column - 4, self.people)
        top = rng.integers(2, self.side // 3, self.people)
        tall = rng.integers(36, self.side * 3 // 5, self.people)
        boxes = np.stack([left, top, left + wide, top + tall], axis=1).astype(np.float32)
        ids = [self.people * index + k for k in range(self.people)]
        ignore = np.zeros((0, 4), np.float32)
        return Sample(paint(size, boxes, ids), boxes, np.array(ids, np.int64), ignore)

    def successor(self, index: int) -> int | None:
        following = index + 1
        return following if following % self.frames and following < self.images else None
