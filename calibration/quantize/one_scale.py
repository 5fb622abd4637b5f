"""One scale for the weights of a convolution, and what channels differ in after it.

TensorRT-RTX 1.7.1 fuses no activation and no quantisation into an INT8 convolution. What the
convolution writes for the kernel after it is float32 where weights have a scale a channel, and
float16, half as many bytes, where they have one. So the integers stay as they are, one scale turns
them into numbers, and that kernel multiplies each channel by what its own scale is of it, and adds
the bias. The result is the same, to rounding.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

__all__ = ["with_one_scale"]

_SPREAD = 4096  # between the largest scale of a channel and the one scale
_TINY = float(np.finfo(np.float16).tiny)  # the smallest that float16 holds to all its digits


def with_one_scale(model: onnx.ModelProto) -> onnx.ModelProto:
    """Give a copy of a quantised model whose convolutions have one scale for all weights.

    Args:
        model: of `jdetrt.calibration.quantize.qdq.quantise`, in TensorRT's layout.
    """
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    graph = copied.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    producers = {name: node for node in graph.node for name in node.output}
    nodes = []
    for node in graph.node:
        pair = producers.get(node.input[1]) if node.op_type == "Conv" else None
        nodes.append(node)
        if pair is None or pair.op_type != "DequantizeLinear":
            continue
        quantise = producers[pair.input[0]]
        scales = numpy_helper.to_array(constants[pair.input[1]])
        weights = numpy_helper.to_array(constants[quantise.input[0]])
        scale = _common(scales)
        factors = scales / scale
        by_channel = (-1, *[1] * (weights.ndim - 1))
        _set(constants[quantise.input[0]], weights / factors.reshape(by_channel))
        _set(constants[pair.input[1]], scale)
        _set(constants[pair.input[2]], np.array(0, np.int8))
        for one in (quantise, pair):
            del one.attribute[:]  # the axis

        output = node.output[0]
        steps = [("Mul", factors)]
        if len(node.input) > 2 and node.input[2]:
            steps.append(("Add", numpy_helper.to_array(constants[node.input[2]])))
            del node.input[2:]
        node.output[0] = f"{output}/integers"
        before = node.output[0]
        for kind, values in steps:
            name = f"{node.name}/{kind}"
            stored = numpy_helper.from_array(values.reshape(by_channel[:-1]), f"{name}/channels")
            graph.initializer.append(stored)
            after = output if kind == steps[-1][0] else f"{output}/scaled"
            nodes.append(helper.make_node(kind, [before, stored.name], [after], name))
            before = after
    del graph.node[:]
    graph.node.extend(nodes)
    read = {name for node in nodes for name in node.input}
    stored_tensors = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(stored_tensors)
    return copied


def _common(scales: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Choose the smallest scale, so that no channel gets larger numbers than it has.

    A channel next to nothing does not count; and float16 must be able to hold it.
    """
    smallest = max(float(scales.min()), float(scales.max()) / _SPREAD, _TINY)
    return np.array(np.float16(smallest), np.float32)


def _set(tensor: onnx.TensorProto, values: npt.NDArray[np.generic]) -> None:
    tensor.CopyFrom(numpy_helper.from_array(np.asarray(values), tensor.name))
