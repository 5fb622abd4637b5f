"""Targets of the anchors: foreground or background, box and person.

Written from paper section 3.3 and the reference's utils/utils.py, build_targets_thres. A person is
compared only with the anchors near enough to matter, so a batch takes milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from jdetrt.config import STRIDES
from jdetrt.training.data.sample import Batch
from jdetrt.training.recipe import TargetsConfig

__all__ = ["BACKGROUND", "FOREGROUND", "IGNORED", "Targets", "assign"]

FOREGROUND, BACKGROUND, IGNORED = 1, 0, -1

_NOBODY = torch.iinfo(torch.int64).max  # as the box of an anchor; any box has a smaller index


@dataclass(frozen=True, slots=True)
class Targets:
    """Target outputs of one head for a batch.

    Attributes:
        labels: ``[N, A, rows, columns]`` int64: 1 foreground, 0 background, -1 ignored.
        deltas: ``[P, 4]`` float32, dx, dy, dw, dh of the P foreground anchors, in the order in
            which they stand in ``labels``.
        ids: ``[N, rows, columns]`` int64, the person of the cell's embedding, -1 for none: the
            largest id of its foreground anchors, as in the reference (models.py:179).
    """

    labels: Tensor
    deltas: Tensor
    ids: Tensor


def assign(
    batch: Batch, anchors: npt.NDArray[np.float32], config: TargetsConfig | None = None
) -> tuple[Targets, Targets, Targets]:
    """Assign the boxes of a batch to the anchors of the heads /32, /16, /8.

    Anchors stand on the corners of the grid's cells. The centre of a box is first moved into the
    range of these corners. Each anchor belongs to the box that it overlaps most: with an IoU above
    0.5 it is foreground, strictly between 0.4 and 0.5 ignored, otherwise background (at exactly
    0.5 too, as in the reference). An anchor that is not foreground is ignored as well where its
    centre is in one of the batch's regions to ignore, or its IoU with one is above 0.4. A box may
    have foreground anchors in several heads, or none at all.

    Args:
        batch: boxes of no area are never assigned.
        anchors: ``(3, A, 2)`` float32 widths and heights in network pixels, heads /32, /16, /8.
        config: thresholds, and whether boxes without a foreground anchor get their best one.

    Returns:
        The targets of the heads /32, /16, /8, on the batch's device.
    """
    config = config or TargetsConfig()
    images, _, height, width = batch.images.shape
    heads = [
        _Head(
            stride,
            (images, len(sizes), height // stride, width // stride),
            torch.from_numpy(sizes).to(batch.boxes),
        )
        for stride, sizes in zip(STRIDES, anchors, strict=True)
    ]
    peaks = [_peaks(head, head.clamp(batch.boxes)) for head in heads]
    forced = _forced(peaks, config.foreground_iou) if config.force_best else [None] * len(heads)
    first, second, third = (
        _assign_head(head, batch, peak, force, config)
        for head, peak, force in zip(heads, peaks, forced, strict=True)
    )
    return first, second, third


@dataclass(frozen=True, slots=True)
class _Head:
    """Grid and anchors of one head: ``shape`` is (N, A, rows, columns), ``sizes`` ``[A, 2]``."""

    stride: int
    shape: tuple[int, int, int, int]
    sizes: Tensor

    @property
    def last(self) -> Tensor:
        """Column and row of the last cell, ``[2]`` int64."""
        return torch.tensor([self.shape[3] - 1, self.shape[2] - 1], device=self.sizes.device)

    def clamp(self, boxes: Tensor) -> Tensor:
        """Boxes with centres in the range of the grid's corners."""
        centres = boxes[:, :2].clamp(min=0).minimum(self.last * self.stride)
        return torch.cat([centres, boxes[:, 2:]], dim=1)

    def flat(self, image: Tensor, anchor: Tensor, column: Tensor, row: Tensor) -> Tensor:
        """Index of an anchor in flattened labels."""
        _, anchors, rows, columns = self.shape
        return ((image * anchors + anchor) * rows + row) * columns + column


