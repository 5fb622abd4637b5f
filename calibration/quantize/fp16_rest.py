"""Compute in float16 what a quantised network leaves in float, in the form that a target fuses.

======== ==================== ==================================================================
target   scales of Q and DQ   why
======== ==================== ==================================================================
desktop  float16              NVIDIA documents Q and DQ right beside a convolution as the pattern
                              that becomes INT8: a Cast in between may cost it
rtx      float16, one scale   what a convolution writes is then float16 and not float32
         for all its weights  (`jdetrt.calibration.quantize.one_scale`)
orin     float32, and a Cast  TensorRT 10.16 fails there to build a float16 scale beside a float32
                              activation (NVIDIA/TensorRT issue 4832)
jetpack5 float32, no Cast     TensorRT 8.5 reads no opset with float16 scales; weakly typed, it
                              halves the rest by itself
======== ==================== ==================================================================

A scale too small for float16 stays float32, with a Cast. Decoding stays float32, for the reasons
given in `jdetrt.export.precision`.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, version_converter

from jdetrt.calibration.config import Target
from jdetrt.calibration.quantize.layers import tensors_before_a_convolution
from jdetrt.calibration.quantize.one_scale import with_one_scale
from jdetrt.errors import CalibrationError
from jdetrt.machine.board import l4t_release, on_jetson
from jdetrt.machine.probe import Probe

__all__ = ["this_target", "to_half"]

_OPSET = 19  # the first whose QuantizeLinear takes float16
_SCALED = ("QuantizeLinear", "DequantizeLinear")
_KEPT = ("Constant", *_SCALED)
# Which inputs hold numbers of the network; the others are shapes, places and factors.
_ALL = ("Add", "Clip", "Concat", "Conv", "Mul")
_NAMES: dict[int, str] = {TensorProto.FLOAT: "float32", TensorProto.FLOAT16: "float16"}


def this_target(probe: Probe | None = None) -> Target:
    """Give the target that this machine is."""
    probe = probe or Probe()
    if not on_jetson(probe):
        return "desktop"
    return "jetpack5" if (l4t_release(probe) or "").startswith("35.") else "orin"


def to_half(model: onnx.ModelProto, target: Target = "orin") -> onnx.ModelProto:
    """Give a copy of a quantised model whose network computes in float16 where it is in float.

    Args:
        model: of `jdetrt.calibration.quantize.qdq.quantise`, in TensorRT's layout.
        target: what is to run it; for ``"jetpack5"`` the copy is as the model is.

    Raises:
        CalibrationError: a constant is beyond the range of float16.
    """
    if target == "jetpack5":
        copied = onnx.ModelProto()
        copied.CopyFrom(model)
        return copied
    if target == "rtx":
        model = with_one_scale(model)
    half_scales = target != "orin"
    if half_scales and model.opset_import[0].version < _OPSET:
        model = version_converter.convert_version(model, _OPSET)
    return _Halver(model, half_scales).run()


class _Halver:
    """Copies a graph node by node."""

    def __init__(self, model: onnx.ModelProto, half_scales: bool) -> None:
        self._model = model
        self._half_scales = half_scales
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
            if node.op_type in _SCALED and self._may_halve(node.input[1]):
                copied.input[1] = self._as_half(node.input[1])
                if node.op_type == "QuantizeLinear":
                    copied.input[0] = self._as_half(node.input[0])
                else:
                    self._half.update(node.output)
            elif inner and node.op_type not in _KEPT:
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

    def _may_halve(self, scale: str) -> bool:
        smallest = float(np.min(self._constants[scale]))
        return self._half_scales and smallest >= float(np.finfo(np.float16).tiny)

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
