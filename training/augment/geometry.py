"""Random colours, geometry and windows of labelled images, as in the reference (utils/datasets.py).

Every function takes a sample and returns another; its input is not changed. Boxes follow the
pixels. If a cut leaves too little of a box to learn from, the rest becomes a region to ignore.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from jdetrt.runtime.opencv import load_cv2
from jdetrt.runtime.preprocess import BORDER, Letterbox
from jdetrt.training.data.sample import Sample
from jdetrt.training.recipe import AugmentConfig
from jdetrt.types import Size

__all__ = [
    "affine",
    "affine_matrix",
    "clip",
    "flip",
    "hsv",
    "letterbox_sample",
    "mosaic",
    "place",
    "warp",
    "window",
]

Rng = np.random.Generator
Boxes = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float64]

_LEAST_VISIBLE = 1.0  # network pixels of a side; a smaller region is dropped
_MOSAIC_CENTRE = (0.3, 0.7)  # of width and height


def hsv(sample: Sample, config: AugmentConfig, rng: Rng) -> Sample:
    """Change saturation and value, and the hue where it is configured.

    Saturation and value are each multiplied by 1 - fraction to 1 + fraction and truncated to whole
    numbers up to 255, as in the reference.
    """
    cv2 = load_cv2()
    levels = np.arange(256)
    saturation = 1 + rng.uniform(-1, 1) * config.saturation
    value = 1 + rng.uniform(-1, 1) * config.value
    hue = rng.uniform(-1, 1) * config.hue if config.hue else 0.0
    table = np.stack(
        [
            (levels + round(hue * 180)) % 180,  # OpenCV's hue goes from 0 to 179
            np.minimum(levels * saturation, 255),
            np.minimum(levels * value, 255),
        ],
        axis=-1,
    ).astype(np.uint8)
    channels = cv2.cvtColor(sample.image, cv2.COLOR_BGR2HSV)
    image = cv2.cvtColor(cv2.LUT(channels, table[None]), cv2.COLOR_HSV2BGR)
    return replace(sample, image=image)


def letterbox_sample(sample: Sample, size: tuple[int, int]) -> Sample:
    """Fit a sample into the network's ``size`` (width, height), with grey borders.

    Boxes move by the border before rounding, as in the reference: up to half a pixel off.
    """
    cv2 = load_cv2()
    fit = Letterbox.fit(Size.of(sample.image), size)
    part = cv2.resize(sample.image, fit.resized_size, interpolation=cv2.INTER_AREA)
    image = _blank(size)
    image[fit.top : size[1] - fit.bottom, fit.left : size[0] - fit.right] = part
    shift = np.array([fit.left + fit.right, fit.top + fit.bottom] * 2) / 2

    def fitted(boxes: Boxes) -> Boxes:
        return np.asarray(boxes * fit.gain + shift, np.float32)

    return replace(sample, image=image, boxes=fitted(sample.boxes), ignore=fitted(sample.ignore))


def window(
    sample: Sample, size: tuple[int, int], gain: float, config: AugmentConfig, rng: Rng
) -> Sample:
    """Cut a window out of the image and scale it by about ``gain`` to ``size`` (width, height).

    The window lies at random around a random person, or anywhere in an image without people. If
    the whole image takes less than ``size``, the result is smaller (see ``place``).
    """
    cv2 = load_cv2()
    sides = np.array(sample.image.shape[1::-1])
    extent = np.clip(np.rint(np.array(size) / gain), 1, sides).astype(int)
    drawn = np.where(extent < sides, size, np.clip(np.rint(sides * gain), 1, size)).astype(int)
    lowest, highest = np.zeros(2, int), sides - extent
    if len(sample.boxes):
        person = sample.boxes[rng.integers(len(sample.boxes))]
        centre = np.clip((person[:2] + person[2:]) / 2, 0, sides).astype(int)
        lowest, highest = np.clip(centre - extent, 0, highest), np.clip(centre, 0, highest)
    start = rng.integers(lowest, highest + 1)
    (x, y), (right, bottom) = start, start + extent
    image = cv2.resize(
        sample.image[y:bottom, x:right],
        tuple(drawn.tolist()),
        interpolation=cv2.INTER_AREA if gain < 1 else cv2.INTER_LINEAR,
    )
    ratio, corner = np.tile(drawn / extent, 2), np.tile(start, 2)

    def moved(boxes: Boxes) -> Boxes:
        return np.asarray((boxes - corner) * ratio, np.float32)

    cut = replace(sample, image=image, boxes=moved(sample.boxes), ignore=moved(sample.ignore))
    return clip(cut, areas(cut.boxes) * config.min_seen, config)


def place(sample: Sample, size: tuple[int, int], rng: Rng) -> Sample:
    """Put a sample at a random position on grey of ``size`` (width, height), at least its own."""
    height, width = sample.image.shape[:2]
    x, y = rng.integers((size[0] - width + 1, size[1] - height + 1)).tolist()
    image = _blank(size)
    image[y : y + height, x : x + width] = sample.image
    shift = np.array([x, y, x, y], np.float32)
    return replace(sample, image=image, boxes=sample.boxes + shift, ignore=sample.ignore + shift)


def mosaic(
    samples: Sequence[Sample],
    size: tuple[int, int],
    config: AugmentConfig,
    rng: Rng,
) -> Sample:
    """Put windows of four samples together, each in its own colours, around a random point.

    The image has the network's ``size`` (width, height); the point lies near its centre.
    """
    width, height = size
    x, y = (round(side * rng.uniform(*_MOSAIC_CENTRE)) for side in size)
    corners = ((0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height))
    image = _blank(size)
    boxes, ids, ignore = [], [], []
    for sample, (left, top, right, bottom) in zip(samples, corners, strict=True):
        part_size = (right - left, bottom - top)
        source = sample.image.shape[1::-1]
        whole = min(width / source[0], height / source[1])
        covering = max(part_size[0] / source[0], part_size[1] / source[1])
        gain = max(covering, whole * rng.uniform(*config.zoom))
        part = hsv(window(sample, part_size, gain, config, rng), config, rng)
        image[top:bottom, left:right] = part.image
        corner = np.array([left, top, left, top], np.float32)
        boxes.append(part.boxes + corner)
        ids.append(part.ids)
        ignore.append(part.ignore + corner)
    return Sample(image, np.concatenate(boxes), np.concatenate(ids), np.concatenate(ignore))


def affine(sample: Sample, config: AugmentConfig, rng: Rng) -> Sample:
    """Rotate, scale, shift and shear a sample at random; see ``affine_matrix`` and ``warp``."""
    size = Size.of(sample.image)
    matrix, angle = affine_matrix(size, config, rng)
    return warp(sample, matrix, angle, config)


def affine_matrix(size: tuple[int, int], config: AugmentConfig, rng: Rng) -> tuple[Matrix, float]:
    """Draw an affine map of images of ``size`` (width, height); give its angle in radians too.

    The 2 x 3 matrix is shear * translation * rotation and scale about the image's centre. As in
    the reference the shift along x is a fraction of the height, that along y of the width.
    """
    width, height = size
    angle = np.deg2rad(rng.uniform(-1, 1) * config.rotation)
    scale = rng.uniform(*config.scale)
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    centre = np.array([width / 2, height / 2])
    rotation = np.eye(3)
    rotation[:2, :2] = [[cos, sin], [-sin, cos]]
    rotation[:2, 2] = centre - rotation[:2, :2] @ centre
    translation = np.eye(3)
    translation[:2, 2] = rng.uniform(-1, 1, 2) * config.translation * (height, width)
    shear = np.eye(3)
    shear[0, 1], shear[1, 0] = np.tan(np.deg2rad(rng.uniform(-1, 1, 2) * config.shear))
    return (shear @ translation @ rotation)[:2], float(angle)


def warp(sample: Sample, matrix: Matrix, angle: float, config: AugmentConfig) -> Sample:
    """Map a sample by a 2 x 3 matrix into an image of the same size.

    A box becomes the bounding box of its four mapped corners, shrunk about its centre by
    sqrt(max(|sin angle|, |cos angle|)) and cut at the image's edges (``clip``).
    """
    cv2 = load_cv2()
    height, width = sample.image.shape[:2]
    image = cv2.warpAffine(
        sample.image,
        matrix,
        (width, height),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(BORDER, BORDER, BORDER),
    )
    shrink = max(abs(np.sin(angle)), abs(np.cos(angle))) ** 0.5

    def warped(boxes: Boxes) -> Boxes:
        corners = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
        mapped = corners @ matrix[:, :2].T + matrix[:, 2]
        low, high = mapped.min(axis=1), mapped.max(axis=1)
        centre, half = (low + high) / 2, (high - low) / 2 * shrink
        return np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)

    moved = replace(sample, image=image, boxes=warped(sample.boxes), ignore=warped(sample.ignore))
    return clip(moved, areas(sample.boxes) * config.min_area, config)


def clip(sample: Sample, least: npt.NDArray[np.float32], config: AugmentConfig) -> Sample:
    """Cut boxes at the image's edges; boxes that become too small become regions to ignore.

    Args:
        sample: with boxes that may reach outside.
        least: ``(n,)`` area that each box must exceed, in square pixels.
        config: the other limits, ``min_side`` and ``max_aspect``.
    """
    height, width = sample.image.shape[:2]
    edges = np.array([width, height, width, height], np.float32)
    boxes, ignore = np.clip(sample.boxes, 0, edges), np.clip(sample.ignore, 0, edges)
    sides = boxes[:, 2:] - boxes[:, :2]
    shorter, longer = sides.min(axis=1), sides.max(axis=1)
    valid = (shorter > config.min_side) & (areas(boxes) > least)
    valid &= longer < config.max_aspect * shorter
    ignore = np.concatenate([ignore, boxes[~valid]])
    visible = (ignore[:, 2:] - ignore[:, :2] >= _LEAST_VISIBLE).all(axis=1)
    return Sample(sample.image, boxes[valid], sample.ids[valid], ignore[visible])


def flip(sample: Sample) -> Sample:
    """Mirror a sample left to right."""
    width = np.float32(sample.image.shape[1])

    def mirrored(boxes: Boxes) -> Boxes:
        left, top, right, bottom = boxes.T
        return np.stack([width - right, top, width - left, bottom], axis=1)

    return replace(
        sample,
        image=np.ascontiguousarray(sample.image[:, ::-1]),
        boxes=mirrored(sample.boxes),
        ignore=mirrored(sample.ignore),
    )


def areas(boxes: Boxes) -> npt.NDArray[np.float32]:
    """``(n,)`` areas of ``(n, 4)`` boxes given as left, top, right, bottom."""
    sides = boxes[:, 2:] - boxes[:, :2]
    return sides[:, 0] * sides[:, 1]


def _blank(size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    return np.full((size[1], size[0], 3), BORDER, np.uint8)
