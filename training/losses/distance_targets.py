"""Targets of each cell, for bodies that predict the distances of a box's edges.

Adaptive training sample selection (Zhang et al. 2020, "Bridging the Gap Between Anchor-based and
Anchor-free Detection", arXiv 1912.02424, algorithm 1), which NanoDet-g was trained by, so that each
scale goes on finding people of the size that it finds already.
"""

from __future__ import annotations

import torch
from torch import Tensor

from jdetrt.config import STRIDES
from jdetrt.training.data.sample import Batch
from jdetrt.training.losses.targets import BACKGROUND, FOREGROUND, IGNORED, Targets
from jdetrt.training.network.nanodet import DISTANCES

__all__ = ["assign_distances"]

_NEAREST = 9  # cells of each scale that may be a person's; arXiv 1912.02424, section 4.2
_SQUARE = 5  # strides that the side of a cell's square has; RangiLyu/nanodet, octave_base_scale
_LONGEST = DISTANCES - 1 - 0.01  # strides; what is further is learnt as this


def assign_distances(batch: Batch) -> tuple[Targets, Targets, Targets]:
    """Assign the boxes of a batch to the cells of the heads /32, /16, /8.

    Of each scale the cells whose middles are nearest to the middle of a box are its candidates.
    Their squares' mean IoU with the box plus its standard deviation is the threshold from which
    they are foreground, if their middle is inside the box; the best one is in any case. A cell that
    several people claim belongs to the one whom its square overlaps most. A cell that is not
    foreground is ignored where its middle is in one of the batch's regions to ignore.

    Args:
        batch: boxes of no area are never assigned.

    Returns:
        The targets of the heads /32, /16, /8, on the batch's device: ``labels`` with one anchor a
        cell; ``deltas`` are the distances left, top, right, bottom in strides, 0 to 10.
    """
    images, _, height, width = batch.images.shape
    shapes = [(height // stride, width // stride) for stride in STRIDES]
    middles, strides = _cells(shapes, batch.boxes)
    corners = _corners(batch.boxes)
    owner = torch.full((images, len(middles)), -1, device=corners.device)
    for image in range(images):
        here = torch.nonzero((batch.image_index == image) & (batch.boxes[:, 2:].amin(1) > 0))[:, 0]
        if len(here):
            found = _owners(corners[here], middles, strides, shapes)
            owner[image] = torch.where(found >= 0, here[found], -1)
    ignored = _inside(batch, middles, images)
    taken = owner >= 0
    labels = torch.full_like(owner, BACKGROUND)
    labels[ignored] = IGNORED
    labels[taken] = FOREGROUND
    ids = torch.full_like(owner, -1)
    ids[taken] = batch.ids[owner[taken]]
    targets, first = [], 0
    for rows, columns in shapes:
        part = slice(first, first + rows * columns)
        mine = owner[:, part]
        where = mine >= 0
        box = corners[mine[where]]
        middle = middles[part].expand(images, -1, -1)[where]
        distances = torch.cat([middle - box[:, :2], box[:, 2:] - middle], dim=1)
        distances = distances / strides[first]
        targets.append(
            Targets(
                labels[:, part].reshape(images, 1, rows, columns),
                distances.clamp(0, _LONGEST),
                ids[:, part].reshape(images, rows, columns),
            )
        )
        first += rows * columns
    return targets[0], targets[1], targets[2]


def _cells(shapes: list[tuple[int, int]], like: Tensor) -> tuple[Tensor, Tensor]:
    """Middles ``[cells, 2]`` and strides ``[cells]`` of all cells."""
    middles, strides = [], []
    for (rows, columns), stride in zip(shapes, STRIDES, strict=True):
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        middles.append((torch.stack([x, y], dim=-1).reshape(-1, 2) + 0.5) * stride)
        strides.append(torch.full((rows * columns,), float(stride)))
    return torch.cat(middles).to(like), torch.cat(strides).to(like)


def _corners(boxes: Tensor) -> Tensor:
    return torch.cat([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], dim=1)


def _owners(
    boxes: Tensor, middles: Tensor, strides: Tensor, shapes: list[tuple[int, int]]
) -> Tensor:
    """For each cell of a image the box that it belongs to, or -1."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    away = (middles - centres[:, None]).norm(dim=-1)
    near = []
    first = 0
    for rows, columns in shapes:
        count = rows * columns
        part = away[:, first : first + count]
        near.append(part.topk(min(_NEAREST, count), dim=1, largest=False).indices + first)
        first += count
    chosen = torch.cat(near, dim=1)
    half = _SQUARE / 2 * strides[chosen][..., None]
    low = torch.maximum(middles[chosen] - half, boxes[:, None, :2])
    high = torch.minimum(middles[chosen] + half, boxes[:, None, 2:])
    overlap = (high - low).clamp(min=0).prod(-1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
    iou = overlap / (areas[:, None] + (2 * half[..., 0]) ** 2 - overlap)
    limit = iou.mean(1, keepdim=True) + iou.std(1, keepdim=True)
    at = middles[chosen]
    inside = ((at > boxes[:, None, :2]) & (at < boxes[:, None, 2:])).all(-1)
    good = (iou >= limit) & inside
    # A person too small to have the middle of any cell in the box has the best one all the same.
    best = iou.masked_fill(~inside, -1.0).argmax(1, keepdim=True)
    best = torch.where(inside.any(1, keepdim=True), best, iou.argmax(1, keepdim=True))
    good.scatter_(1, best, value=True)
    fit = iou.new_full((len(boxes), len(middles)), -1.0)
    fit.scatter_(1, chosen, torch.where(good, iou, -1.0))
    most, owner = fit.max(dim=0)
    return torch.where(most >= 0, owner, -1)


def _inside(batch: Batch, middles: Tensor, images: int) -> Tensor:
    """``[N, cells]``, whether a cell's middle is in a region to ignore."""
    mask = torch.zeros((images, len(middles)), dtype=torch.bool, device=middles.device)
    low, high = batch.ignore[:, None, :2], batch.ignore[:, None, 2:]
    covered = ((middles >= low) & (middles < high)).all(-1)
    region, cell = torch.nonzero(covered, as_tuple=True)
    mask[batch.ignore_image_index[region], cell] = True
    return mask
