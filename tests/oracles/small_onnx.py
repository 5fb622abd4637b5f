"""An ONNX file of a few bytes that says what a JDE model says."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def write_small_onnx(path: Path, **notes: str) -> Path:
    """Two boxes, whatever the picture; with notes in its metadata."""
    values = {
        "boxes": np.array([[[10, 4, 18, 28], [40, 4, 48, 28]]], np.float32),
        "scores": np.array([[0.9, 0.8]], np.float32),
    }
    graph = helper.make_graph(
        [helper.make_node("Identity", [f"{n}_value"], [n]) for n in values],
        "two_people",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 32, 64])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, v.shape) for n, v in values.items()],
        [numpy_helper.from_array(v, f"{n}_value") for n, v in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, notes)
    onnx.save_model(model, path)
    return path


def write_external_onnx(path: Path, weights: str) -> Path:
    """A model whose weights are in the file of this name beside it."""
    graph = helper.make_graph(
        [helper.make_node("Identity", ["weights"], ["out"])],
        "external",
        [],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [64])],
        [numpy_helper.from_array(np.arange(64, dtype=np.float32), "weights")],
    )
    model = helper.make_model(graph)
    onnx.save_model(model, path, save_as_external_data=True, location=weights, size_threshold=0)
    return path
