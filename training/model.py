"""The JDE network: a convolutional body, a feature pyramid, and two outputs at each of its levels.

::

    images [N, 3, H, W]
      body     -> /8, /16, /32 feature maps
      pyramid  -> level /32, level /16 (sees /32), level /8 (sees /16)
      level    -> detection map [N, 24, H/s, W/s], embedding map [N, D, H/s, W/s]

The outputs are raw: decoding is ``jdetrt.export.deploy_graph``'s, and what only training needs
(identity classifier, losses, their weights) is kept outside of this module, so that a checkpoint
of it fits whatever the number of identities was.

Structure: paper section 3.1 and figure 2; reference cfg/yolov3_1088x608.cfg.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from jdetrt.config import ANCHORS_PER_CELL
from jdetrt.errors import ConfigError

__all__ = ["BODIES", "Body", "Darknet53", "HeadMaps", "JdeNetwork", "initialise", "random_network"]

BOX_AND_LOGITS = 6  # channels an anchor: dx, dy, dw, dh, background logit, foreground logit
LEAK = 0.1


class HeadMaps(NamedTuple):
    """Raw outputs of one level of the pyramid.

    Attributes:
        detection: ``[N, 24, rows, columns]``; channel ``anchor * 6 + i``, with ``i`` 0-3 for dx,
            dy, dw, dh and 4, 5 for the background and the foreground logit.
        embedding: ``[N, D, rows, columns]``, not normalised; shared by the anchors of a cell.
    """

    detection: Tensor
    embedding: Tensor


class ConvBlock(nn.Module):
    """Convolution without bias, batch norm, leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs)
        self.act = nn.LeakyReLU(LEAK)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.norm(self.conv(x)))
        return y


class Residual(nn.Module):
    """Darknet's bottleneck: 1x1 to half of the channels, 3x3 back, add."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = ConvBlock(channels, channels // 2, 1)
        self.expand = ConvBlock(channels // 2, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.expand(self.reduce(x))
        return y


class Stage(nn.Module):
    """Halve the resolution, then a row of residuals."""

    def __init__(self, inputs: int, outputs: int, residuals: int) -> None:
        super().__init__()
        self.down = ConvBlock(inputs, outputs, 3, stride=2)
        self.residuals = nn.Sequential(*(Residual(outputs) for _ in range(residuals)))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.residuals(self.down(x))
        return y


class Body(nn.Module):
    """Base of the bodies: pictures in, feature maps at /8, /16 and /32 out.

    Attributes:
        channels: of the maps /8, /16, /32.
        widths: channels of the pyramid levels /32, /16, /8 that go with this body.
    """

    channels: tuple[int, int, int]
    widths: tuple[int, int, int]


class Darknet53(Body):
    """The body of YOLOv3 (Redmon and Farhadi 2018, table 1) without its classifier."""

    channels = (256, 512, 1024)
    widths = (512, 256, 128)

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvBlock(3, 32, 3)
        self.stages = nn.ModuleList(
            Stage(inputs, outputs, residuals)
            for inputs, outputs, residuals in (
                (32, 64, 1),
                (64, 128, 2),
                (128, 256, 8),
                (256, 512, 8),
                (512, 1024, 4),
            )
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Feature maps /8, /16 and /32 of ``[N, 3, H, W]`` pictures."""
        x = self.stem(images)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps[2], maps[3], maps[4]


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
        x = skip
        if self.lateral is not None:
            up = nn.functional.interpolate(self.lateral(above), scale_factor=2.0, mode="nearest")
            x = torch.cat([up, skip], dim=1)
        feature = self.bottleneck(x)
        return feature, HeadMaps(self.detection(feature), self.embedding(feature))


BODIES: Mapping[str, type[Body]] = {"darknet53": Darknet53}


class JdeNetwork(nn.Module):
    """The whole network, raw outputs.

    Args:
        body: a name in `BODIES`.
        embedding_dim: channels of the embedding maps.

    Raises:
        ConfigError: no body of that name.
    """

    def __init__(self, body: str = "darknet53", embedding_dim: int = 512) -> None:
        super().__init__()
        if body not in BODIES:
            raise ConfigError(f"unknown body '{body}'; there are: {', '.join(BODIES)}")
        self.body_name = body
        self.embedding_dim = embedding_dim
        self.body = BODIES[body]()
        above: int | None = None
        self.levels = nn.ModuleList()
        for skip, width in zip(reversed(self.body.channels), self.body.widths, strict=True):
            self.levels.append(PyramidLevel(skip, above, width, embedding_dim))
            above = width

    def forward(self, images: Tensor) -> tuple[HeadMaps, HeadMaps, HeadMaps]:
        """Raw maps of the levels /32, /16, /8.

        Args:
            images: ``[N, 3, H, W]`` RGB from 0 to 1; H and W multiples of 32.
        """
        feature: Tensor | None = None
        outputs = []
        for level, skip in zip(self.levels, reversed(self.body(images)), strict=True):
            feature, maps = level(skip, feature)
            outputs.append(maps)
        return outputs[0], outputs[1], outputs[2]


@torch.no_grad()
def initialise(network: nn.Module, seed: int = 0) -> None:
    """Fill a network with random weights that keep activations at a steady size.

    He et al. 2015 for the convolutions. The last batch norm of each residual is scaled by half of
    one over the number of residuals in its row: what they add has a positive mean, so their sum
    would grow with their number wherever running statistics are still at 0 and 1. (The reference
    draws batch norm scales from 0 to 1, with which untrained outputs all but vanish.) Detections
    start a tenth as large, so that boxes start out close to their anchors.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
            gain = 2 / (1 + LEAK**2) if module.bias is None else 1
            module.weight.normal_(0.0, (gain / fan_in) ** 0.5, generator=generator)
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
    for module in network.modules():
        if isinstance(module, Stage):
            for name, weight in module.residuals.named_parameters():
                if name.endswith("expand.norm.weight"):
                    weight.fill_(0.5 / len(module.residuals))
        elif isinstance(module, PyramidLevel):
            module.detection.get_parameter("1.weight").mul_(0.1)


def random_network(seed: int = 0, body: str = "darknet53", embedding_dim: int = 512) -> JdeNetwork:
    """A network with the random weights of `initialise`, in evaluation mode."""
    with torch.device("meta"):  # no weights are drawn twice, nor from the global generator
        network = JdeNetwork(body, embedding_dim)
    network.to_empty(device="cpu")
    initialise(network, seed)
    return network.eval()
