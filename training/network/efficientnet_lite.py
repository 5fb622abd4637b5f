"""EfficientNet-Lite0, the body of the network 'nano', and its slim pyramid.

EfficientNet-Lite0 (Tan and Le 2019, arXiv 1905.11946, in the "Lite" form published with the
TensorFlow TPU models in 2020: ReLU6, no squeeze-and-excitation) up to its last stage, without the
1280-channel layer and the classifier. There are only convolutions, ReLU6, additions, average
pooling and one nearest upsampling per level, so that INT8 suits every layer.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from jdetrt.config import ANCHORS_PER_CELL
from jdetrt.training.network.layers import ConvBlock, relu6
from jdetrt.training.network.pyramid import BOX_AND_LOGITS, Body

__all__ = ["EfficientNetLite0", "SharedEmbedding", "SlimLevel"]

_SHADES = 64  # channels that the early maps are projected to
_INNER = 128  # channels inside the embedding branch

# Blocks of each stage: expansion, kernel, stride of the first, channels out, blocks.
_STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)


class InvertedResidual(nn.Module):
    """1x1 to more channels, depthwise convolution, linear 1x1 back, added to the input."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        inside = inputs * expansion
        self.expand = None if expansion == 1 else ConvBlock(inputs, inside, 1, activation=relu6)
        self.depthwise = ConvBlock(inside, inside, kernel, stride, inside, activation=relu6)
        self.project = ConvBlock(inside, outputs, 1, activation=None)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Feature map of ``outputs`` channels."""
        y: Tensor = x if self.expand is None else self.expand(x)
        y = self.project(self.depthwise(y))
        return x + y if self.residual else y


def separable(width: int) -> nn.Sequential:
    """Depthwise 3x3 and pointwise convolution."""
    return nn.Sequential(
        ConvBlock(width, width, 3, groups=width, activation=relu6),
        ConvBlock(width, width, 1, activation=relu6),
    )


class SlimLevel(nn.Module):
    """One scale of the slim pyramid: add the coarser level, refine, and predict detections."""

    def __init__(self, skip: int, above: int | None, width: int) -> None:
        super().__init__()
        self.lateral = ConvBlock(skip, width, 1, activation=None if above else relu6)
        self.merged = nn.ReLU6()
        self.refine = separable(width)
        self.detection = nn.Sequential(
            separable(width),
            separable(width),
            nn.Conv2d(width, ANCHORS_PER_CELL * BOX_AND_LOGITS, 1),
        )

    def forward(self, skip: Tensor, above: Tensor | None) -> tuple[Tensor, Tensor]:
        """The refined feature map for the next level, and the detection map of this one."""
        x = self.lateral(skip)
        if above is not None:
            x = self.merged(x + nn.functional.interpolate(above, scale_factor=2.0, mode="nearest"))
        feature = self.refine(x)
        return feature, self.detection(feature)


class SharedEmbedding(nn.Module):
    """Embeddings of all levels, from the colours and textures around a cell.

    Its inputs are the early maps /4 and /8, which still hold the colours that the late ones have
    lost, projected to shades (a 1x1 convolution and ReLU6 each) and averaged over the cells of a
    level. The rest is nearly linear, so that an embedding is a sum over the cells around a person,
    like a histogram, and depends little on the position: a branch with late maps learnt positions
    rather than people from few images. All levels share it, so that a person keeps the embedding
    at any size.
    """

    def __init__(self, embedding_dim: int) -> None:
        super().__init__()
        self.fine = nn.Sequential(nn.Conv2d(24, _SHADES // 2, 1), nn.ReLU6())
        self.coarse = nn.Sequential(nn.Conv2d(40, _SHADES // 2, 1), nn.ReLU6())
        self.look = ConvBlock(_SHADES, _INNER, 1, activation=relu6)
        self.around = ConvBlock(_INNER, _INNER, 7, groups=_INNER, activation=None)
        self.output = nn.Conv2d(_INNER, embedding_dim, 1)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Embedding maps of the levels /32, /16, /8 from the body's maps, of which /4 and /8."""
        quarter, eighth = maps[:2]
        pool = nn.functional.avg_pool2d
        shades = torch.cat([pool(self.fine(quarter), 2), self.coarse(eighth)], dim=1)
        return self._of(pool(shades, 4)), self._of(pool(shades, 2)), self._of(shades)

    def _of(self, shades: Tensor) -> Tensor:
        embedding: Tensor = self.output(self.around(self.look(shades)))
        return embedding


class EfficientNetLite0(Body):
    """Feature maps /4 (24 channels), /8 (40), /16 (112) and /32 (320) of images."""

    channels = (40, 112, 320)
    widths = (96, 96, 96)
    level = SlimLevel
    embedding = SharedEmbedding

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvBlock(3, 32, 3, 2, activation=relu6)
        self.stages = nn.ModuleList()
        inputs = 32
        for expansion, kernel, stride, outputs, blocks in _STAGES:
            stage = nn.Sequential()
            for block in range(blocks):
                first = block == 0
                stage.append(
                    InvertedResidual(inputs, outputs, expansion, kernel, stride if first else 1)
                )
                inputs = outputs
            self.stages.append(stage)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Feature maps /4, /8, /16 and /32 of ``[N, 3, H, W]`` images."""
        x = self.stem(images)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps[1], maps[2], maps[4], maps[6]
