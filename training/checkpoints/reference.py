"""The ``.pt`` files of the reference, Towards-Realtime-MOT (train.py, models.py): read and write.

Such a file is a dict of ``epoch``, ``model`` and ``optimizer``; ``model`` has 455 tensors: 444 of
the network, three task weights of the loss at each of the three outputs, and weight and bias of
the identity classifier. The last eleven serve training only and are dropped. What other training
programs make of such a dict is read too (`weights_in`). Anchors and network size are not recorded.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from jdetrt import files
from jdetrt.config import LARGEST_EMBEDDING, LOSS_WEIGHT_INIT, NetworkConfig
from jdetrt.errors import CheckpointError
from jdetrt.training.checkpoints.state_dict import CheckpointInfo, bare_network, fill
from jdetrt.training.checkpoints.torch_file import outline, read_torch, weights_in
from jdetrt.training.network.darknet53 import Darknet53, Residual, Stage
from jdetrt.training.network.layers import ConvBlock
from jdetrt.training.network.model import JdeNetwork
from jdetrt.training.network.pyramid import PyramidLevel

__all__ = [
    "BODY_LAYERS",
    "Layer",
    "read_reference",
    "reference_layers",
    "write_reference",
]

# The reference numbers all 116 layers of its cfg/yolov3_1088x608.cfg, shortcuts, routes,
# upsamplings and outputs included. Both its .pt files and Darknet's .weights follow that order.
BODY_LAYERS = 75  # layers 0-74 are the body, the content of darknet53.conv.74
_OUTPUT_LAYERS = (85, 100, 115)  # the "yolo" layers; they hold the task weights of the loss

_BODY = "darknet53"
_CLASSIFIER = ("classifier.weight", "classifier.bias")
_EMBEDDING = "module_list.83.conv_83.weight"
_CONV_PARTS = ("weight", "bias")
_NORM_PARTS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def read_reference(path: Path) -> tuple[JdeNetwork, CheckpointInfo]:
    """Read a checkpoint of the reference; no code in it is run.

    Raises:
        CheckpointError: the file is cut short, holds something other than tensors and plain
            values, or has tensors that are missing, unexpected or of another shape.
    """
    content = read_torch(path)
    state = weights_in(content, path)
    if state is None:
        raise CheckpointError(
            f"{path}: expected a dict with the weights under 'model', 'state_dict' or 'ema', or "
            f"the weights themselves; it holds {outline(content)}"
        )
    embedding = state.get(_EMBEDDING)
    dim = len(embedding) if isinstance(embedding, Tensor) and embedding.ndim else 512
    network = bare_network(_BODY, min(max(dim, 1), LARGEST_EMBEDDING))
    ours = {theirs: name for name, theirs in _names(network).items()}
    training_only = {*_CLASSIFIER, *_task_weights()}
    tensors = {ours.get(k, k): v for k, v in state.items() if k not in training_only}
    fill(network, tensors, path, {name: theirs for theirs, name in ours.items()})

    classifier = state.get("classifier.weight")
    epoch = content.get("epoch") if isinstance(content, Mapping) else None
    return network, CheckpointInfo(
        kind="reference",
        config=NetworkConfig(body=_BODY, embedding_dim=network.embedding_dim),
        keys=len(state),
        identities=len(classifier) if isinstance(classifier, Tensor) and classifier.ndim else None,
        epoch=epoch if isinstance(epoch, int) else None,
    )


def write_reference(
    path: str | Path,
    network: JdeNetwork,
    identities: int,
    *,
    classifier: tuple[Tensor, Tensor] | None = None,
    epoch: int = 0,
) -> None:
    """Write a Darknet-53 network for the reference's own programs, whole or not at all.

    Args:
        path: the file.
        network: with body ``"darknet53"``.
        identities: rows of the classifier (14455 in the reference's released files).
        classifier: its weight ``[identities, D]`` and bias ``[identities]``; default: zeros.
        epoch: the epoch to record.

    Raises:
        CheckpointError: the network has another body.
        OutputError: the file cannot be written.
    """
    if network.body_name != _BODY:
        raise CheckpointError(
            f"{path}: the reference's layout is for the body '{_BODY}' only, "
            f"this network has '{network.body_name}'"
        )
    tensors = network.state_dict()
    model = {theirs: tensors[name].cpu() for name, theirs in _names(network).items()}
    model |= {name: torch.full((1,), value) for name, value in _task_weights().items()}
    weight, bias = classifier or (
        torch.zeros(identities, network.embedding_dim),
        torch.zeros(identities),
    )
    model |= dict(zip(_CLASSIFIER, (weight.detach(), bias.detach()), strict=True))
    buffer = io.BytesIO()
    torch.save({"epoch": epoch, "model": model, "optimizer": []}, buffer)
    files.write_bytes(path, buffer.getvalue())


def _names(network: JdeNetwork) -> dict[str, str]:
    """The reference's name of each tensor by ours."""
    names = {}
    for layer in reference_layers(network):
        prefix = f"module_list.{layer.number}"
        for part in _CONV_PARTS if layer.norm is None else _CONV_PARTS[:1]:
            names[f"{layer.conv}.{part}"] = f"{prefix}.conv_{layer.number}.{part}"
        for part in _NORM_PARTS if layer.norm is not None else ():
            names[f"{layer.norm}.{part}"] = f"{prefix}.batch_norm_{layer.number}.{part}"
    return names


def _task_weights() -> dict[str, float]:
    return {
        f"module_list.{index}.yolo_{index}.{name}": value
        for index in _OUTPUT_LAYERS
        for name, value in LOSS_WEIGHT_INIT.items()
    }


@dataclass(frozen=True, slots=True)
class Layer:
    """One convolution."""

    number: int  # of the layer in the reference's cfg file
    conv: str  # module path of the convolution in JdeNetwork
    norm: str | None  # that of its batch norm; None if it has a bias instead


def reference_layers(network: JdeNetwork) -> list[Layer]:
    """The 78 convolutions of a Darknet-53 network in the order of the reference's layers."""
    names = {module: name for name, module in network.named_modules()}
    return [
        Layer(number, f"{names[block]}.conv", f"{names[block]}.norm")
        if isinstance(block, ConvBlock)
        else Layer(number, names[block], None)
        for number, block in _numbered(network)
    ]


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
