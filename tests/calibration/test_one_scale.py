"""One scale for all weights of a convolution: the same integers, the same results."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from small_graphs import FixedScales, graph, run_onnx

from jdetrt.calibration.quantize.fp16_rest import to_half
from jdetrt.calibration.quantize.one_scale import with_one_scale
from jdetrt.calibration.quantize.qdq import quantise
from jdetrt.types import Array

RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.random((1, 3, 8, 8), np.float32)


def uneven(channels: int = 6) -> onnx.ModelProto:
    """Two convolutions whose channels differ by up to 1e4; the last of the first is dead."""
    first = (
        RANDOM.normal(0, 1, (channels, 3, 3, 3)) * np.logspace(0, -4, channels)[:, None, None, None]
    )
    first[-1] = 0
    constants = {
        "w1": first.astype(np.float32),
        "b1": RANDOM.normal(0, 1, channels).astype(np.float32),
        "w2": RANDOM.normal(0, 1, (2, channels, 1, 1)).astype(np.float32),
    }
    nodes: Any = [
        ("Conv", "first", ["images", "w1", "b1"], "c1", {"pads": [1, 1, 1, 1]}),
        ("LeakyRelu", "act", ["c1"], "a1", {"alpha": 0.1}),
        ("Conv", "last", ["a1", "w2"], "out", {}),
    ]
    return graph(nodes, constants, ["out"])


def integers(model: onnx.ModelProto) -> dict[str, Array]:
    """The weights as integers, computed by the model itself."""
    weights = [
        n for n in model.graph.node if n.op_type == "QuantizeLinear" and "/of" in n.output[0]
    ]
    names = [node.output[0] for node in weights]
    model = onnx.ModelProto.FromString(model.SerializeToString())
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return dict(zip(names, run_onnx(model, IMAGE), strict=True))


def test_the_same_integers_and_results() -> None:
    model = quantise(uneven(), FixedScales({}, 4.0))
    one = with_one_scale(model)
    onnx.checker.check_model(one, full_check=True)
    for name, values in integers(model).items():
        np.testing.assert_array_equal(integers(one)[name], values)
    (have,), (want,) = run_onnx(one, IMAGE), run_onnx(model, IMAGE)
    # An activation right between two steps may fall to the other side.
    assert np.median(np.abs(have - want)) < 1e-5
    assert np.abs(have - want).max() < 4.1 / 127 * 4
    weights = [n for n in one.graph.node if n.op_type == "DequantizeLinear" and "/of" in n.input[0]]
    scales = {tensor.name: numpy_helper.to_array(tensor) for tensor in one.graph.initializer}
    assert all(scales[node.input[1]].shape == () for node in weights)


def test_what_a_convolution_writes_is_no_larger_than_before() -> None:
    """So float16 can hold it wherever it could hold the result."""
    model = quantise(uneven(5), FixedScales({}, 4.0))
    one = with_one_scale(model)
    for each, name in ((model, "c1"), (one, "c1/integers")):
        del each.graph.output[:]
        each.graph.output.append(onnx.ValueInfoProto(name=name))
    (before,), (after,) = run_onnx(model, IMAGE), run_onnx(one, IMAGE)
    assert np.abs(after).max() <= np.abs(before).max() + 1


def test_for_rtx_the_rest_is_float16_and_no_cast_is_beside_a_convolution() -> None:
    model = quantise(uneven(), FixedScales({}, 4.0))
    half = to_half(model, "rtx")
    makers = {name: node for node in half.graph.node for name in node.output}
    convs = [node for node in half.graph.node if node.op_type == "Conv"]
    assert len(convs) == 2
    for node in convs:
        assert [makers[name].op_type for name in node.input] == ["DequantizeLinear"] * 2
    stored = {tensor.name: tensor.data_type for tensor in half.graph.initializer}
    assert stored[makers[convs[0].input[1]].input[1]] == TensorProto.FLOAT16
    (have,), (want,) = run_onnx(half, IMAGE), run_onnx(model, IMAGE)
    assert np.abs(have - want).max() < 0.05 * np.abs(want).max()
    assert "Mul" not in {node.op_type for node in to_half(model, "desktop").graph.node}


@pytest.mark.parametrize("scale", [1e-30, 3.0])
def test_a_scale_that_float16_can_hold(scale: float) -> None:
    constants = {"w": np.full((2, 3, 1, 1), scale, np.float32)}
    nodes: Any = [("Conv", "last", ["images", "w"], "out", {})]
    model = with_one_scale(quantise(graph(nodes, constants, ["out"]), FixedScales({}, 1.0)))
    (value,) = (
        numpy_helper.to_array(tensor)
        for tensor in model.graph.initializer
        if tensor.name == "w/oflast/scale"
    )
    assert np.float32(np.float16(value)) == value > 0
