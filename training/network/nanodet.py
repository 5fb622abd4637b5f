"""The body 'nanodet-g': a dense detector of people, to start from weights that COCO has taught.

NanoDet-g (RangiLyu/nanodet, Apache-2.0): 34 plain convolutions with LeakyReLU, their batch norms
folded into them. The layers here were read off its published weights. Its three parts:

- a stem, and four stages at strides 4 to 32. A stage halves the resolution and joins pairs of
  convolutions to what they were given, so that later layers see the output of all earlier ones;
- a pyramid that adds coarser maps to finer ones (bilinear) and back (averages over 2 x 2 cells);
- a head at each of the strides 8, 16 and 32, which predicts for the middle of every cell the score
  of a person, and the distance to each edge of their box as a distribution over 0 to 10 strides
  (Li et al. 2020, "Generalized Focal Loss", arXiv 2006.04388). Of its 80 classes one is kept.

The embeddings are ours (`jdetrt.training.network.box_embedding`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from jdetrt.config import STRIDES
from jdetrt.training.network.anchors import grids
from jdetrt.training.network.box_embedding import BoxEmbedding, BoxReader
from jdetrt.training.network.layers import LEAK
from jdetrt.training.network.pyramid import Body, HeadMaps

__all__ = ["DISTANCES", "DistanceLevel", "NanoDetG", "edge_boxes", "embed_cells", "largest_boxes"]

DISTANCES = 11  # of an edge from the middle of a cell: 0 to 10 strides
_WIDTH = 128  # channels of the pyramid


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution with bias, LeakyReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2),
        nn.LeakyReLU(LEAK, inplace=True),
    )


class Stage(nn.Module):
    """Convolutions whose outputs are joined to their inputs.

    Args:
        inputs: channels in.
        width: channels inside; twice as many come out.
        pairs: of convolutions, each half as wide.
        stride: of the first convolution.
    """

    def __init__(self, inputs: int, width: int, pairs: int, stride: int) -> None:
        super().__init__()
        half = width // 2
        self.first = _conv(inputs, width, stride=stride)
        self.pairs = nn.ModuleList(
            nn.ModuleList([_conv(width, half), _conv(half, half)]) for _ in range(pairs)
        )
        self.last = _conv(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Feature map of ``2 * width`` channels."""
        given: Tensor = self.first(x)
        y = given
        for pair in self.pairs:
            assert isinstance(pair, nn.ModuleList)
            near = pair[0](y)
            y = torch.cat([pair[1](near), near], dim=1)
        return torch.cat([self.last(y), given], dim=1)


class DistanceLevel(nn.Module):
    """The head of one scale: scores of people, and how far the edges of their boxes are.

    Its map has ``1 + 4 * DISTANCES`` channels: the logit of a person, then the logits of the
    distances to the left, top, right and bottom edge.
    """

    def __init__(self, skip: int, above: int | None, width: int) -> None:
        super().__init__()
        self.detection = nn.Sequential(*_conv(skip, width), nn.Conv2d(width, 1 + 4 * DISTANCES, 1))

    def forward(self, skip: Tensor, above: Tensor | None) -> tuple[Tensor, Tensor]:
        """The map that it was given, which the body has merged already, and the detection map."""
        return skip, self.detection(skip)


def largest_boxes(size: tuple[int, int]) -> Tensor:
    """``[cells, 4]`` float32, the largest box of each cell of the levels /32, /16, /8.

    Centre x, centre y of the cell, width and height of a box whose edges are all as far as can be.

    Raises:
        ConfigError: width or height is not a multiple of 32.
    """
    boxes = []
    for (columns, rows), stride in zip(grids(*size), STRIDES, strict=True):
        level = np.empty((rows, columns, 4), np.float32)
        level[..., 0] = (np.arange(columns) + 0.5) * stride
        level[..., 1] = (np.arange(rows)[:, None] + 0.5) * stride
        level[..., 2:] = 2 * (DISTANCES - 1) * stride
        boxes.append(level.reshape(-1, 4))
    return torch.from_numpy(np.concatenate(boxes))


