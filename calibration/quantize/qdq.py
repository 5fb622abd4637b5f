"""Explicit quantisation: QuantizeLinear and DequantizeLinear around what is to run in INT8.

The rules are those that TensorRT 8.5 to 11 and TensorRT-RTX all accept: int8 throughout, no zero
points, one scale a tensor and one a channel of weights, scales in float32, biases in float. Weights
stay float behind a pair of their own, as NVIDIA's own tools for TensorRT 8 write them. Nothing
stands between a convolution and its activation, so that the two fuse. An addition gets its inputs
quantised, but for the one that comes straight from a convolution: the two fuse as well, and the
convolution adds what the other one is. Pools, joins and resizes between quantised layers run in
INT8 too (`jdetrt.calibration.quantize.bridges`). A Clip whose upper limit int8 cuts off anyway
becomes a Relu.

ONNX Runtime's integer kernels want another graph (`qdq_cpu`); in this one they
find no work, and it runs in float with rounding in between. It is what accuracy is measured on:
TensorRT computes the same, to rounding.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, get_args

import numpy as np
import onnx

from jdetrt.calibration.quantize.bridges import EqualScales, Reads, with_bridges
from jdetrt.calibration.quantize.layers import Layers, match_layers
from jdetrt.calibration.quantize.qdq_cpu import CpuPlan
from jdetrt.calibration.quantize.rewrite import (
    INT8_MAX,
    Rewriter,
    Scales,
    activation_scale,
    weight_scales,
)
from jdetrt.errors import CalibrationError

__all__ = ["LAYOUTS", "Layout", "Scales", "layer_names", "quantise", "tensors_to_quantise"]

Layout = Literal["tensorrt", "onnxruntime"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)

_ZERO = np.array(0, np.int8)


def layer_names(model: onnx.ModelProto) -> list[str]:
    """The layers that can be quantised or left out, in the order in which they run.

    Raises:
        CalibrationError: there is nothing to quantise, or it is quantised already.
    """
    return list(Layers(model).nodes)


def tensors_to_quantise(model: onnx.ModelProto) -> list[str]:
    """The activations whose ranges `quantise` asks for, in either layout.

    Args:
        model: an ONNX model of ``jdetrt export`` in float32; left as it is.

    Raises:
        CalibrationError: there is nothing to quantise, or it is quantised already.
    """
    layers = Layers(model)
    plan = CpuPlan(layers, frozenset())
    wanted = {tensor for tensors in _reads(layers, frozenset()).values() for tensor in tensors}
    wanted.update(map(plan.ranged, plan.tensors))
    return [tensor for tensor in layers.consumers if tensor in wanted]


def quantise(
    model: onnx.ModelProto,
    ranges: Scales,
    leave_out: Collection[str] = (),
    *,
    layout: Layout = "tensorrt",
) -> onnx.ModelProto:
    """Put quantisation into a model.

    Args:
        model: an ONNX model of ``jdetrt export`` in float32; left as it is.
        ranges: give a scale for each of `tensors_to_quantise`.
        leave_out: names of layers that stay in float, patterns with ``*`` and ``?`` among them.
        layout: ``"tensorrt"``, or ``"onnxruntime"`` for its integer kernels on CPUs.

    Returns:
        A model with the same inputs, outputs and metadata; ``precision`` is ``int8``,
        ``int8_layout`` the layout and ``int8_float_layers`` what was left out, a name a line.

    Raises:
        CalibrationError: there is nothing to quantise, it is quantised already, a name fits no
            layer, a scale is no positive number, or no such layout.
    """
    if layout not in LAYOUTS:
        raise CalibrationError(f"layout '{layout}': expected {' or '.join(LAYOUTS)}")
    layers = Layers(model)
    left_out = match_layers(model, leave_out)
    rewriter = Rewriter(model, layers)
    if layout == "onnxruntime":
        CpuPlan(layers, frozenset(left_out)).rewrite(rewriter, model, ranges)
    else:
        _rewrite(rewriter, layers, model, ranges, frozenset(left_out))
    return rewriter.finish(
        {
            "precision": "int8",
            "int8_layout": layout,
            "int8_float_layers": "\n".join(left_out),
        }
    )


def _rewrite(
    rewriter: Rewriter,
    layers: Layers,
    model: onnx.ModelProto,
    ranges: Scales,
    left_out: frozenset[str],
) -> None:
    reads = _reads(layers, left_out)
    bridges = [(node, reads[name]) for name, node in layers.bridges.items() if name in reads]
    scales = EqualScales(ranges, bridges)
    outputs = {value.name for value in model.graph.output}
    for node in model.graph.node:
        copied = onnx.NodeProto()
        copied.CopyFrom(node)
        if outputs.isdisjoint(node.output) and _is_relu(layers, node, reads, scales):
            copied.op_type = "Relu"
            del copied.input[1:]
        for tensor in dict.fromkeys(reads.get(node.name, ())):
            scale = activation_scale(scales, tensor)
            dequantised = rewriter.activation(tensor, scale, _ZERO, node.name)
            for index, name in enumerate(node.input):
                if name == tensor:
                    copied.input[index] = dequantised
            if node.op_type == "Conv":
                by_channel = weight_scales(layers.weights(node), layers.bias(node), scale)
                copied.input[1] = rewriter.weight_pair(node, by_channel)
        rewriter.add(copied)


def _reads(layers: Layers, left_out: frozenset[str]) -> Reads:
    """Give what is read through a quantisation, by the node that reads it."""
    quantised = {
        name: _quantised_inputs(layers, node)
        for name, node in layers.nodes.items()
        if name not in left_out
    }
    return with_bridges(layers, quantised)


def _is_relu(layers: Layers, node: onnx.NodeProto, reads: Reads, scales: Scales) -> bool:
    """Tell whether a node is a Clip that equals a Relu, which more kernels of TensorRT fuse.

    All its readers quantise it, and its upper limit is the last step of int8 or beyond it.
    """
    if node.op_type != "Clip":
        return False
    tensor = node.output[0]
    readers = layers.consumers[tensor]
    if not readers or not all(tensor in reads.get(reader.name, ()) for reader in readers):
        return False
    low, high = (layers.constant(name) if name else None for name in [*node.input, "", ""][1:3])
    if low is None or float(low) != 0:
        return False
    return high is None or round(float(high) / activation_scale(scales, tensor)) >= INT8_MAX


def _quantised_inputs(layers: Layers, node: onnx.NodeProto) -> list[str]:
    """Inputs of a layer that are quantised for it."""
    tensors = layers.features(node)
    if node.op_type == "Add":
        fused = [tensor for tensor in tensors if _made_for(layers, tensor, node)]
        # Of two convolutions only the later one can wait for the other and add.
        tensors = [tensor for tensor in tensors if tensor not in fused[-1:]]
    return tensors


def _made_for(layers: Layers, tensor: str, reader: onnx.NodeProto) -> bool:
    """Tell whether a tensor comes straight from a convolution and goes to this reader only."""
    node = layers.producers.get(tensor)
    return node is not None and node.op_type == "Conv" and len(layers.consumers[tensor]) == 1
