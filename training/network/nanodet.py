"""The body 'nanodet-g': a dense detector of people, to start from weights that COCO has taught.

NanoDet-g (RangiLyu/nanodet, Apache-2.0): 34 plain convolutions with LeakyReLU, their batch norms
folded into them. The layers here were read off its published weights. Its three parts:

- a stem, and four stages at strides 4 to 32. A stage halves the resolution and joins pairs of
  convolutions to what they were given, so that later layers see the output of all earlier ones;
- a pyramid that adds coarser maps to finer ones (bilinear) and back (averages over 2 x 2 cells);
- a head at each of the strides 8, 16 and 32, which predicts for the middle of every cell the score
  of a person, and the distance to each edge of their box as a distribution over 0 to 10 strides
  (Li et al. 2020, "Generalized Focal Loss", arXiv 2006.04388). Of its 80 classes one is kept.

The embeddings are ours.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from jdetrt.training.network.layers import LEAK
from jdetrt.training.network.pyramid import Body

__all__ = ["DISTANCES", "DenseEmbedding", "DistanceLevel", "NanoDetG"]

DISTANCES = 11  # of an edge from the middle of a cell: 0 to 10 strides
_WIDTH = 128  # channels of the pyramid
_SHADES = 64  # channels that the early maps are cut into


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


class DenseEmbedding(nn.Module):
    """The embeddings of all levels, from early maps, whose colours tell people apart.

    The maps /4 and /8 are averaged over the cells of a level and cut into shades (a 1x1
    convolution); plain convolutions then look at the surroundings of each cell, 5 x 5 cells. The
    levels share all of it, so that who comes nearer stays the same.
    """

    def __init__(self, embedding_dim: int) -> None:
        super().__init__()
        self.shades = _conv(64 + 128, _SHADES, 1)
        self.around = nn.Sequential(_conv(_SHADES, _SHADES), _conv(_SHADES, _SHADES))
        self.output = nn.Conv2d(_SHADES, embedding_dim, 1)

    def forward(self, quarter: Tensor, eighth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Embedding maps of the levels /32, /16, /8 from the body's maps /4 and /8."""
        last, middle, first = self.early(quarter, eighth)
        return self._of(last), self._of(middle), self._of(first)

    @staticmethod
    def early(quarter: Tensor, eighth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs of the embeddings of the levels /32, /16, /8: 192 channels each."""
        pool = nn.functional.avg_pool2d
        both = torch.cat([pool(quarter, 2), eighth], dim=1)
        return pool(both, 4), pool(both, 2), both

    def _of(self, early: Tensor) -> Tensor:
        embedding: Tensor = self.output(self.around(self.shades(early)))
        return embedding


class NanoDetG(Body):
    """Images in; early maps /4 (64 channels) and /8 (128), and the merged pyramid out."""

    channels = (_WIDTH, _WIDTH, _WIDTH)
    widths = (_WIDTH, _WIDTH, _WIDTH)
    level = DistanceLevel
    embedding = DenseEmbedding
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

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Feature maps of ``[N, 3, H, W]`` pictures, RGB from 0 to 1.

        Returns:
            Early maps /4 and /8, then the pyramid /8, /16 and /32 (128 channels each).
        """
        x = self.stem(images)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        eighth, sixteenth, last = (
            lateral(x) for lateral, x in zip(self.laterals, maps[1:], strict=True)
        )
        sixteenth = sixteenth + _twice(last)
        eighth = eighth + _twice(sixteenth)
        sixteenth = sixteenth + nn.functional.avg_pool2d(eighth, 2)
        last = last + nn.functional.avg_pool2d(sixteenth, 2)
        return maps[0], maps[1], eighth, sixteenth, last


def _twice(x: Tensor) -> Tensor:
    return nn.functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
