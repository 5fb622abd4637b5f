"""What TensorRT-RTX, built ahead of time without a GPU, makes of each precision, layer by layer.

That a model is taken and which type each convolution runs in is seen here; how fast that is, and
what TensorRT makes of it on a Jetson, is not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Literal

import onnx
import pytest
from tiny_network import TinyBody

from jdetrt.calibration.quantize.qdq import layer_names, quantise
from jdetrt.config import ExportConfig
from jdetrt.engine.tensorrt import compat
from jdetrt.engine.tensorrt.build_options import BuildOptions
from jdetrt.engine.tensorrt.builder.build import build_plan
from jdetrt.engine.tensorrt.describe import describe_plan
from jdetrt.engine.tensorrt.layers import Compiled, Layer
from jdetrt.export.onnx_writer import export_onnx
from jdetrt.training.checkpoints import checkpoint
from jdetrt.training.network import model
from jdetrt.training.network.model import random_network

pytest.importorskip("tensorrt_rtx", reason="needs tensorrt-rtx: pip install 'jdetrt[rtx]'")
pytestmark = pytest.mark.usefixtures("one_thread")

SIZE = (320, 192)
LEFT_OUT = ("/network/body/stem/*", "/network/levels.*/detection*")

Models = Callable[[str], Path]


class _Scales:
    """Any scale will do: types do not depend on it."""

    def scale(self, tensor: str) -> float:
        return 0.05


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return models(tmp_path_factory.mktemp("nano"), "nano", SIZE)


@pytest.fixture(scope="module")
def nanodet(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return models(tmp_path_factory.mktemp("nanodet"), "nanodet-g", SIZE)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterable[Models]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "BODIES", {**model.BODIES, "tiny": TinyBody})
        yield models(tmp_path_factory.mktemp("tiny"), "tiny", (128, 96))


def models(folder: Path, body: str, size: tuple[int, int]) -> Models:
    """Random weights: ``fp32``, ``fp16``, ``int8`` and ``mixed`` (INT8 but for ``LEFT_OUT``)."""
    source = folder / "network.safetensors"
    checkpoint.save(source, random_network(2, body, 64), size=size)

    @cache
    def give(kind: str) -> Path:
        path = folder / f"{kind}.onnx"
        if kind in ("fp32", "fp16"):
            precision: Literal["fp32", "fp16"] = "fp16" if kind == "fp16" else "fp32"
            export_onnx(source, path, ExportConfig(top_k=100, precision=precision))
        else:
            leave_out = LEFT_OUT if kind == "mixed" else ()
            onnx.save(quantise(onnx.load(give("fp32")), _Scales(), leave_out), path)
        return path

    return give


def build(path: Path, *capabilities: str) -> Compiled:
    """Build with detailed profiling verbosity, as ``jdetrt build`` does, and read the layers."""
    plan = path.with_suffix(".plan")
    options = BuildOptions(compute_capabilities=capabilities, allow_float=True)
    sidecar = build_plan(compat.load("tensorrt-rtx"), path, plan, options)
    assert sidecar.typing == "strong"
    content = describe_plan(plan)
    assert content.note == ""
    assert content.compiled is not None
    assert content.compiled.weights is not None
    return content.compiled


def convolutions(path: Path, compiled: Compiled) -> dict[str, Layer]:
    """The layer that computes each convolution of the graph: each one exactly once."""
    wanted = {node.name for node in onnx.load(path).graph.node if node.op_type == "Conv"}
    found = [
        (node, layer)
        for layer in compiled.layers
        if layer.convolution
        for node in layer.nodes
        if node in wanted
    ]
    assert len(found) == len(wanted) == len(dict(found)) > 0
    return dict(found)


def types(layers: Iterable[Layer]) -> set[str]:
    """Every type of what the layers read, have and give."""
    return {
        tensor.dtype
        for layer in layers
        for tensor in (*layer.inputs, *layer.weights, *layer.outputs)
    }


def check_fp32(path: Path) -> None:
    compiled = build(path)
    assert {layer.computes_in for layer in convolutions(path, compiled).values()} == {"float32"}
    assert types(compiled.layers) <= {"float32", "int64"}


def check_fp16(path: Path, arithmetic: str = "/decode/Exp") -> None:
    compiled = build(path)
    found = convolutions(path, compiled)
    assert {layer.computes_in for layer in found.values()} == {"float16"}
    for layer in found.values():
        assert {tensor.dtype for tensor in (*layer.inputs, *layer.outputs)} == {"float16"}
    # Decoding: ranking and box arithmetic see no float16, and what leaves the plan is float32.
    ranking = [layer for layer in compiled.layers if "/decode/top_k/TopK" in layer.nodes]
    assert types(ranking) == {"float32", "int64"}
    boxes = [layer for layer in compiled.layers if arithmetic in layer.nodes]
    assert boxes
    assert types(boxes) <= {"float32", "int32", "int64"}
    given = {t.name: t.dtype for layer in compiled.layers for t in layer.outputs}
    assert [given[name] for name in ("boxes", "scores", "embeddings")] == ["float32"] * 3


def check_int8(path: Path) -> None:
    compiled = build(path)
    for node, layer in convolutions(path, compiled).items():
        assert layer.computes_in == "int8", node
        assert layer.inputs[0].dtype == "int8", node
    ranking = [layer for layer in compiled.layers if "/decode/top_k/TopK" in layer.nodes]
    assert types(ranking) == {"float32", "int64"}


def test_nano_fp32(nano: Models) -> None:
    check_fp32(nano("fp32"))


def test_nano_fp16(nano: Models) -> None:
    check_fp16(nano("fp16"))


def test_nano_int8(nano: Models) -> None:
    check_int8(nano("int8"))


def test_nanodet_fp16(nanodet: Models) -> None:
    check_fp16(nanodet("fp16"), "/decode/Softmax")


def test_nanodet_int8(nanodet: Models) -> None:
    check_int8(nanodet("int8"))


def test_layers_left_out_of_int8_run_in_float(nano: Models) -> None:
    path = nano("mixed")
    quantised = set(layer_names(onnx.load(nano("fp32"))))
    found = convolutions(path, build(path))
    in_float = {node for node, layer in found.items() if layer.computes_in == "float32"}
    in_int8 = {node for node, layer in found.items() if layer.computes_in == "int8"}
    assert in_float | in_int8 == set(found) <= quantised
    assert in_float == {
        node for node in found if node.startswith("/network/body/stem/") or "/detection/" in node
    }
    assert len(in_float) > 3


def test_cards_before_ampere_run_int8_in_float(tiny: Models) -> None:
    # Without a word of TensorRT-RTX: whoever builds for 7.5 too gets it for all, and is refused by
    # `jdetrt build` unless it is allowed.
    path = tiny("int8")
    for capabilities, wanted in ((("8.6",), "int8"), (("7.5",), "float32")):
        found = convolutions(path, build(path, *capabilities))
        assert {layer.computes_in for layer in found.values()} == {wanted}


def test_darknet53(tmp_path: Path) -> None:
    darknet = models(tmp_path, "darknet53", (64, 64))  # its layers are those of any size
    check_fp32(darknet("fp32"))
    check_fp16(darknet("fp16"))
    check_int8(darknet("int8"))


def test_an_int8_plan_that_does_more_than_the_fp16_plan_beside_it_is_told(
    tiny: Models, caplog: pytest.LogCaptureFixture
) -> None:
    build(tiny("fp16"), "8.6")
    assert "FP16 plan" not in caplog.text
    build(tiny("int8"), "8.6")
    (message,) = (record.getMessage() for record in caplog.records if "FP16" in record.message)
    assert "int8.plan: does more than the FP16 plan fp16.plan, which may be faster: " in message
    assert re.search(r"\d+ launches, not \d+", message)
