"""A small network with in-graph decoding, in float32, float16 and INT8, for tests on a GPU.

It is a JDE model in form: ``images [1, 3, 64, 128]`` to ``boxes``, ``scores`` and ``embeddings`` of
128 cells. Weights are of about the size that trained ones have, so that float16 and INT8 are near.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = ["PRECISIONS", "SIZE", "write_model"]

PRECISIONS = ("fp32", "fp16", "int8")
SIZE = (128, 64)
_CELLS = 8 * 16
_EMBEDDING = 8


class _Graph:
    def __init__(self, precision: str) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._precision = precision
        self._rng = np.random.default_rng(7)

    def constant(self, name: str, value: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], f"/{output}", **attributes))
        return output

    def quantised(self, tensor: str, scale: float) -> str:
        """The tensor through Q and DQ, which TensorRT takes as "in INT8"."""
        self.constant(f"{tensor}_scale", np.float32(scale))
        self.constant(f"{tensor}_zero", np.int8(0))
        names = [f"{tensor}_scale", f"{tensor}_zero"]
        self.add("QuantizeLinear", [tensor, *names], f"{tensor}_q")
        return self.add("DequantizeLinear", [f"{tensor}_q", *names], f"{tensor}_dq")

    def conv(self, tensor: str, name: str, shape: tuple[int, ...], scale: float) -> str:
        """A convolution whose stride is its size; ``scale`` is a step of INT8 at its input."""
        fan_in = np.prod(shape[1:])
        weights = self._rng.standard_normal(shape) * np.sqrt(2.0 / fan_in)
        dtype = np.float16 if self._precision == "fp16" else np.float32
        weight = self.constant(f"{name}_weight", weights.astype(dtype))
        bias = self.constant(f"{name}_bias", np.full(shape[0], 0.1, dtype))
        if self._precision == "int8":
            tensor = self.quantised(tensor, scale)
            weight = self.quantised(weight, float(np.abs(weights).max() / 127))
        # TensorRT 8.5 does not find out the size of weights that come out of a Q/DQ pair.
        size = list(shape[2:])
        return self.add("Conv", [tensor, weight, bias], name, strides=size, kernel_shape=size)


def write_model(path: Path, precision: str) -> Path:
    """Write the network in ``"fp32"``, ``"fp16"`` or ``"int8"``."""
    graph = _Graph(precision)
    half = precision == "fp16"
    tensor = "images"
    if half:
        tensor = graph.add("Cast", [tensor], "halved", to=TensorProto.FLOAT16)
    tensor = graph.conv(tensor, "stem", (32, 3, 2, 2), 1 / 127)
    tensor = graph.add("Relu", [tensor], "stem_relu")
    tensor = graph.conv(tensor, "body", (64, 32, 2, 2), 3 / 127)
    tensor = graph.add("Relu", [tensor], "body_relu")
    tensor = graph.conv(tensor, "head", (5 + _EMBEDDING, 64, 2, 2), 4 / 127)
    if half:
        tensor = graph.add("Cast", [tensor], "decode/single", to=TensorProto.FLOAT)
    shape = graph.constant("shape", np.array([1, 5 + _EMBEDDING, _CELLS], np.int64))
    tensor = graph.add("Reshape", [tensor, shape], "decode/flat")
    tensor = graph.add("Transpose", [tensor], "decode/cells", perm=[0, 2, 1])
    parts = graph.constant("parts", np.array([4, 1, _EMBEDDING], np.int64))
    names = ["decode/offsets", "decode/logits", "decode/vectors"]
    graph.nodes.append(helper.make_node("Split", [tensor, parts], names, "/decode/split", axis=2))
    x, y = np.meshgrid(np.arange(16) * 8.0, np.arange(8) * 8.0)
    grid = np.stack([x, y, x + 8, y + 8], -1).reshape(1, _CELLS, 4).astype(np.float32)
    graph.add("Add", ["decode/offsets", graph.constant("grid", grid)], "boxes")
    axis = graph.constant("axis", np.array([2], np.int64))
    graph.add("Squeeze", ["decode/logits", axis], "decode/logit")
    graph.add("Sigmoid", ["decode/logit"], "scores")
    graph.add("ReduceL2", ["decode/vectors"], "decode/length", axes=[2], keepdims=1)
    graph.add("Div", ["decode/vectors", "decode/length"], "embeddings")
    width, height = SIZE
    shapes = {"boxes": [1, _CELLS, 4], "scores": [1, _CELLS]}
    shapes["embeddings"] = [1, _CELLS, _EMBEDDING]
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "small_jde",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, height, width])],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    helper.set_model_props(model, {"precision": precision})
    onnx.checker.check_model(model, full_check=True)
    onnx.save_model(model, path)
    return path
