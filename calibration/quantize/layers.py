"""Layers of a JDE model that 8-bit integers can compute: its convolutions, and what joins them.

The network ends where no convolution follows any more: decoding, norms and top-k come after that
and are never touched, by whatever name they go.
"""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from jdetrt import inputs
from jdetrt.engine.model import Model
from jdetrt.engine.onnx_file import check_texts
from jdetrt.errors import CalibrationError

__all__ = [
    "ACTIVATIONS",
    "FloatModel",
    "Layers",
    "match_layers",
    "read_model",
    "tensors_before_a_convolution",
]

ACTIVATIONS = ("Relu", "Clip", "LeakyRelu")
# What stands between convolutions besides activations and additions.
_BRIDGES = ("AveragePool", "Concat", "MaxPool", "Mul", "Resize")
_FIRST_OPSET = 13  # of QuantizeLinear with one scale a channel


class Layers:
    """The convolutions and residual additions of a model, and how tensors run between them.

    Args:
        model: an ONNX model of ``jdetrt export``; left as it is.

    Attributes:
        nodes: the layers that quantisation is decided for, by node name, in the order in which they
            run: every Conv, and every Add of two feature maps that a Conv follows.
        bridges: by node name, what else lies between convolutions (activations, pooling, joins).
        consumers: the nodes that read a tensor.
        producers: the node that makes a tensor.

    Raises:
        CalibrationError: the model is quantised already, is of an opset below 13, has no
            convolution, or one whose weights are no constants.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        _check(model)
        graph = model.graph
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.producers = {name: node for node in graph.node for name in node.output}
        self.consumers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in graph.node:
            for name in node.input:
                self.consumers[name].append(node)
        self.inputs = {value.name for value in graph.input} - set(self.constants)

        self.nodes: dict[str, onnx.NodeProto] = {}
        self.bridges: dict[str, onnx.NodeProto] = {}
        before_conv = tensors_before_a_convolution(graph.node)
        for node in graph.node:
            inside = any(name in before_conv for name in node.output)
            if node.op_type == "Conv":
                self.weights(node)
                self.nodes[node.name] = node
            elif inside and node.op_type == "Add" and len(self.features(node)) == 2:
                self.nodes[node.name] = node
            elif inside and node.op_type in (*ACTIVATIONS, *_BRIDGES):
                self.bridges[node.name] = node
        if not self.nodes:
            raise CalibrationError("the model has no convolution, so there is nothing to quantise")

    def features(self, node: onnx.NodeProto) -> list[str]:
        """The inputs of a node that are computed from the image, not constants."""
        joins = node.op_type in ("Add", "Concat", "Mul")
        names = list(node.input) if joins else list(node.input[:1])
        return [name for name in names if name and self.constant(name) is None]

    def constant(self, name: str) -> npt.NDArray[np.generic] | None:
        """The value of a tensor that is stored: an initializer, a Constant, or a Cast of one."""
        if name in self.constants:
            value: npt.NDArray[np.generic] = onnx.numpy_helper.to_array(self.constants[name])
            return value
        node = self.producers.get(name)
        if node is None:
            return None
        if node.op_type == "Constant":
            (attribute,) = node.attribute
            stored = onnx.helper.get_attribute_value(attribute)
            if isinstance(stored, onnx.TensorProto):
                stored = onnx.numpy_helper.to_array(stored)
            return np.asarray(stored)
        if node.op_type == "Cast":
            inner = self.constant(node.input[0])
            if inner is not None:
                (to,) = (a.i for a in node.attribute if a.name == "to")
                return inner.astype(onnx.helper.tensor_dtype_to_np_dtype(to))
        return None

    def stored_as(self, name: str) -> str:
        """The name under which a constant is stored, before any Cast."""
        node = self.producers.get(name)
        return name if node is None or node.op_type != "Cast" else self.stored_as(node.input[0])

    def weights(self, conv: onnx.NodeProto) -> npt.NDArray[np.float32]:
        """The weights of a convolution, ``(outputs, inputs / groups, kernel, kernel)``."""
        value = self.constant(conv.input[1])
        if value is None:
            raise CalibrationError(f"{conv.name}: its weights are computed, not stored")
        if not np.isfinite(value).all():
            raise CalibrationError(
                f"{conv.name}: has NaN or infinite weights; export a sound checkpoint again"
            )
        return value.astype(np.float32)

    def bias(self, conv: onnx.NodeProto) -> npt.NDArray[np.float32] | None:
        """The bias of a convolution, ``(outputs,)``, where it has one."""
        if len(conv.input) < 3 or not conv.input[2]:
            return None
        value = self.constant(conv.input[2])
        return None if value is None else value.astype(np.float32)

    def non_negative(self, tensor: str) -> bool:
        """Tell if no value of a tensor can be below zero; images are from 0 to 1."""
        node = self.producers.get(tensor)
        if node is None:
            return tensor in self.inputs
        if node.op_type == "Relu":
            return True
        if node.op_type == "Clip":
            low = self.constant(node.input[1]) if len(node.input) > 1 and node.input[1] else None
            return low is not None and float(low.astype(np.float32).min()) >= 0
        if node.op_type == "Add" or node.op_type in _BRIDGES:
            return all(map(self.non_negative, self.features(node)))
        return False


def read_model(path: str | Path) -> onnx.ModelProto:
    """Read an ONNX model, weights kept beside it included.

    Raises:
        CalibrationError: it cannot be read, or is no ONNX model.
    """
    try:
        with inputs.reading(path, CalibrationError):
            model = onnx.load(path)
        check_texts(model, path, CalibrationError)
        return model
    except CalibrationError:
        raise
    except Exception as err:  # protobuf's DecodeError: protobuf is onnx's dependency, not ours
        raise CalibrationError(
            f"{path}: is cut short or not an ONNX model; copy or export it again"
        ) from err


class FloatModel(Model):
    """An ONNX model in float32, parsed and hashed once.

    Args:
        path: of ``jdetrt export``.

    Raises:
        CalibrationError: an attribute is asked for, and the file cannot be read or is no model.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path, CalibrationError)

    @cached_property
    def proto(self) -> onnx.ModelProto:
        """The graph and its weights; left as it is by everybody."""
        return read_model(self.path)


