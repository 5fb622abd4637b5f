"""ResNet-50 and ResNet-101, the bodies that the paper compares with (section 4.3).

He et al. 2016 (arXiv 1512.03385), table 1, without the classifier. Modules have the names that
torchvision gives them, so that its ImageNet weights fit (`checkpoints.pretrained`). As there,
the 3x3 convolution of a bottleneck has the stride ("v1.5"); in the paper the first 1x1 has it.
"""

from __future__ import annotations

from torch import Tensor, nn

from jdetrt.training.network.layers import relu
from jdetrt.training.network.pyramid import Body

__all__ = ["Bottleneck", "ResNet", "ResNet50", "ResNet101"]

_EXPANSION = 4  # channels that leave a bottleneck for each one inside


class Bottleneck(nn.Module):
    """1x1 to ``width`` channels, 3x3, linear 1x1 to four times as many, added to the input.

    Where resolution or channels change, the input goes through a linear 1x1 convolution.
    """

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = _EXPANSION * width
        self.conv1 = _convolution(inputs, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _convolution(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = _convolution(width, outputs, 1)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = relu()
        self.downsample: nn.Sequential | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                _convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Feature map ``[N, 4 * width, H / stride, W / stride]``."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        shortcut = x if self.downsample is None else self.downsample(x)
        out: Tensor = self.relu(y + shortcut)
        return out


class ResNet(Body):
    """Feature maps /8 (512 channels), /16 (1024) and /32 (2048) of images."""

    channels = (512, 1024, 2048)
    widths = (512, 256, 128)  # Darknet-53's
    blocks: tuple[int, int, int, int]  # bottlenecks in each row

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _convolution(3, 64, 7, 2)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = relu()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = _row(64, 64, 1, self.blocks[0])
        self.layer2 = _row(256, 128, 2, self.blocks[1])
        self.layer3 = _row(512, 256, 2, self.blocks[2])
        self.layer4 = _row(1024, 512, 2, self.blocks[3])

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Feature maps /8, /16 and /32 of ``[N, 3, H, W]`` images."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        eighth = self.layer2(self.layer1(x))
        sixteenth = self.layer3(eighth)
        return eighth, sixteenth, self.layer4(sixteenth)


class ResNet50(ResNet):
    """50 layers, with the classifier that is left out."""

    blocks = (3, 4, 6, 3)


class ResNet101(ResNet):
    """101 layers, with the classifier that is left out."""

    blocks = (3, 4, 23, 3)


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)


def _row(inputs: int, width: int, stride: int, blocks: int) -> nn.Sequential:
    """Bottlenecks, of which the first changes resolution and channels."""
    row = nn.Sequential(Bottleneck(inputs, width, stride))
    for _ in range(blocks - 1):
        row.append(Bottleneck(_EXPANSION * width, width, 1))
    return row
