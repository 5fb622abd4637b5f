"""Convolution weights at half the size: stored as float16, computed with as float32.

The weights are rounded in torch first, so that the torch network and the model that is made from it
have the same numbers, and comparing the two is as sharp as without.
"""

from __future__ import annotations

import numpy as np
import onnx
import torch
from torch import nn

from jdetrt.errors import ExportError

__all__ = ["round_weights", "store_as_half"]


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
