"""Compute in float16 what a quantised network leaves in float.

The scales of QuantizeLinear and DequantizeLinear stay float32, with a Cast beside each that joins
float16: TensorRT 10.16 fails on a Jetson Orin to build one with a float16 scale and a float32
activation (NVIDIA/TensorRT issue 4832), and TensorRT 8.5 reads no opset that has them. Decoding
stays float32, for the reasons given in `jdetrt.export.precision`.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from jdetrt.calibration.quantize.layers import tensors_before_a_convolution
from jdetrt.errors import CalibrationError

__all__ = ["to_half"]

_KEPT = ("Constant", "QuantizeLinear", "DequantizeLinear")
# Which inputs hold numbers of the network; the others are shapes, places and factors.
_ALL = ("Add", "Clip", "Concat", "Conv", "Mul")
_NAMES: dict[int, str] = {TensorProto.FLOAT: "float32", TensorProto.FLOAT16: "float16"}


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Give a copy of a quantised model whose network computes in float16 where it is in float.

    Args:
        model: of `jdetrt.calibration.quantize.qdq.quantise`, in TensorRT's layout.

    Raises:
        CalibrationError: a constant is beyond the range of float16.
    """
    return _Halver(model).run()


class _Halver:
    """Copies a graph node by node."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        self._nodes: list[onnx.NodeProto] = []
        self._made: set[str] = set()
        self._half: set[str] = set()
        self._added: list[onnx.TensorProto] = []
        self._constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        for node in model.graph.node:
            if node.op_type == "Constant" and node.attribute[0].HasField("t"):
                self._constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)

    def run(self) -> onnx.ModelProto:
        """Copy the nodes and give the model."""
        inside = tensors_before_a_convolution(self._model.graph.node)
        for node in self._model.graph.node:
            copied = onnx.NodeProto()
            copied.CopyFrom(node)
            inner = node.op_type == "Conv" or not inside.isdisjoint(node.output)
            if inner and node.op_type not in _KEPT:
                numbers = len(node.input) if node.op_type in _ALL else 1
                for i, name in enumerate(node.input[:numbers]):
                    if name:
                        copied.input[i] = self._as_half(name)
                self._half.update(node.output)
            else:
                for i, name in enumerate(node.input):
                    if name in self._half:
                        copied.input[i] = self._cast(name, TensorProto.FLOAT)
            self._nodes.append(copied)
        return self._finish()

    def _as_half(self, name: str) -> str:
        if name in self._half:
            return name
        if name not in self._constants:
            return self._cast(name, TensorProto.FLOAT16)
        stored = f"{name}/float16"
        if stored not in self._made:
            self._made.add(stored)
            with np.errstate(over="ignore"):
                values = self._constants[name].astype(np.float16)
            if not np.isfinite(values).all():
                raise CalibrationError(
                    f"{name}: has a value beyond {np.finfo(np.float16).max:g}, more than float16 "
                    "can hold; leave the rest in float32"
                )
            self._added.append(numpy_helper.from_array(values, stored))
        return stored

    def _cast(self, name: str, to: int) -> str:
        output = f"{name}/{_NAMES[to]}"
        if output not in self._made:
            self._made.add(output)
            self._nodes.append(helper.make_node("Cast", [name], [output], f"{output}/Cast", to=to))
        return output

    def _finish(self) -> onnx.ModelProto:
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        graph = model.graph
        read = {name for node in self._nodes for name in node.input}
        results = {value.name for value in graph.output}
        kept = [node for node in self._nodes if not {*read, *results}.isdisjoint(node.output)]
        constants = [t for t in (*graph.initializer, *self._added) if t.name in read]
        for field in (graph.node, graph.initializer, graph.value_info):
            del field[:]
        graph.node.extend(kept)
        graph.initializer.extend(constants)
        notes = {entry.key: entry.value for entry in model.metadata_props}
        helper.set_model_props(model, {**notes, "precision": "int8+fp16"})
        return model
