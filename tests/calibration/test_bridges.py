"""Pools, joins and resizes in INT8: one scale on both sides, and no tensor read in both types."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from small_graphs import FixedScales, graph, observed, run_onnx

from jdetrt.calibration.quantize.qdq import quantise, tensors_to_quantise
from jdetrt.types import Array

RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.random((1, 3, 8, 8), np.float32)
PADDED = {"pads": [1, 1, 1, 1], "kernel_shape": [3, 3]}
HALVE = {"kernel_shape": [2, 2], "strides": [2, 2]}
RANGES = {"images": 1.0, "a1": 3.0, "small": 2.0, "large": 2.5, "c2": 0.5, "both": 2.6}


def _weights(*shape: int) -> Array:
    return RANDOM.normal(0, 0.4, shape).astype(np.float32)


def pyramid(pool: str = "MaxPool") -> onnx.ModelProto:
    """A map that is pooled, resized back and joined with what another convolution gives."""
    constants = {
        "w1": _weights(4, 3, 3, 3),
        "w2": _weights(2, 4, 1, 1),
        "w3": _weights(2, 6, 1, 1),
        "scales": np.array([1, 1, 2, 2], np.float32),
    }
    nodes: Any = [
        ("Conv", "first", ["images", "w1"], "c1", PADDED),
        ("LeakyRelu", "act", ["c1"], "a1", {"alpha": 0.1}),
        (pool, "pool", ["a1"], "small", HALVE),
        ("Resize", "resize", ["small", "", "scales"], "large", {"mode": "nearest"}),
        ("Conv", "second", ["a1", "w2"], "c2", {}),
        ("Concat", "join", ["large", "c2"], "both", {"axis": 1}),
        ("Conv", "last", ["both", "w3"], "out", {}),
    ]
    return graph(nodes, constants, ["out"])


def reads_both(model: onnx.ModelProto) -> list[str]:
    """Tensors that one node quantises and another reads in float."""
    kinds: dict[str, set[bool]] = {}
    for node in model.graph.node:
        for name in node.input:
            kinds.setdefault(name, set()).add(node.op_type == "QuantizeLinear")
    made = {name for node in model.graph.node for name in node.output}
    return sorted(name for name in made if len(kinds.get(name, ())) == 2)


@pytest.mark.parametrize("pool", ["MaxPool", "AveragePool"])
def test_one_scale_on_both_sides_and_nothing_read_twice(pool: str) -> None:
    model = quantise(pyramid(pool), FixedScales(RANGES))
    onnx.checker.check_model(model, full_check=True)
    assert reads_both(model) == []
    scales = {
        tensor.name.removesuffix("/scale"): float(numpy_helper.to_array(tensor))
        for tensor in model.graph.initializer
        if tensor.name.endswith("/scale") and not tensor.dims
    }
    assert set(scales) == {"images", "a1", "small", "large", "c2", "both"}
    for name in ("a1", "small", "large", "c2", "both"):
        assert scales[name] == np.float32(3.0 / 127)
    assert scales["images"] == np.float32(1.0 / 127)
    makers = {output: node.op_type for node in model.graph.node for output in node.output}
    for node in model.graph.node:
        if node.name in ("pool", "resize", "join"):
            features = [name for name in node.input if name and name != "scales"]
            assert {makers[name] for name in features} == {"DequantizeLinear"}


@pytest.mark.parametrize(("left_out", "bridges"), [("last", []), ("second", ["join", "resize"])])
def test_a_reader_in_float_keeps_a_bridge_in_float(left_out: str, bridges: list[str]) -> None:
    """With `last` in float nothing quantises the join; with `second`, the pool still runs so."""
    model = quantise(pyramid(), FixedScales(RANGES), [left_out])
    makers = {output: node.op_type for node in model.graph.node for output in node.output}
    quantised = [
        node.name
        for node in model.graph.node
        if node.name in ("resize", "join") and makers[node.input[0]] == "DequantizeLinear"
    ]
    assert sorted(quantised) == bridges


def test_it_computes_the_same_but_for_rounding() -> None:
    source = pyramid()
    names = tensors_to_quantise(source)
    assert set(names) >= {"images", "a1", "small", "large", "c2", "both"}
    (want,) = run_onnx(source, IMAGE)
    (have,) = run_onnx(quantise(source, observed(source, names, IMAGE)), IMAGE)
    assert 0 < np.abs(have - want).max() < 6 * np.abs(want).max() / 127


def test_a_tensor_that_is_joined_with_itself() -> None:
    nodes: Any = [
        ("Concat", "join", ["images", "images"], "both", {"axis": 1}),
        ("Conv", "last", ["both", "w"], "out", {}),
    ]
    model = quantise(graph(nodes, {"w": _weights(2, 6, 1, 1)}, ["out"]), FixedScales({}, 1.0))
    assert reads_both(model) == []
    run_onnx(model, IMAGE)
