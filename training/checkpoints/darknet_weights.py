"""Darknet's weight files: the ImageNet body ``darknet53.conv.74``, or all layers of JDE.

A header of five little-endian int32 (versions, and in the last two the number of training images),
then float32 for each convolution in layer order: with batch norm its bias, weight, running mean and
running variance, then the kernel; without, bias and kernel (reference models.py,
load_darknet_weights). The file does not name its network, so its size must fit.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from jdetrt.config import NetworkConfig
from jdetrt.errors import CheckpointError
from jdetrt.file_kind import DARKNET_HEADER_BYTES
from jdetrt.training.checkpoints.reference import BODY_LAYERS, reference_layers
from jdetrt.training.checkpoints.state_dict import CheckpointInfo, bare_network, fill
from jdetrt.training.network.model import JdeNetwork, random_network

__all__ = ["file_sizes", "read_darknet"]

_EMBEDDING_DIM = 512
# The parts of a batch norm in the order of the file, and Darknet's names of them.
_NORM_PARTS = {
    "bias": "biases",
    "weight": "scales",
    "running_mean": "rolling mean",
    "running_var": "rolling variance",
}


def file_sizes() -> tuple[int, int]:
    """Bytes of a file of the body alone, and of one of all layers.

    >>> file_sizes()
    (162482580, 262869684)
    """
    layout = _layout(bare_network("darknet53", _EMBEDDING_DIM))
    body = sum(tensor.numel() for number, _, _, tensor in layout if number < BODY_LAYERS)
    whole = sum(tensor.numel() for *_, tensor in layout)
    return DARKNET_HEADER_BYTES + 4 * body, DARKNET_HEADER_BYTES + 4 * whole


def read_darknet(path: Path) -> tuple[JdeNetwork, CheckpointInfo]:
    """Read a Darknet file; a body alone gets random levels (seed 0), to be trained.

    Raises:
        CheckpointError: its size is neither that of the body nor that of all layers, or weights
            are not finite.
    """
    body_size, whole_size = file_sizes()
    size = path.stat().st_size
    if size not in (body_size, whole_size):
        raise CheckpointError(
            f"{path}: has {size} bytes, but a Darknet weight file of this network has {body_size} "
            f"(darknet53.conv.74) or {whole_size} (all layers); it is cut short or belongs to "
            "another network"
        )
    complete = size == whole_size
    network = bare_network("darknet53", _EMBEDDING_DIM)
    tensors: dict[str, Tensor] = {}
    if not complete:
        initial = random_network(0).state_dict().items()
        tensors = {name: value for name, value in initial if name.startswith("levels.")}
    values = np.fromfile(path, np.dtype("<f4"), offset=DARKNET_HEADER_BYTES)
    first = 0
    stored = {}
    for number, part, name, tensor in _layout(network):
        stored[name] = f"layer {number}, {part}"
        if complete or number < BODY_LAYERS:
            piece = values[first : first + tensor.numel()]
            tensors[name] = torch.from_numpy(piece).reshape(tensor.shape)
            first += tensor.numel()
    fill(network, tensors, path, stored)
    return network, CheckpointInfo(
        kind="darknet" if complete else "darknet-body",
        config=NetworkConfig(body="darknet53", embedding_dim=_EMBEDDING_DIM),
        keys=len(tensors),
        complete=complete,
    )


def _layout(network: JdeNetwork) -> list[tuple[int, str, str, Tensor]]:
    """Layer number, Darknet's name of the part, our name, the tensor; in the order of the file."""
    tensors = network.state_dict()
    names = []
    for layer in reference_layers(network):
        if layer.norm is None:
            names.append((layer.number, "biases", f"{layer.conv}.bias"))
        else:
            for part, theirs in _NORM_PARTS.items():
                names.append((layer.number, theirs, f"{layer.norm}.{part}"))
        names.append((layer.number, "weights", f"{layer.conv}.weight"))
    return [(number, part, name, tensors[name]) for number, part, name in names]
