"""Copy a graph node by node, with quantisation put in where it is asked for."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from jdetrt.calibration.quantize.layers import Layers
from jdetrt.errors import CalibrationError

__all__ = ["INT8_MAX", "Rewriter", "Scales", "activation_scale", "weight_scales"]

INT8_MAX = 127
# A bias that is quantised has the scale of the input times that of the weights, and 32 bits.
_BIAS_MAX = 2**30


class Scales(Protocol):
    """Where activation scales come from; ``jdetrt.calibration.ranges.ranges.Ranges`` is one."""

    def scale(self, tensor: str) -> float:
        """Value of one step of int8; the range is 127 of it to both sides of zero."""


class Rewriter:
    """A new graph in the making.

    Nodes that quantise are named after the tensor, nodes that dequantise after their reader, each
    of which gets its own: that is how runtimes see which operator they belong to.

    Args:
        model: what is copied; left as it is.
        layers: of this model.
    """

    def __init__(self, model: onnx.ModelProto, layers: Layers) -> None:
        self._source = model
        self._layers = layers
        self._nodes: list[onnx.NodeProto] = []
        self._new: dict[str, onnx.TensorProto] = {}
        self._quantised: dict[str, list[str]] = {}

    def add(self, node: onnx.NodeProto) -> None:
        """Append a node; what it reads is there already."""
        self._nodes.append(node)

    def store(self, name: str, values: npt.NDArray[np.generic]) -> str:
        """Keep a tensor under a name, in place of an old one of that name."""
        self._new[name] = numpy_helper.from_array(values, name)
        return name

    def activation(
        self, tensor: str, scale: float, zero_point: npt.NDArray[np.generic], reader: str
    ) -> str:
        """Quantise a tensor, once, and dequantise it for one reader; give what that reads."""
        if tensor not in self._quantised:
            constants = [
                self.store(f"{tensor}/scale", np.array(scale, np.float32)),
                self.store(f"{tensor}/zero_point", zero_point),
            ]
            self._quantise(tensor, tensor, constants)
            self._quantised[tensor] = constants
        quantised, constants = f"{tensor}/quantised", self._quantised[tensor]
        return self._dequantise(quantised, constants, f"{tensor}/of{reader}")

    def weight_pair(self, conv: onnx.NodeProto, scales: npt.NDArray[np.float32]) -> str:
        """Float weights, quantised and dequantised by channel."""
        name = self._layers.stored_as(conv.input[1])
        tensor = f"{name}/of{conv.name}"
        self.store(name, self._layers.weights(conv))
        constants = [
            self.store(f"{tensor}/scale", scales),
            self.store(f"{tensor}/zero_point", np.zeros(len(scales), np.int8)),
        ]
        self._quantise(name, tensor, constants, axis=0)
        return self._dequantise(f"{tensor}/quantised", constants, tensor, axis=0)

    def stored_integers(
        self, tensor: str, values: npt.NDArray[np.generic], scales: npt.NDArray[np.float32]
    ) -> str:
        """Integers without a zero point, dequantised along their first axis."""
        constants = [
            self.store(f"{tensor}/scale", scales),
            self.store(f"{tensor}/zero_point", np.zeros(len(scales), values.dtype)),
        ]
        return self._dequantise(
            self.store(f"{tensor}/quantised", values), constants, tensor, axis=0
        )

    def finish(self, metadata: dict[str, str]) -> onnx.ModelProto:
        """The new model: of old constants only those that are still read.

        Args:
            metadata: entries to add to those of the old model, or to replace there.
        """
        nodes = _read(self._nodes, {value.name for value in self._source.graph.output})
        read = {name for node in nodes for name in node.input}
        model = onnx.ModelProto()
        model.CopyFrom(self._source)
        graph = model.graph
        old = [t for t in graph.initializer if t.name in read and t.name not in self._new]
        for field in (graph.node, graph.initializer, graph.value_info):
            del field[:]
        graph.node.extend(nodes)
        graph.initializer.extend([*old, *(t for name, t in self._new.items() if name in read)])
        notes = {entry.key: entry.value for entry in model.metadata_props}
        helper.set_model_props(model, {**notes, **metadata})
        return model

    def _quantise(
        self, source: str, name: str, constants: list[str], axis: int | None = None
    ) -> None:
        output = f"{name}/quantised"
        self._node("QuantizeLinear", [source, *constants], output, name, axis)

    def _dequantise(
        self, source: str, constants: list[str], name: str, axis: int | None = None
    ) -> str:
        output = f"{name}/dequantised"
        self._node("DequantizeLinear", [source, *constants], output, name, axis)
        return output

    def _node(self, kind: str, inputs: list[str], output: str, name: str, axis: int | None) -> None:
        node = helper.make_node(kind, inputs, [output], f"{name}/{kind}")
        if axis is not None:
            node.attribute.append(helper.make_attribute("axis", axis))
        self._nodes.append(node)


def activation_scale(scales: Scales, tensor: str) -> float:
    """The scale of a tensor.

    Raises:
        CalibrationError: it is none that numbers can be divided by.
    """
    scale = float(np.float32(scales.scale(tensor)))
    if not np.isfinite(scale) or scale < np.finfo(np.float32).tiny:
        raise CalibrationError(
            f"{tensor}: its scale is {scale:g}; calibrate on frames that show something, or leave "
            "the layers that read it in float"
        )
    return scale


def weight_scales(
    weights: npt.NDArray[np.float32], bias: npt.NDArray[np.float32] | None, input_scale: float
) -> npt.NDArray[np.float32]:
    """One scale for each output channel: its largest weight over 127.

    A channel without weights gets the scale 1/127. A runtime that quantises the bias too divides it
    by this scale and by that of the input; so where weights are next to nothing the scale is kept
    large enough for the quotient to fit.

    Args:
        weights: ``(outputs, ...)``.
        bias: ``(outputs,)`` or None.
        input_scale: of what the convolution reads.
    """
    largest = np.abs(weights).reshape(len(weights), -1).max(axis=1)
    scales = np.where(largest > 0, largest, 1.0) / INT8_MAX
    if bias is not None:
        scales = np.maximum(scales, np.abs(bias) / (input_scale * _BIAS_MAX))
    rounded: npt.NDArray[np.float32] = scales.clip(min=np.finfo(np.float32).tiny).astype(np.float32)
    return rounded


def _read(nodes: list[onnx.NodeProto], outputs: set[str]) -> list[onnx.NodeProto]:
    """The nodes that something depends on; a Cast of weights that are replaced is none."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if not wanted.isdisjoint(node.output):
            wanted.update(node.input)
            kept.append(node)
    return kept[::-1]