def edge_boxes(edges: Tensor, largest: Tensor, count: int) -> Tensor:
    """Boxes from the distributions of their edges.

    An edge is as far from the cell's centre as the softmax over `DISTANCES` says on average, in
    strides (Li et al. 2020, arXiv 2006.04388, section 3.2).

    Args:
        edges: ``[N, k, 4 * DISTANCES]`` logits, left, top, right, bottom.
        largest: ``[N, k, 4]`` or ``[k, 4]``, of the same cells, from `largest_boxes`.
        count: k, a plain number: a shape would be operators in the exported graph.

    Returns:
        ``[N, k, 4]`` x1 y1 x2 y2 in network pixels.
    """
    shares = torch.softmax(edges.reshape(-1, count, 4, DISTANCES), dim=-1)
    steps = torch.arange(DISTANCES, dtype=torch.float32, device=edges.device)
    distance = (shares * steps).sum(-1) * (largest[..., 2:3] / (2 * (DISTANCES - 1)))
    centre = largest[..., :2]
    return torch.cat([centre - distance[..., :2], centre + distance[..., 2:]], dim=-1)


def embed_cells(reader: BoxReader, heads: Sequence[HeadMaps]) -> list[HeadMaps]:
    """Give every cell the embedding of its own box, for training.

    Args:
        reader: of the network.
        heads: raw outputs of the network for the levels /32, /16, /8.

    Returns:
        The same heads, with embeddings ``[N, D, rows, columns]``.
    """
    maps = [head.embedding for head in heads]
    cells = [(one.shape[3], one.shape[2]) for one in maps]
    largest = largest_boxes((8 * cells[-1][0], 8 * cells[-1][1])).to(maps[0].device)
    lines = torch.cat([head.detection[:, 1:].flatten(2) for head in heads], dim=2)
    boxes = edge_boxes(lines.transpose(1, 2).float(), largest, len(largest)).detach()
    counts = [columns * rows for columns, rows in cells]
    levels = torch.arange(len(maps)).repeat_interleave(torch.tensor(counts)).to(boxes.device)
    parts = reader(maps, boxes, levels, cells).transpose(1, 2).split(counts, dim=2)
    return [
        HeadMaps(head.detection, part.unflatten(2, one.shape[2:]))
        for head, part, one in zip(heads, parts, maps, strict=True)
    ]


class NanoDetG(Body):
    """Images in; an early map /4 (64 channels) and the merged pyramid out."""

    channels = (_WIDTH, _WIDTH, _WIDTH)
    widths = (_WIDTH, _WIDTH, _WIDTH)
    level = DistanceLevel
    embedding = BoxEmbedding
    boxes = "distances"

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_conv(3, 32, stride=2), nn.MaxPool2d(3, 2, 1))
        self.stages = nn.ModuleList(
            [
                Stage(32, 32, pairs=1, stride=1),
                Stage(64, 64, pairs=2, stride=2),
                Stage(128, 128, pairs=2, stride=2),
                Stage(256, 256, pairs=3, stride=2),
            ]
        )
        self.laterals = nn.ModuleList(nn.Conv2d(inputs, _WIDTH, 1) for inputs in (128, 256, 512))

    def early(self, images: Tensor) -> Tensor:
        """The map /4, 64 channels."""
        early: Tensor = self.stages[0](self.stem(images))
        return early

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Feature maps of ``[N, 3, H, W]`` pictures, RGB from 0 to 1.

        Returns:
            Early map /4, then the pyramid /8, /16 and /32 (128 channels each).
        """
        early = x = self.early(images)
        maps = []
        for stage, lateral in zip(self.stages[1:], self.laterals, strict=True):
            x = stage(x)
            maps.append(lateral(x))
        eighth, sixteenth, last = maps
        sixteenth = sixteenth + _twice(last)
        eighth = eighth + _twice(sixteenth)
        sixteenth = sixteenth + nn.functional.avg_pool2d(eighth, 2)
        last = last + nn.functional.avg_pool2d(sixteenth, 2)
        return early, eighth, sixteenth, last


def _twice(x: Tensor) -> Tensor:
    return nn.functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
