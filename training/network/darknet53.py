"""Darknet-53, the body of YOLOv3 and of the paper's own network, and a small version of it."""

from __future__ import annotations

from torch import Tensor, nn

from jdetrt.training.network.layers import ConvBlock
from jdetrt.training.network.pyramid import Body

__all__ = ["Darknet53", "DarknetSmall", "Residual", "Stage"]


class Residual(nn.Module):
    """Darknet's bottleneck: 1x1 to half of the channels, 3x3 back, add."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = ConvBlock(channels, channels // 2, 1)
        self.expand = ConvBlock(channels // 2, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Feature map of the same shape."""
        y: Tensor = x + self.expand(self.reduce(x))
        return y


class Stage(nn.Module):
    """A convolution that halves the resolution, then residuals."""

    def __init__(self, inputs: int, outputs: int, residuals: int) -> None:
        super().__init__()
        self.down = ConvBlock(inputs, outputs, 3, stride=2)
        self.residuals = nn.Sequential(*(Residual(outputs) for _ in range(residuals)))

    def forward(self, x: Tensor) -> Tensor:
        """Feature map of half the height and width."""
        y: Tensor = self.residuals(self.down(x))
        return y


class Darknet53(Body):
    """The body of YOLOv3 (Redmon and Farhadi 2018, table 1) without its classifier."""

    channels = (256, 512, 1024)
    widths = (512, 256, 128)
    residuals = (1, 2, 8, 8, 4)  # of each stage

    def __init__(self) -> None:
        super().__init__()
        width = self.channels[0] // 8
        self.stem = ConvBlock(3, width, 3)
        self.stages = nn.ModuleList(
            Stage(width << number, 2 * width << number, count)
            for number, count in enumerate(self.residuals)
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Feature maps /8, /16 and /32 of ``[N, 3, H, W]`` images."""
        x = self.stem(images)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps[2], maps[3], maps[4]


class DarknetSmall(Darknet53):
    """A quarter as wide, one residual per stage: to compare losses in minutes (ours)."""

    channels = (64, 128, 256)
    widths = (128, 64, 32)
    residuals = (1, 1, 1, 1, 1)
