"""The feature pyramid of the paper: merge the scales of a body and predict at each."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from jdetrt.config import ANCHORS_PER_CELL
from jdetrt.training.network.layers import ConvBlock

__all__ = ["BOX_AND_LOGITS", "Body", "HeadMaps", "PyramidLevel"]

BOX_AND_LOGITS = 6  # channels an anchor: dx, dy, dw, dh, background logit, foreground logit


class HeadMaps(NamedTuple):
    """Raw outputs of one level of the pyramid.

    Attributes:
        detection: ``[N, 24, rows, columns]``; channel ``anchor * 6 + i``, with ``i`` 0-3 for dx,
            dy, dw, dh and 4, 5 for the background and the foreground logit. Of bodies whose boxes
            are distances: ``[N, 45, rows, columns]``, see `nanodet.DistanceLevel`.
        embedding: ``[N, D, rows, columns]``, not normalised; shared by the anchors of a cell. Of
            bodies with a `box_embedding.BoxEmbedding`: the maps that boxes are read from.
    """

    detection: Tensor
    embedding: Tensor


class PyramidLevel(nn.Module):
    """One scale of the pyramid: merge with the coarser level, refine, and predict.

    The embedding branches off the last 1x1 bottleneck, one 3x3 convolution earlier than the
    detection; so does the connection to the next level (reference cfg, layers 82 and 86).
    """

    def __init__(self, skip: int, above: int | None, width: int, embedding_dim: int) -> None:
        super().__init__()
        self.lateral = None if above is None else ConvBlock(above, width, 1)
        merged = skip if above is None else width + skip
        self.bottleneck = nn.Sequential(
            ConvBlock(merged, width, 1),
            ConvBlock(width, 2 * width, 3),
            ConvBlock(2 * width, width, 1),
            ConvBlock(width, 2 * width, 3),
            ConvBlock(2 * width, width, 1),
        )
        self.detection = nn.Sequential(
            ConvBlock(width, 2 * width, 3),
            nn.Conv2d(2 * width, ANCHORS_PER_CELL * BOX_AND_LOGITS, 1),
        )
        self.embedding = nn.Conv2d(width, embedding_dim, 3, padding=1)

    def forward(self, skip: Tensor, above: Tensor | None) -> tuple[Tensor, HeadMaps]:
        """The feature map for the next level, and the outputs of this one."""
        x = skip
        if self.lateral is not None:
            up = nn.functional.interpolate(self.lateral(above), scale_factor=2.0, mode="nearest")
            x = torch.cat([up, skip], dim=1)
        feature = self.bottleneck(x)
        return feature, HeadMaps(self.detection(feature), self.embedding(feature))


class Body(nn.Module):
    """Base of the bodies: images in, feature maps at /8, /16 and /32 out.

    Attributes:
        channels: of the maps /8, /16, /32.
        widths: channels of the pyramid levels /32, /16, /8.
        level: type of the levels.
        embedding: makes the embedding maps of all levels from the body's maps (such a body gives
            /4 too, before the others); None where each level makes its own.
        boxes: prediction of boxes: ``"anchors"``, or ``"distances"`` of their edges from the
            centre of a cell (`jdetrt.training.network.nanodet`).
    """

    channels: tuple[int, int, int]
    widths: tuple[int, int, int]
    level: type[nn.Module] = PyramidLevel
    embedding: type[nn.Module] | None = None
    boxes: Literal["anchors", "distances"] = "anchors"
