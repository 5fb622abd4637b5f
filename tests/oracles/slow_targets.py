"""Target assignment, one anchor and one box at a time, without rounding.

Written from a description of Towards-Realtime-MOT e9fa1e8 utils/utils.py, build_targets_thres, to
test the fast version against. Boxes are centre x, centre y, width, height in network pixels,
regions left, top, right, bottom; both must be multiples of a quarter, so that floats are exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

STRIDES = (32, 16, 8)

Box = tuple[float, float, float, float]


@dataclass
class Person:
    image: int
    identity: int
    box: Box


@dataclass
class Region:
    image: int
    corners: Box


@dataclass
class HeadTargets:
    """By (image, anchor, row, column), and by (image, row, column)."""

    labels: dict[tuple[int, int, int, int], int] = field(default_factory=dict)
    deltas: dict[tuple[int, int, int, int], tuple[float, float, float, float]] = field(
        default_factory=dict
    )
    ids: dict[tuple[int, int, int], int] = field(default_factory=dict)


def iou(a: Box, b: Box) -> Fraction:
    """Of two boxes given by centre and size."""
    across = min(a[0] + a[2] / 2, b[0] + b[2] / 2) - max(a[0] - a[2] / 2, b[0] - b[2] / 2)
    along = min(a[1] + a[3] / 2, b[1] + b[3] / 2) - max(a[1] - a[3] / 2, b[1] - b[3] / 2)
    if across <= 0 or along <= 0:
        return Fraction(0)
    overlap = Fraction(across) * Fraction(along)
    return overlap / (Fraction(a[2] * a[3] + b[2] * b[3]) - overlap)


def clamped(box: Box, stride: int, rows: int, columns: int) -> Box:
    """With its centre moved into the range of the grid's corners."""
    x = min(max(box[0], 0.0), (columns - 1.0) * stride)
    y = min(max(box[1], 0.0), (rows - 1.0) * stride)
    return x, y, box[2], box[3]


def assign_head(
    stride: int,
    size: tuple[int, int],
    images: int,
    anchors: Sequence[tuple[int, int]],
    people: Sequence[Person],
    regions: Sequence[Region] = (),
) -> HeadTargets:
    columns, rows = size[0] // stride, size[1] // stride
    out = HeadTargets()
    for image in range(images):
        for row in range(rows):
            for column in range(columns):
                out.ids[image, row, column] = -1
                for a, (width, height) in enumerate(anchors):
                    place = (image, a, row, column)
                    x, y = column * stride, row * stride
                    anchor = (x, y, width, height)
                    most, owner = Fraction(0), None
                    for person in people:
                        if person.image == image:
                            box = clamped(person.box, stride, rows, columns)
                            if iou(anchor, box) > most:
                                most, owner = iou(anchor, box), (person, box)
                    if owner is not None and most > Fraction(1, 2):
                        person, box = owner
                        out.labels[place] = 1
                        out.deltas[place] = (
                            (box[0] - x) / width,
                            (box[1] - y) / height,
                            math.log(box[2] / width),
                            math.log(box[3] / height),
                        )
                        cell = (image, row, column)
                        out.ids[cell] = max(out.ids[cell], person.identity)
                    elif Fraction(2, 5) < most < Fraction(1, 2) or any(
                        covers(region.corners, anchor)
                        for region in regions
                        if region.image == image
                    ):
                        out.labels[place] = -1
                    else:
                        out.labels[place] = 0
    return out


def covers(region: Box, anchor: Box) -> bool:
    """Whether a region to ignore has an anchor's centre in it, or much of their area in common."""
    left, top, right, bottom = region
    if left <= anchor[0] < right and top <= anchor[1] < bottom:
        return True
    box = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
    return iou(box, anchor) > Fraction(2, 5)
