"""The published weights of NanoDet-g, from an ONNX model of it, in the names of `NanoDetG`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from jdetrt.engine.onnx_file import check_texts
from jdetrt.errors import CheckpointError, MissingDependencyError
from jdetrt.training.network.model import JdeNetwork
from jdetrt.training.network.nanodet import DISTANCES

__all__ = ["absorb_normalisation", "nanodet_weights", "read_nanodet"]

_CLASSES = 80
_PERSON = 0
# Of its pictures, BGR, 0 to 255 (RangiLyu/nanodet, config/nanodet-g.yml).
_MEAN = (103.53, 116.28, 123.675)
_DEVIATION = (57.375, 57.12, 58.395)
_NUMBERED = re.compile(r"convolution(?:_(\d+))?(?:/\w+)?$")


def read_nanodet(network: JdeNetwork, path: Path) -> None:
    """Put NanoDet-g's weights into a network of body ``nanodet-g``, in place.

    All is replaced but the embedding branch. The network takes pictures as all others do, RGB from
    0 to 1: the normalisation is taken into the first convolution. In the first row and column of
    that convolution's output this is an approximation (`absorb_normalisation`).

    Args:
        network: to fill.
        path: an ONNX model whose convolutions are numbered in their names, ``convolution``,
            ``convolution_1`` and so on: body, pyramid, and the heads /8, /16, /32.

    Raises:
        CheckpointError: the model is damaged or another one.
        MissingDependencyError: the package onnx is not installed.
    """
    weights = nanodet_weights(network, path)
    absorb_normalisation(weights)
    network.load_state_dict(weights, strict=False)


def nanodet_weights(network: JdeNetwork, path: Path) -> dict[str, Tensor]:
    """NanoDet-g's weights by the names in ``network``, for its own normalised BGR pictures.

    Raises:
        CheckpointError, MissingDependencyError: as `read_nanodet`.
    """
    own = [
        name
        for part in (network.body, *reversed(network.levels))
        for name in _convolutions(network, part)
    ]
    found = _stored(path)
    if len(found) != len(own):
        raise CheckpointError(
            f"{path}: has {len(found)} numbered convolutions with a bias, NanoDet-g {len(own)}"
        )
    expected = network.state_dict()
    weights: dict[str, Tensor] = {}
    for name, (kernel, bias) in zip(own, found, strict=True):
        if len(kernel) == _CLASSES + 4 * DISTANCES:
            rows = [_PERSON, *range(_CLASSES, len(kernel))]
            kernel, bias = kernel[rows], bias[rows]
        for kind, array in (("weight", kernel), ("bias", bias)):
            value = torch.from_numpy(np.array(array, np.float32))
            if value.shape != expected[f"{name}.{kind}"].shape or not value.isfinite().all():
                raise CheckpointError(
                    f"{path}: the {kind} for {name} is not that of NanoDet-g: shape "
                    f"{tuple(value.shape)}, or numbers that are not finite"
                )
            weights[f"{name}.{kind}"] = value
    return weights


def absorb_normalisation(weights: dict[str, Tensor]) -> None:
    """Have the first convolution take RGB from 0 to 1, in place.

    ``(255 x - mean) / deviation`` and the order of the channels go into kernel and bias. At the
    upper and the left border the convolution pads with zeros, which are the mean colour after
    normalisation and black without it: there, and only there, the output differs.
    """
    kernel = weights["body.stem.0.weight"]
    scaled = kernel / torch.tensor(_DEVIATION)[:, None, None]
    shift = (scaled * torch.tensor(_MEAN)[:, None, None]).sum((1, 2, 3))
    weights["body.stem.0.weight"] = 255.0 * scaled.flip(1)
    weights["body.stem.0.bias"] = weights["body.stem.0.bias"] - shift


def _convolutions(network: nn.Module, part: nn.Module) -> list[str]:
    """Names of a part's convolutions in the network, in the order in which they were made."""
    names = {module: name for name, module in network.named_modules()}
    return [names[module] for module in part.modules() if isinstance(module, nn.Conv2d)]


def _stored(path: Path) -> list[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """Kernel and bias of each convolution, in the order of their numbers."""
    try:
        import onnx
    except ImportError as err:
        raise MissingDependencyError("onnx", "train", "Starting from NanoDet-g") from err
    damaged = f"{path}: is no whole ONNX model; copy it again"
    try:
        model = onnx.load(path)
    except Exception as err:  # protobuf's own, of no common base
        raise CheckpointError(damaged) from err
    check_texts(model, path, CheckpointError)
    try:
        return _numbered(model)
    except (ValueError, TypeError, IndexError, OverflowError) as err:
        raise CheckpointError(damaged) from err


def _numbered(model: Any) -> list[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    import onnx

    constants = {
        tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer
    }
    readers = {name: node for node in model.graph.node for name in node.input}
    numbered = {}
    for node in model.graph.node:
        number = _NUMBERED.search(node.output[0])
        if node.op_type != "Conv" or number is None or node.input[1] not in constants:
            continue
        after = readers.get(node.output[0])
        while after is not None and after.op_type == "Transpose":
            after = readers.get(after.output[0])
        added = [] if after is None or after.op_type != "Add" else after.input
        biases = [constants[name] for name in (*node.input[2:], *added) if name in constants]
        if len(biases) == 1:
            numbered[int(number[1] or 0)] = constants[node.input[1]], biases[0].reshape(-1)
    return [numbered[number] for number in sorted(numbered)]
