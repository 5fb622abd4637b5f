"""Read and write the ``.pt`` files of the reference, Towards-Realtime-MOT (train.py, models.py).

Such a file is a dict of ``epoch``, ``model`` and ``optimizer``; ``model`` has 455 tensors: 444 of
the network, three task weights of the loss at each of the three outputs, and weight and bias of
the identity classifier. The last eleven serve training only and are dropped. A bare ``model``
dict is read too. Anchors and network size are not recorded.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from jdetrt import files
from jdetrt.config import LOSS_WEIGHT_INIT, NetworkConfig
from jdetrt.errors import CheckpointError
from jdetrt.training.checkpoints.reference_layers import OUTPUT_LAYERS, reference_layers
from jdetrt.training.checkpoints.state_dict import CheckpointInfo, bare_network, fill
from jdetrt.training.checkpoints.torch_file import outline, read_torch
from jdetrt.training.network.model import JdeNetwork

__all__ = ["read_reference", "write_reference"]

_BODY = "darknet53"
_CLASSIFIER = ("classifier.weight", "classifier.bias")
_PARALLEL = "module."
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
    state = content.get("model", content) if isinstance(content, Mapping) else None
    if isinstance(state, Mapping):
        state = _without_prefix(state)
    if not isinstance(state, Mapping) or not any(isinstance(v, Tensor) for v in state.values()):
        raise CheckpointError(
            f"{path}: expected a dict with the weights under 'model', or the weights themselves; "
            f"it holds {outline(content)}"
        )
    embedding = state.get(_EMBEDDING)
    dim = len(embedding) if isinstance(embedding, Tensor) and embedding.ndim else 512
    network = bare_network(_BODY, max(dim, 1))
    ours = {theirs: name for name, theirs in _names(network).items()}
    training_only = {*_CLASSIFIER, *_task_weights()}
    tensors = {ours.get(k, str(k)): v for k, v in state.items() if k not in training_only}
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
    """Write a Darknet-53 network as the reference would, for its own programs to load.

    Args:
        path: the file to write, whole or not at all.
        network: with body ``"darknet53"``.
        identities: rows of the classifier (14455 in the reference's released files).
        classifier: its weight ``[identities, D]`` and bias ``[identities]``; zeros where None.
        epoch: the epoch to record.

    Raises:
        CheckpointError: the network has another body.
        SinkError: the file cannot be written.
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
    """Our name of each tensor -> the reference's."""
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
        for index in OUTPUT_LAYERS
        for name, value in LOSS_WEIGHT_INIT.items()
    }


def _without_prefix(state: Mapping[object, object]) -> Mapping[object, object]:
    """Take away the "module." that nn.DataParallel puts before every name."""
    if not all(isinstance(name, str) and name.startswith(_PARALLEL) for name in state):
        return state
    return {str(name).removeprefix(_PARALLEL): value for name, value in state.items()}
