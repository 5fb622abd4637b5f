"""Occlusion: people pasted from other images, and plain rectangles."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from jdetrt.runtime.opencv import load_cv2
from jdetrt.training.augment.geometry import areas
from jdetrt.training.data.sample import Sample
from jdetrt.training.recipe import AugmentConfig

__all__ = ["copy_paste", "erase"]

Rng = np.random.Generator
Image = npt.NDArray[np.uint8]

_LEAST_HEIGHT = 32  # pixels of a person to be copied
_LARGEST_GAIN = 1.5  # of a copy: larger, it would be blurred
_APART = 0.1  # share of a person to be copied that other boxes may overlap
_MARGIN = 0.08  # of a box's side, around it, over which a copy fades out
_HEIGHTS = (0.85, 1.15)  # of a copy, compared with a person beside it
_ERASED_WIDTH, _ERASED_HEIGHT = (0.3, 1.0), (0.15, 0.45)  # shares of a person's box


def copy_paste(sample: Sample, donor: Sample, config: AugmentConfig, rng: Rng) -> Sample:
    """Paste up to ``config.paste_people`` labelled people of ``donor``; they keep their ids.

    A copy stands level with a person in the image and is about as tall, so that its size suits
    its position; in an image without people it keeps its position and its share of the height.
    People who are visible to less than ``config.min_seen`` afterwards become regions to ignore.
    """
    height, width = sample.image.shape[:2]
    models = sample.boxes[_inside(sample)]
    candidates = rng.permutation(np.flatnonzero(_copyable(donor)))
    layers = np.zeros((height, width), np.uint8)  # the number of the copy on top
    image, boxes, ids = sample.image.copy(), list(sample.boxes), list(sample.ids)
    orders = [0] * len(boxes)
    for chosen in candidates[: rng.integers(1, config.paste_people + 1)]:
        left, top, right, bottom = donor.boxes[chosen].astype(float)
        if len(models):
            model = models[rng.integers(len(models))].astype(float)
            tall = (model[3] - model[1]) * rng.uniform(*_HEIGHTS)
            foot = model[3] + (tall - (model[3] - model[1])) / 2
        else:
            share = height / donor.image.shape[0]
            tall, foot = (bottom - top) * share, bottom * share
        gain = tall / (bottom - top)
        wide = (right - left) * gain
        if gain > _LARGEST_GAIN or wide >= width:
            continue
        place = np.array([rng.uniform(0, width - wide), foot - tall])
        box = _paste(image, donor.image, donor.boxes[chosen], gain, place)
        boxes.append(box)
        ids.append(donor.ids[chosen])
        orders.append(max(orders, default=0) + 1)
        layers[_pixels(box)] = orders[-1]
    pasted = Sample(
        image,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(ids, np.int64),
        sample.ignore,
    )
    return _without_hidden(pasted, layers, orders, config.min_seen)


def erase(sample: Sample, config: AugmentConfig, rng: Rng) -> Sample:
    """Put a rectangle of one colour in front of each person with the chance ``config.erase``."""
    struck = np.flatnonzero(rng.random(len(sample.boxes)) < config.erase)
    if not len(struck):
        return sample
    height, width = sample.image.shape[:2]
    image, layers = sample.image.copy(), np.zeros((height, width), np.uint8)
    for box in sample.boxes[struck]:
        sides = box[2:] - box[:2]
        part = sides * (rng.uniform(*_ERASED_WIDTH), rng.uniform(*_ERASED_HEIGHT))
        corner = box[:2] + rng.uniform(0, 1, 2) * (sides - part)
        there = _pixels(np.concatenate([corner, corner + part]))
        image[there] = image[rng.integers(height), rng.integers(width)]
        layers[there] = 1
    return _without_hidden(
        replace(sample, image=image), layers, [0] * len(sample.boxes), config.min_seen
    )


def _inside(sample: Sample) -> npt.NDArray[np.bool_]:
    """Mask ``(n,)`` of the boxes inside the image."""
    height, width = sample.image.shape[:2]
    low, high = sample.boxes[:, :2], sample.boxes[:, 2:]
    inside = (low >= 0).all(axis=1) & (high <= (width, height)).all(axis=1)
    return np.asarray(inside & (areas(sample.boxes) > 0))


def _copyable(donor: Sample) -> npt.NDArray[np.bool_]:
    """Mask ``(n,)`` of the people to copy: complete, large enough, and alone in their boxes."""
    everything = np.concatenate([donor.boxes, donor.ignore])
    low = np.maximum(donor.boxes[:, None, :2], everything[None, :, :2])
    high = np.minimum(donor.boxes[:, None, 2:], everything[None, :, 2:])
    shared = np.maximum(high - low, 0).prod(axis=2)
    np.fill_diagonal(shared, 0)
    apart = shared.max(axis=1, initial=0) <= _APART * areas(donor.boxes)
    tall = donor.boxes[:, 3] - donor.boxes[:, 1] >= _LEAST_HEIGHT
    return np.asarray(_inside(donor) & apart & tall)


def _paste(
    image: Image,
    source: Image,
    box: npt.NDArray[np.float32],
    gain: float,
    place: npt.NDArray[np.float64],
) -> npt.NDArray[np.float32]:
    """Draw ``box`` of ``source`` into ``image`` near ``place`` (left, top); give its exact box."""
    cv2 = load_cv2()
    margin = np.tile(box[2:] - box[:2], 2) * _MARGIN * (-1, -1, 1, 1)
    rows, columns = _pixels(box + margin, source.shape)
    cut = source[rows, columns]
    size = np.maximum(np.rint(np.array(cut.shape[1::-1]) * gain), 1).astype(int)
    patch = cv2.resize(
        cut,
        tuple(size.tolist()),
        interpolation=cv2.INTER_AREA if gain < 1 else cv2.INTER_LINEAR,
    )
    weight = cv2.resize(_fading(), tuple(size.tolist()), interpolation=cv2.INTER_LINEAR)
    ratio = size / cut.shape[1::-1]
    inset = (box[:2] - (columns.start, rows.start)) * ratio
    corner = np.rint(place - inset).astype(int)
    low = np.maximum(-corner, 0)
    high = np.minimum(size, np.array(image.shape[1::-1]) - corner)
    if (low < high).all():
        here = (slice(low[1], high[1]), slice(low[0], high[0]))
        there = tuple(
            slice(s.start + c, s.stop + c) for s, c in zip(here, corner[::-1], strict=True)
        )
        below = image[there].astype(np.float32)
        image[there] = np.rint(below + (patch[here] - below) * weight[here][..., None])
    start = corner + inset
    return np.concatenate([start, start + (box[2:] - box[:2]) * ratio]).astype(np.float32)


@functools.cache
def _fading() -> npt.NDArray[np.float32]:
    """``(64, 64)`` weights of a copy: 1 inside, down to 0 at the edges, with rounded corners."""
    across = np.abs(np.linspace(-1, 1, 64))
    radius = (across[:, None] ** 6 + across[None] ** 6) ** (1 / 6)
    weights: npt.NDArray[np.float32] = np.clip((1 - radius) / (2 * _MARGIN), 0, 1).astype(
        np.float32
    )
    return weights


def _pixels(
    box: npt.NDArray[np.floating], shape: tuple[int, ...] | None = None
) -> tuple[slice, slice]:
    """Rows and columns of a box's pixels."""
    left, top, right, bottom = np.maximum(np.rint(box), 0).astype(int).tolist()
    if shape is not None:
        right, bottom = min(right, shape[1]), min(bottom, shape[0])
    return slice(top, bottom), slice(left, right)


def _without_hidden(
    sample: Sample, layers: npt.NDArray[np.uint8], orders: list[int], min_seen: float
) -> Sample:
    """Turn boxes hidden by layers above their own into regions to ignore.

    Args:
        sample: the final image.
        layers: ``(H, W)`` number of the topmost layer at each pixel, 0 for the image's own.
        orders: layer of each box.
        min_seen: share of a box's pixels that must be visible.
    """
    pixels = [layers[_pixels(box)] for box in sample.boxes]
    visible = np.array(
        [p.size == 0 or (p <= o).mean() >= min_seen for p, o in zip(pixels, orders, strict=True)],
        bool,
    )
    return Sample(
        sample.image,
        sample.boxes[visible],
        sample.ids[visible],
        np.concatenate([sample.ignore, sample.boxes[~visible]]),
    )
