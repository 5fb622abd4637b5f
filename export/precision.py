"""The FP16 model: the network in half precision, decoding and everything outside in float32.

One strongly typed graph then means the same on every TensorRT: no builder flag decides what runs in
float16, and no runtime may move decoding into it, where coordinates would step by half a pixel.

Half weights are another thing: only *stored* in float16, computed with in float32. They are rounded
in torch first, so that the torch network and the model have the same numbers, and comparing the two
is as sharp as without.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from jdetrt.errors import ExportError
from jdetrt.export.deploy_graph import DeployGraph
from jdetrt.training.network.model import JdeNetwork

__all__ = [
    "FLOAT16_MAX",
    "record_peaks",
    "refuse_overflow",
    "round_weights",
    "store_as_half",
    "to_half",
]

FLOAT16_MAX = torch.finfo(torch.float16).max  # 65504


def to_half(graph: DeployGraph) -> JdeNetwork:
    """Make the network of a graph compute in float16.

    Args:
        graph: is changed; its decoding stays in float32.

    Returns:
        What the result is to be compared with: the same network, its weights and biases rounded to
        float16, computing in float32.

    Raises:
        ExportError: a weight is beyond the range of float16.
    """
    for name, tensor in graph.network.state_dict().items():
        largest = float(tensor.abs().max())
        if largest > FLOAT16_MAX:
            raise ExportError(
                f"{name}: has a value of {largest:g}, more than float16 can hold "
                f"({FLOAT16_MAX:g}); export in float32"
            )
    graph.half()
    return copy.deepcopy(graph.network).float()


@contextmanager
def record_peaks(network: nn.Module) -> Iterator[dict[str, float]]:
    """Note the largest magnitude that each convolution gives while the block runs.

    Args:
        network: computing in float32.

    Yields:
        Magnitudes by the name of the convolution, filled in as the network runs.
    """
    peaks: dict[str, float] = {}

    def note(name: str, _module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        peaks[name] = max(peaks.get(name, 0.0), float(output.abs().max()))

    handles = [
        module.register_forward_hook(partial(note, name))
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d)
    ]
    try:
        yield peaks
    finally:
        for handle in handles:
            handle.remove()


def refuse_overflow(peaks: dict[str, float]) -> float:
    """Refuse a network whose activations leave the range of float16; give the largest.

    Comparing with ONNX Runtime does not show it: on most CPUs it computes float16 in float32.

    Raises:
        ExportError: a convolution gives more than float16 can hold.
    """
    name = max(peaks, key=peaks.__getitem__)
    if peaks[name] > FLOAT16_MAX:
        raise ExportError(
            f"{name}: gives values of up to {peaks[name]:g}, more than float16 can hold "
            f"({FLOAT16_MAX:g}), which TensorRT would turn into infinity; export in float32"
        )
    return peaks[name]


@torch.no_grad()
def round_weights(network: nn.Module) -> None:
    """Round the weights of all convolutions to float16, in place; they stay float32 tensors.

    Biases, of which there are few, stay as they are.

    Raises:
        ExportError: a weight is beyond the range of float16 (65504).
    """
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            rounded = module.weight.half().float()
            if not torch.isfinite(rounded).all():
                raise ExportError(
                    f"{name}: has a weight of {float(module.weight.abs().max()):g}, more than "
                    "float16 can hold; export without half weights"
                )
            module.weight.copy_(rounded)


def store_as_half(model: onnx.ModelProto) -> None:
    """Store the weights of all convolutions as float16, each followed by a Cast to float32.

    Runtimes fold such a Cast when they load the model. The stored tensors keep their names.

    Args:
        model: with weights that `round_weights` has rounded; changed in place.
    """
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    casts = {}
    for node in model.graph.node:
        if node.op_type == "Conv":
            name = node.input[1]
            if name not in casts:
                casts[name] = _halve(weights[name])
            node.input[1] = casts[name].output[0]
    nodes = [*casts.values(), *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _halve(tensor: onnx.TensorProto) -> onnx.NodeProto:
    """Convert a tensor in place, and give the Cast that undoes it."""
    values = onnx.numpy_helper.to_array(tensor)
    tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), tensor.name))
    return onnx.helper.make_node(
        "Cast",
        [tensor.name],
        [f"{tensor.name}_float32"],
        name=f"/{tensor.name.replace('.', '/')}/Cast",
        to=onnx.TensorProto.FLOAT,
    )