@dataclass(frozen=True, slots=True)
class _Peaks:
    """Best position for each box (first axis) and anchor size (second axis): the nearest corner.

    IoU falls with the distance in x and with that in y.
    """

    column: Tensor
    row: Tensor
    iou: Tensor


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Anchors (index into flattened labels) and boxes that overlap, all ``[k]``."""

    anchor: Tensor
    box: Tensor
    iou: Tensor


def _peaks(head: _Head, boxes: Tensor) -> _Peaks:
    cells = (boxes[:, :2] / head.stride).round().long().clamp(min=0).minimum(head.last)
    iou = _iou(boxes[:, None], cells[:, None] * head.stride, head.sizes)
    column, row = cells[:, None].expand(-1, len(head.sizes), -1).unbind(-1)
    return _Peaks(column, row, iou)


def _iou(boxes: Tensor, centres: Tensor, sizes: Tensor) -> Tensor:
    """IoU of boxes (centre, size) with boxes given in two parts; shapes are broadcast."""
    low = torch.maximum(boxes[..., :2] - boxes[..., 2:] / 2, centres - sizes / 2)
    high = torch.minimum(boxes[..., :2] + boxes[..., 2:] / 2, centres + sizes / 2)
    overlap = (high - low).clamp(min=0).prod(-1)
    union = boxes[..., 2:].prod(-1) + sizes.prod(-1) - overlap
    return overlap / union


def _pairs(head: _Head, boxes: Tensor, image_index: Tensor, peaks: _Peaks, above: float) -> _Pairs:
    """All pairs of an anchor and a box with an IoU above a threshold."""
    box, kind = torch.nonzero(peaks.iou > above, as_tuple=True)
    near, sizes = boxes[box], head.sizes[kind]
    # With the overlap of one axis at its largest, that of the other must still be this long.
    areas = near[:, 2:].prod(1) + sizes.prod(1)
    overlap = above / (1 + above) * areas[:, None] / torch.minimum(near[:, 2:], sizes).flip(1)
    reach = (near[:, 2:] + sizes) / 2 - overlap
    first = ((near[:, :2] - reach) / head.stride).floor().long().clamp(min=0)
    last = ((near[:, :2] + reach) / head.stride).ceil().long().minimum(head.last)
    window = (last - first + 1).clamp(min=0)
    counts = window.prod(1)

    pair = torch.repeat_interleave(counts)
    step = torch.arange(len(pair), device=boxes.device) - (counts.cumsum(0) - counts)[pair]
    wide = window[pair, 0]
    cells = first[pair] + torch.stack([step % wide, step // wide], dim=1)
    iou = _iou(near[pair], cells * head.stride, sizes[pair])
    anchor = head.flat(image_index[box[pair]], kind[pair], cells[:, 0], cells[:, 1])
    match = iou > above
    return _Pairs(anchor[match], box[pair][match], iou[match])


def _best(pairs: _Pairs, anchors: int) -> tuple[Tensor, Tensor]:
    """Largest IoU of each anchor and the box that it is with (the first of equals)."""
    iou = pairs.iou.new_zeros(anchors).scatter_reduce(0, pairs.anchor, pairs.iou, "amax")
    won = pairs.iou == iou[pairs.anchor]
    box = torch.full((anchors,), _NOBODY, device=iou.device)
    return iou, box.scatter_reduce(0, pairs.anchor[won], pairs.box[won], "amin")


def _forced(peaks: Sequence[_Peaks], foreground_iou: float) -> list[Tensor]:
    """For each head ``[n, A]``: the best anchor of boxes that have none above the threshold."""
    iou = torch.cat([peak.iou for peak in peaks], dim=1)
    most, where = iou.max(dim=1, keepdim=True)
    chosen = torch.zeros_like(iou, dtype=torch.bool)
    chosen.scatter_(1, where, (most > 0) & (most <= foreground_iou))
    return list(torch.split(chosen, [peak.iou.shape[1] for peak in peaks], dim=1))


def _assign_head(
    head: _Head, batch: Batch, peaks: _Peaks, forced: Tensor | None, config: TargetsConfig
) -> Targets:
    anchors = int(np.prod(head.shape))
    boxes = head.clamp(batch.boxes)
    pairs = _pairs(head, boxes, batch.image_index, peaks, config.background_iou)
    iou, box = _best(pairs, anchors)
    foreground = iou > config.foreground_iou
    if forced is not None:
        lone, kind = torch.nonzero(forced, as_tuple=True)
        anchor = head.flat(batch.image_index[lone], kind, peaks.column[forced], peaks.row[forced])
        _, forced_box = _best(_Pairs(anchor, lone, peaks.iou[forced]), anchors)
        given = ~foreground & (forced_box != _NOBODY)
        foreground, box = foreground | given, torch.where(given, forced_box, box)

    labels = foreground.long()
    unsure = (iou > config.background_iou) & (iou < config.foreground_iou)
    labels[(unsure | _ignored(head, batch, config)) & ~foreground] = IGNORED

    where = torch.nonzero(foreground).squeeze(1)
    owner = box[where]
    _, kinds, rows, columns = head.shape
    cell = torch.stack([where % columns, where // columns % rows], dim=1)
    sizes = head.sizes[where // (rows * columns) % kinds]
    moved = (boxes[owner, :2] - cell * head.stride) / sizes
    deltas = torch.cat([moved, torch.log(boxes[owner, 2:] / sizes)], dim=1)

    ids = torch.full((anchors,), -1, device=labels.device)
    ids[where] = batch.ids[owner]
    return Targets(labels.view(head.shape), deltas, ids.view(head.shape).amax(dim=1))


def _ignored(head: _Head, batch: Batch, config: TargetsConfig) -> Tensor:
    """Flat mask of anchors that regions to ignore cover."""
    mask = torch.zeros(head.shape, dtype=torch.bool, device=batch.boxes.device)
    if not len(batch.ignore):
        return mask.view(-1)
    left, top, right, bottom = batch.ignore[:, :, None].unbind(1)
    x = torch.arange(head.shape[3], device=mask.device) * head.stride
    y = torch.arange(head.shape[2], device=mask.device) * head.stride
    inside_x, inside_y = (left <= x) & (x < right), (top <= y) & (y < bottom)
    region, row, column = torch.nonzero(inside_y[:, :, None] & inside_x[:, None], as_tuple=True)
    mask[batch.ignore_image_index[region], :, row, column] = True

    low, high = batch.ignore[:, :2], batch.ignore[:, 2:]
    regions = torch.cat([(low + high) / 2, high - low], dim=1)
    pairs = _pairs(
        head, regions, batch.ignore_image_index, _peaks(head, regions), config.background_iou
    )
    flat = mask.view(-1)
    flat[pairs.anchor] = True
    return flat
