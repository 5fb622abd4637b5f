"""The JDE network: a convolutional body, a feature pyramid, and two outputs at each of its levels.

::

    images [N, 3, H, W]
      body     -> /8, /16, /32 feature maps
      pyramid  -> level /32, level /16 (sees /32), level /8 (sees /16)
      level    -> detection map [N, 24, H/s, W/s], embedding map [N, D, H/s, W/s]

The outputs are raw: ``jdetrt.export.deploy_graph`` decodes them. The identity classifier, losses
and their weights are not part of it, so that a checkpoint fits any number of identities.

Structure: paper section 3.1 and figure 2; reference cfg/yolov3_1088x608.cfg.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from jdetrt.errors import ConfigError
from jdetrt.training.network.darknet53 import Darknet53, DarknetSmall, Residual
from jdetrt.training.network.efficientnet_lite import EfficientNetLite0, SlimLevel
from jdetrt.training.network.layers import LEAK, ConvBlock
from jdetrt.training.network.nanodet import DistanceLevel, NanoDetG
from jdetrt.training.network.pyramid import Body, HeadMaps, PyramidLevel
from jdetrt.training.network.resnet import Bottleneck, ResNet50, ResNet101

__all__ = ["BODIES", "JdeNetwork", "initialise", "random_network"]


BODIES: Mapping[str, type[Body]] = {
    "darknet53": Darknet53,
    "darknet-small": DarknetSmall,
    "resnet50": ResNet50,
    "resnet101": ResNet101,
    "nano": EfficientNetLite0,
    "nanodet-g": NanoDetG,
}

# The last batch norm of each kind of residual that stands in rows.
_LAST_NORM = {Residual: "expand.norm", Bottleneck: "bn3"}


class JdeNetwork(nn.Module):
    """The whole network with raw outputs.

    Args:
        body: a name in `BODIES`.
        embedding_dim: channels of the embedding maps.

    Raises:
        ConfigError: there is no such body.
    """

    def __init__(self, body: str = "darknet53", embedding_dim: int = 512) -> None:
        super().__init__()
        if body not in BODIES:
            raise ConfigError(f"unknown body '{body}'; there are: {', '.join(BODIES)}")
        self.body_name = body
        self.embedding_dim = embedding_dim
        self.body = BODIES[body]()
        shared = self.body.embedding
        above: int | None = None
        self.levels = nn.ModuleList()
        for skip, width in zip(reversed(self.body.channels), self.body.widths, strict=True):
            own = () if shared else (embedding_dim,)
            self.levels.append(self.body.level(skip, above, width, *own))
            above = width
        self.embedding = shared(embedding_dim) if shared else None

    def forward(self, images: Tensor) -> tuple[HeadMaps, HeadMaps, HeadMaps]:
        """Raw maps of the levels /32, /16, /8.

        Args:
            images: ``[N, 3, H, W]`` RGB from 0 to 1; H and W multiples of 32.
        """
        maps = self.body(images)
        embeddings = None if self.embedding is None else self.embedding(maps)
        feature: Tensor | None = None
        outputs = []
        for number, (level, skip) in enumerate(zip(self.levels, maps[:-4:-1], strict=True)):
            feature, head = level(skip, feature)
            outputs.append(head if embeddings is None else HeadMaps(head, embeddings[number]))
        return outputs[0], outputs[1], outputs[2]


@torch.no_grad()
def initialise(network: nn.Module, seed: int = 0) -> None:
    """Fill a network with random weights that keep activations at a steady size.

    He et al. 2015 for the convolutions. In Darknet-53 and the ResNets the last batch norm of each
    residual is scaled by half of one over the number of residuals in its row: with running
    statistics still at 0 and 1, their sum would grow with their number. (The reference draws batch
    norm scales from 0 to 1, with which untrained outputs all but vanish.) Detections start a tenth
    as large, so that boxes start close to their anchors.
    """
    generator = torch.Generator().manual_seed(seed)
    linear = {
        block.conv
        for block in network.modules()
        if isinstance(block, ConvBlock) and isinstance(block.act, nn.Identity)
    }
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
            gain = 1 if module.bias is not None or module in linear else 2 / (1 + LEAK**2)
            module.weight.normal_(0.0, (gain / fan_in) ** 0.5, generator=generator)
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, nn.Linear):
            module.weight.normal_(0.0, module.in_features**-0.5, generator=generator)
            module.bias.zero_()
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
    for module in network.modules():
        if isinstance(module, nn.Sequential):
            for block in module:
                if type(block) in _LAST_NORM:
                    norm = block.get_submodule(_LAST_NORM[type(block)])
                    norm.get_parameter("weight").fill_(0.5 / len(module))
        elif isinstance(module, (DistanceLevel, PyramidLevel, SlimLevel)):
            output = module.detection[-1]
            assert isinstance(output, nn.Conv2d)
            output.weight.mul_(0.1)


def random_network(seed: int = 0, body: str = "darknet53", embedding_dim: int = 512) -> JdeNetwork:
    """A network with the random weights of `initialise`, in evaluation mode."""
    with torch.device("meta"):  # no weights are drawn twice, nor from the global generator
        network = JdeNetwork(body, embedding_dim)
    network.to_empty(device="cpu")
    initialise(network, seed)
    return network.eval()