def match_layers(model: onnx.ModelProto, patterns: Iterable[str]) -> tuple[str, ...]:
    """Find layers by names, or patterns with ``*`` and ``?``, in the model's order.

    Raises:
        CalibrationError: a pattern fits no layer.
    """
    names = list(Layers(model).nodes)
    matches: set[str] = set()
    for pattern in patterns:
        fits = {name for name in names if fnmatchcase(name, pattern)}
        if not fits:
            near = difflib.get_close_matches(pattern, names, 3, 0.4) or names[:3]
            raise CalibrationError(
                f"no layer '{pattern}' in the model, which has {len(names)}, such as "
                f"{', '.join(near)}"
            )
        matches |= fits
    return tuple(name for name in names if name in matches)


def _check(model: onnx.ModelProto) -> None:
    if any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in model.graph.node):
        raise CalibrationError("the model is already quantised; start from its float32 model")
    opset = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)
    if opset < _FIRST_OPSET:
        raise CalibrationError(
            f"the model is of ONNX opset {opset}; one scale per channel needs "
            f"{_FIRST_OPSET} or later, so export it again"
        )


def tensors_before_a_convolution(nodes: Iterable[onnx.NodeProto]) -> set[str]:
    """The tensors that some convolution depends on; nodes stand in the order in which they run."""
    tensors: set[str] = set()
    for node in reversed(list(nodes)):
        if node.op_type == "Conv" or not tensors.isdisjoint(node.output):
            tensors.update(name for name in node.input if name)
    return tensors
