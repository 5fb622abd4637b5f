"""Anchor sizes fitted to the people of a data set.

K-means over widths and heights with the distance 1 - IoU of boxes with one centre (YOLO9000,
arXiv 1612.08242, section 2), so that large boxes weigh no more than small ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jdetrt.config import ANCHORS_PER_CELL, STRIDES
from jdetrt.errors import DataError
from jdetrt.runtime.preprocess import Letterbox
from jdetrt.training.data.check import image_size
from jdetrt.training.data.datasets import LabelledImages
from jdetrt.training.network.anchors import grids

__all__ = ["Fit", "fit", "network_shapes", "recluster", "shape_iou"]

Shapes = npt.NDArray[np.float64]

_ANCHORS = len(STRIDES) * ANCHORS_PER_CELL
_STARTS = 8  # from different boxes; the best result wins
_ROUNDS = 200  # at most; the clusters have settled by then
_ENOUGH = 10_000  # boxes; more of them change the anchors by less than a pixel
_FOREGROUND = 0.5  # IoU from which an anchor finds a person; paper section 3.3


@dataclass(frozen=True, slots=True)
class Fit:
    """Fit of anchors to boxes, whatever their position."""

    mean_iou: float  # of the boxes with their best anchor
    # Share of the boxes whose best anchor has an IoU above 0.5; the others have no foreground
    # anchor at any position (paper section 3.3).
    covered: float


def network_shapes(data_sets: Iterable[LabelledImages], size: tuple[int, int]) -> Shapes:
    """Width and height of every box in network pixels, its image letterboxed.

    Args:
        data_sets: boxes to ignore are not counted.
        size: network width and height, multiples of 32.

    Returns:
        ``(n, 2)`` float64.

    Raises:
        SourceError: an image is missing or broken.
        ConfigError: ``size`` is no network size.
    """
    grids(*size)
    shapes = [np.empty((0, 2))]
    for data_set in data_sets:
        for path, labels in zip(data_set.paths, data_set.labels, strict=True):
            if len(labels.boxes):
                source = image_size(path)
                boxes = labels.in_pixels(*source).boxes.astype(np.float64)
                shapes.append((boxes[:, 2:] - boxes[:, :2]) * Letterbox.fit(source, size).gain)
    return np.concatenate(shapes)


def shape_iou(shapes: Shapes, anchors: Shapes) -> Shapes:
    """IoU ``(n, k)`` of boxes with anchors of the same centre, both as width and height.

    >>> shape_iou(np.array([[10.0, 30.0]]), np.array([[10.0, 30.0], [20.0, 15.0]])).tolist()
    [[1.0, 0.3333333333333333]]
    """
    width, height = (np.minimum.outer(shapes[:, side], anchors[:, side]) for side in (0, 1))
    shared = width * height
    return np.asarray(shared / (shapes.prod(axis=1)[:, None] + anchors.prod(axis=1) - shared))


def fit(shapes: Shapes, anchors: npt.NDArray[np.float32]) -> Fit:
    """Measure the fit of anchors ``(3, 4, 2)`` to boxes ``(n, 2)``, at least one."""
    best = shape_iou(shapes, anchors.reshape(-1, 2).astype(np.float64)).max(axis=1)
    return Fit(mean_iou=float(best.mean()), covered=float((best > _FOREGROUND).mean()))


def recluster(shapes: Shapes, seed: int = 0) -> npt.NDArray[np.float32]:
    """Fit twelve anchors to boxes of these widths and heights.

    Args:
        shapes: ``(n, 2)`` in network pixels.
        seed: of the initial clusters.

    Returns:
        ``(3, 4, 2)`` float32, whole network pixels, by rising area inside a head; the four largest
        for the head /32, the four smallest for /8.

    Raises:
        DataError: there are fewer than twelve different shapes.
    """
    different = len(np.unique(shapes, axis=0))
    if different < _ANCHORS:
        raise DataError(
            f"anchors: expected boxes of {_ANCHORS} shapes at least, got {different}; add data, or "
            "keep the default anchors"
        )
    random = np.random.default_rng(seed)
    if len(shapes) > _ENOUGH:
        shapes = random.choice(shapes, _ENOUGH, replace=False)
    tries = [_k_means(shapes, _ANCHORS, random) for _ in range(_STARTS)]
    best = max(tries, key=lambda centres: shape_iou(shapes, centres).max(axis=1).mean())
    rounded = np.rint(best).clip(min=1)
    by_area = rounded[np.argsort(rounded.prod(axis=1), kind="stable")]
    return by_area.reshape(len(STRIDES), ANCHORS_PER_CELL, 2)[::-1].astype(np.float32)


def _k_means(shapes: Shapes, count: int, random: np.random.Generator) -> Shapes:
    """Cluster centres, from boxes that are drawn far apart (k-means++, Arthur 2007)."""
    centres: Shapes = shapes[random.integers(len(shapes))][None]
    while len(centres) < count:
        distance = 1.0 - shape_iou(shapes, centres).max(axis=1)
        weight = distance**2
        centres = np.vstack([centres, random.choice(shapes, p=weight / weight.sum())])
    nearest = np.full(len(shapes), -1)
    for _ in range(_ROUNDS):
        before, nearest = nearest, shape_iou(shapes, centres).argmax(axis=1)
        if np.array_equal(before, nearest):
            break
        for k in np.unique(nearest):
            centres[k] = shapes[nearest == k].mean(axis=0)
    return centres
