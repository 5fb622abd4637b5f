"""Anchor boxes: sizes and positions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from jdetrt.config import ANCHORS_PER_CELL, PUBLISHED_ANCHORS, STRIDES, NetworkConfig
from jdetrt.errors import ConfigError

__all__ = [
    "LARGEST_SIDE",
    "anchor_sizes",
    "candidate_cells",
    "candidate_priors",
    "grids",
    "network_anchors",
]

LARGEST_SIDE = 8192  # network pixels; a typo must not ask for all the memory

# Scale of the published anchors relative to 1088x608, by the side of a square of the same area:
# the ratio of one anchor (every other has about the same).
_SCALES = [
    (np.sqrt(576 * 320), 85 / 128),
    (np.sqrt(864 * 480), 27 / 34),
    (np.sqrt(1088 * 608), 1.0),
]


def grids(width: int, height: int) -> list[tuple[int, int]]:
    """Columns and rows of cells of the heads /32, /16 and /8.

    Raises:
        ConfigError: width or height is not a positive multiple of 32, or above `LARGEST_SIDE`.

    >>> grids(1088, 608)
    [(34, 19), (68, 38), (136, 76)]
    """
    if width <= 0 or height <= 0 or width % STRIDES[0] or height % STRIDES[0]:
        near = "x".join(str(max(1, round(side / 32)) * 32) for side in (width, height))
        raise ConfigError(
            f"network size {width}x{height}: width and height must be multiples of 32, "
            f"for example {near}"
        )
    if max(width, height) > LARGEST_SIDE:
        raise ConfigError(
            f"network size {width}x{height}: width and height may be {LARGEST_SIDE} at most, "
            "for example 1088x608"
        )
    return [(width // stride, height // stride) for stride in STRIDES]


def anchor_sizes(width: int, height: int) -> npt.NDArray[np.float32]:
    """Anchor widths and heights for a network size.

    The three published sizes have the reference's own anchors. Any other size has those of
    1088x608 times a factor, rounded to whole pixels. The factor follows the side of a square of
    the same area: 0.664, 0.794 and 1 at the sides of 576x320, 864x480 and 1088x608 (the ratios of
    the published sets), linear between these, proportional to the side outside of them. At
    864x480 the rule gives the published set exactly, at 576x320 to one pixel, but for two heights
    that the reference cut: 425 instead of 420 and 320.

    Returns:
        ``(3, 4, 2)`` float32, width and height in network pixels, heads /32, /16, /8.

    Raises:
        ConfigError: width or height is not a positive multiple of 32, or above `LARGEST_SIDE`.

    >>> anchor_sizes(1280, 736)[2].tolist()
    [[10.0, 29.0], [13.0, 41.0], [19.0, 57.0], [27.0, 81.0]]
    """
    grids(width, height)
    published = PUBLISHED_ANCHORS.get((width, height))
    if published is not None:
        return np.array(published, np.float32)
    return scaled_anchors(width, height)


def network_anchors(
    config: NetworkConfig, size: tuple[int, int] | None = None
) -> npt.NDArray[np.float32]:
    """Anchors of a network: its own at any size, or else `anchor_sizes` of ``size``.

    Args:
        config: of the network.
        size: width and height; default: the size in ``config``.

    Returns:
        ``(3, 4, 2)`` float32, width and height in network pixels, heads /32, /16, /8.

    Raises:
        ConfigError: there are no own anchors and no size, or it is not a multiple of 32.
    """
    if config.anchors is not None:
        return np.array(config.anchors, np.float32)
    size = size or config.size
    if size is None:
        raise ConfigError("the network has neither anchors of its own nor a size")
    return anchor_sizes(*size)


def scaled_anchors(width: int, height: int) -> npt.NDArray[np.float32]:
    """The rule of `anchor_sizes` without its table: ``(3, 4, 2)`` float32."""
    side = np.sqrt(width * height)
    sides, factors = zip(*_SCALES, strict=True)
    inside = np.clip(side, sides[0], sides[-1])
    factor = np.interp(inside, sides, factors) * side / inside
    scaled: npt.NDArray[np.float64] = np.rint(factor * np.array(PUBLISHED_ANCHORS[1088, 608]))
    return scaled.clip(min=1).astype(np.float32)


def candidate_priors(
    width: int, height: int, sizes: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Every anchor box of a network, in the order of its candidates.

    That is: heads /32, /16, /8; inside a head anchor, row, column. A box is centred on the corner
    of its cell, not on its middle (reference models.py, create_grids).

    Args:
        width: of the network, in pixels.
        height: of the network, in pixels.
        sizes: ``(3, 4, 2)``, from `anchor_sizes`.

    Returns:
        ``(candidates, 4)`` float32, centre x, centre y, width, height in network pixels.

    >>> candidate_priors(576, 320, anchor_sizes(576, 320)).shape
    (15120, 4)
    """
    boxes = []
    for (columns, rows), stride, anchors in zip(grids(width, height), STRIDES, sizes, strict=True):
        head = np.empty((ANCHORS_PER_CELL, rows, columns, 4), np.float32)
        head[..., 0] = np.arange(columns) * stride
        head[..., 1] = np.arange(rows)[:, None] * stride
        head[..., 2:] = anchors[:, None, None, :]
        boxes.append(head.reshape(-1, 4))
    return np.concatenate(boxes)


def candidate_cells(width: int, height: int) -> npt.NDArray[np.int64]:
    """Cell of each candidate; cells are counted over heads /32, /16, /8.

    Returns:
        ``(candidates,)`` int64. The four candidates of a cell share its embedding.

    >>> cells = candidate_cells(1088, 608)
    >>> len(cells), int(cells.max()) + 1
    (54264, 13566)
    """
    heads, first = [], 0
    for columns, rows in grids(width, height):
        cells = columns * rows
        heads.append(np.tile(np.arange(first, first + cells), ANCHORS_PER_CELL))
        first += cells
    return np.concatenate(heads)
