"""The body of YOLOv3, Darknet-53, which the paper's own network has."""

from __future__ import annotations

from torch import Tensor, nn

from jdetrt.training.layers import ConvBlock
from jdetrt.training.pyramid import Body

__all__ = ["Darknet53", "Residual", "Stage"]


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
    """Halve the resolution, then a row of residuals."""

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
