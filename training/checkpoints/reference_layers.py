"""Which convolution of ours is which numbered layer of the reference's Darknet-53 network.

The reference numbers all 116 layers of its cfg/yolov3_1088x608.cfg, shortcuts, routes, upsamplings
and outputs included. Both its ``.pt`` files and Darknet's ``.weights`` go by that order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from jdetrt.training.network.darknet53 import Darknet53, Residual, Stage
from jdetrt.training.network.layers import ConvBlock
from jdetrt.training.network.model import JdeNetwork
from jdetrt.training.network.pyramid import PyramidLevel

__all__ = ["BODY_LAYERS", "OUTPUT_LAYERS", "Layer", "reference_layers"]

BODY_LAYERS = 75  # layers 0-74 are the body, the content of darknet53.conv.74
OUTPUT_LAYERS = (85, 100, 115)  # the "yolo" layers; they hold the task weights of the loss


@dataclass(frozen=True, slots=True)
class Layer:
    """One convolution.

    Attributes:
        number: of the layer in the reference's cfg file.
        conv: the module path of the convolution in `JdeNetwork`.
        norm: that of its batch norm, None where it has a bias instead.
    """

    number: int
    conv: str
    norm: str | None


def reference_layers(network: JdeNetwork) -> list[Layer]:
    """The 78 convolutions of a Darknet-53 network in the order of the reference's layers."""
    names = {module: name for name, module in network.named_modules()}
    layers = []
    for number, block in _numbered(network):
        name = names[block]
        if isinstance(block, ConvBlock):
            layers.append(Layer(number, f"{name}.conv", f"{name}.norm"))
        else:
            layers.append(Layer(number, name, None))
    return layers


def _numbered(network: JdeNetwork) -> Iterator[tuple[int, nn.Module]]:
    number = 0
    for module in _units(network):
        match module:
            case Residual():
                yield number, module.reduce
                yield number + 1, module.expand
                number += 3  # ... and the shortcut
            case PyramidLevel():
                if module.lateral is not None:
                    yield number + 1, module.lateral  # after a route
                    number += 4  # ... and before the upsampling and the concatenation
                for block in (*module.bottleneck, *module.detection):
                    yield number, block
                    number += 1
                yield number + 1, module.embedding  # after a route
                number += 4  # ... and before the concatenation and the output
            case _:
                yield number, module
                number += 1


def _units(network: JdeNetwork) -> Iterator[nn.Module]:
    body = network.body
    if not isinstance(body, Darknet53):
        raise TypeError(f"the reference has no layers for the body '{network.body_name}'")
    yield body.stem
    for stage in body.stages:
        assert isinstance(stage, Stage)
        yield stage.down
        yield from stage.residuals
    yield from network.levels
