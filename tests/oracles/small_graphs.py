"""ONNX graphs of a few operators, and ranges for them, so that quantisation can be worked out."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from jdetrt.engine.onnxruntime import session_options
from jdetrt.types import Array


class FixedScales:
    """Scales by tensor: the range of each, over 127."""

    def __init__(self, ranges: Mapping[str, float], default: float | None = None) -> None:
        self._ranges = ranges
        self._default = default

    def scale(self, tensor: str) -> float:
        """What one step of int8 is worth."""
        largest = self._ranges.get(tensor, self._default)
        assert largest is not None, tensor
        return largest / 127


def graph(
    nodes: Sequence[tuple[str, str, Sequence[str], str, Mapping[str, Any]]],
    constants: Mapping[str, Array],
    outputs: Sequence[str],
    channels: int = 3,
    opset: int = 17,
) -> onnx.ModelProto:
    """Build a model that takes ``images [1, channels, 8, 8]``.

    Args:
        nodes: kind, name, inputs, output, attributes.
        constants: the initializers.
        outputs: names of tensors.
        channels: of the input.
        opset: of the model.
    """
    made = [
        helper.make_node(kind, list(inputs), [output], name, **attributes)
        for kind, name, inputs, output, attributes in nodes
    ]
    model = helper.make_model(
        helper.make_graph(
            made,
            "small",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, channels, 8, 8])],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, [None] * 4) for n in outputs],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=8,
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def run_onnx(
    model: onnx.ModelProto, image: Array, *, optimise: bool = True, dump: str = ""
) -> list[Array]:
    """What ONNX Runtime computes on the CPU; ``dump`` keeps the graph that it made of the model."""
    options = session_options(threads=1)  # without VNNI the fast integer kernels overflow
    options.optimized_model_filepath = dump
    if not optimise:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    found: list[Array] = session.run(None, {model.graph.input[0].name: image})
    return found


def observed(model: onnx.ModelProto, tensors: Sequence[str], image: Array) -> FixedScales:
    """The largest magnitude of each tensor on one picture."""
    extended = onnx.ModelProto()
    extended.CopyFrom(model)
    inner = [name for name in tensors if name != model.graph.input[0].name]
    del extended.graph.output[:]
    extended.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in inner
    )
    ranges = {model.graph.input[0].name: float(np.abs(image).max())}
    for name, values in zip(inner, run_onnx(extended, image), strict=True):
        ranges[name] = float(np.abs(values).max())
    return FixedScales(ranges)
