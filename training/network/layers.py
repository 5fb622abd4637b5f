"""Layers that bodies and pyramids share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = ["LEAK", "ConvBlock", "leaky_relu", "relu", "relu6"]

LEAK = 0.1  # of Darknet's leaky ReLU

Activation = Callable[[], nn.Module]


def leaky_relu() -> nn.Module:
    """Darknet's activation."""
    return nn.LeakyReLU(LEAK, inplace=True)


def relu() -> nn.Module:
    """ResNet's activation."""
    return nn.ReLU(inplace=True)


def relu6() -> nn.Module:
    """ReLU clipped at 6: a fixed range suits INT8."""
    return nn.ReLU6(inplace=True)


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
        frozen = self.training and not self.norm.training
        y: Tensor = self.act(self._folded(x) if frozen else self.norm(self.conv(x)))
        return y

    def _folded(self, x: Tensor) -> Tensor:
        """Convolution and a batch norm with fixed statistics, in one pass over the feature map."""
        norm = self.norm
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        return nn.functional.conv2d(
            x,
            self.conv.weight * scale[:, None, None, None],
            norm.bias - norm.running_mean * scale,
            self.conv.stride,
            self.conv.padding,
            groups=self.conv.groups,
        )
