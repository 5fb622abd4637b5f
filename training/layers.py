"""Layers that more than one body or pyramid is built of."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

__all__ = ["LEAK", "ConvBlock", "leaky_relu", "relu", "relu6"]

LEAK = 0.1  # of Darknet's leaky ReLU

Activation = Callable[[], nn.Module]


def leaky_relu() -> nn.Module:
    """Darknet's."""
    return nn.LeakyReLU(LEAK)


def relu() -> nn.Module:
    """ResNet's."""
    return nn.ReLU()


def relu6() -> nn.Module:
    """ReLU cut off at 6: a fixed range, kind to INT8."""
    return nn.ReLU6()


class ConvBlock(nn.Module):
    """Convolution without bias, batch norm, activation.

    Args:
        inputs: channels in.
        outputs: channels out.
        kernel: its side; the padding keeps the resolution at a stride of 1.
        stride: of the convolution.
        groups: of the convolution; as many as channels for a depthwise one.
        activation: makes it; None for a linear block.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        activation: Activation | None = leaky_relu,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False
        )
        self.norm: nn.Module = nn.BatchNorm2d(outputs)
        self.act = nn.Identity() if activation is None else activation()

    def forward(self, x: Tensor) -> Tensor:
        """Feature map ``[N, outputs, H / stride, W / stride]``."""
        y: Tensor = self.act(self.norm(self.conv(x)))
        return y
