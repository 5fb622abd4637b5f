"""Layers of a plan, from the words of each TensorRT version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fake_tensorrt import RTX, fake_tensorrt

from jdetrt.engine.tensorrt.compat import Log, TensorRt
from jdetrt.engine.tensorrt.layers import Layer, from_inspector, from_log, layers_path, read_layers
from jdetrt.errors import DataError
from jdetrt.files import write_json
from jdetrt.types import TensorSpec

# Lines of TensorRT-RTX 1.7.1 for a network of ours, some of their tensors left out.
LOGGED = """Layers:
Name: entry^bb^signal^2_myl0_0, LayerType: signal, Inputs: [], Constants: [], Outputs: [], \
TacticName: , StreamId: 0, EventId: 9, Metadata:\x20
Name: /network/body/stem/conv/Conv_myl0_1, LayerType: correlation, Inputs: [ { Name: \
/network/body/stem/act/Clip_output_0.1_2_myl0, Dimensions: [1,4,192,320], Strides: \
[245760,1,1280,4], StrideOrder: [3,0,2,1], Datatype: Int8, Format: (NHWC) Channel major format }], \
Constants: [ { Name: __mye8073_dconst_myl0, Dimensions: [32,4,3,3], Strides: [36,1,12,4], \
StrideOrder: [3,0,2,1], Datatype: Int8, Format: (NHWC) Channel major format }, { Name: \
__mye8896_const_myl0, Dimensions: [1], Strides: [1], StrideOrder: [0], Datatype: Float, Format: \
(Linear) Row major linear format }], Outputs: [ { Name: out_myl0, Dimensions: [1,32,96,160], \
Strides: [491520,1,5120,32], StrideOrder: [3,0,2,1], Datatype: Float, Format: (NHWC) Channel major \
format }], TacticName: __myelin_CASK_STUB, StreamId: 0, Metadata: [ONNX Layer: \
/network/body/stem/conv/Conv][ONNX Layer: /network/body/stem/act/Clip]
Name: __myl_FcAdd_myl0_50, LayerType: runtime_fusion, Inputs: [ { Name: a, Dimensions: \
[1,1152,60], Strides: [69120,1,1152], StrideOrder: [2,0,1], Datatype: Half, Format: (NHWC) Channel \
major format }], Constants: [ { Name: b, Dimensions: [1,320,1], Strides: [320,1,320], StrideOrder: \
[2,0,1], Datatype: Half, Format: (Transposed) Transposed format }], Outputs: [ { Name: c, \
Dimensions: [1,320,60], Strides: [19200,1,320], StrideOrder: [2,0,1], Datatype: Half, Format: \
(Transposed) Transposed format }], TacticName: , StreamId: 0, Metadata: [ONNX Layer: \
/network/body/stages.6/project/conv/Conv]__gemm_from_conv1x1
Name: __myl_Topk_myl0_109, LayerType: kgen, Inputs: [ { Name: d, Dimensions: [1,5040], Strides: \
[5040,1], StrideOrder: [1,0], Datatype: Float, Format: (Linear) Row major linear format }], \
Constants: [], Outputs: [ { Name: e, Dimensions: [1,256], Strides: [256,1], StrideOrder: [1,0], \
Datatype: Float, Format: (Linear) Row major linear format }, { Name: f, Dimensions: [1,256], \
Strides: [256,1], StrideOrder: [1,0], Datatype: Int64, Format: (Linear) Row major format }], \
TacticName: __myl_Topk_0xf1f6, StreamId: 0, Metadata: [ONNX Layer: /decode/TopK]

I/O Tensors:
 Name: images, IOMode: Input, DataType: Float, Dimensions: [1,3,192,320], Location: Device
"""

STEM = "/network/body/stem/conv/Conv"
CASK: dict[str, Any] = {
    "Name": f"{STEM} + /network/body/stem/act/Clip",
    "LayerType": "CaskConvolution",
    "ParameterType": "Convolution",
    "Weights": {"Type": "Int8", "Count": 864},
    "Bias": {"Type": "Float", "Count": 32},
    "TacticName": "sm80_xmma_fprop_implicit_gemm_interleaved_i8i8_i8i32_f32",
    "Metadata": f"[ONNX Layer: {STEM}]\x1e[ONNX Layer: /network/body/stem/act/Clip]",
}


def inspected(told: dict[str, Any], **more: Any) -> Layer:
    tensors = [{"Name": "x", "Location": "Device", "Dimensions": [1, 3, 96, 128], **told}]
    layer = {**CASK, "Inputs": tensors, "Outputs": [{**tensors[0], "Name": "y"}], **more}
    compiled = from_inspector({"Layers": [layer], "I/O Tensors": []}, 1000, "ab")
    assert (compiled.activations, compiled.weights) == (1000, None)
    (found,) = compiled.layers
    return found


def test_the_log_of_a_build() -> None:
    messages = [
        "Total Activation Memory: 34457600 bytes",
        "Total Weights Memory: 14262020 bytes",
        LOGGED,
    ]
    found = from_log(messages, "ab")
    assert found is not None
    assert (found.activations, found.weights) == (34457600, 14262020)
    assert (found.source, found.plan_sha256) == ("build log", "ab")
    stem, product, ranking = found.layers  # and not the one that only waits
    assert stem == Layer(
        name="/network/body/stem/conv/Conv_myl0_1",
        kind="correlation",
        inputs=(
            TensorSpec("/network/body/stem/act/Clip_output_0.1_2_myl0", "int8", (1, 4, 192, 320)),
        ),
        weights=(
            TensorSpec("__mye8073_dconst_myl0", "int8", (32, 4, 3, 3)),
            TensorSpec("__mye8896_const_myl0", "float32", (1,)),
        ),
        outputs=(TensorSpec("out_myl0", "float32", (1, 32, 96, 160)),),
        tactic="__myelin_CASK_STUB",
        nodes=(STEM, "/network/body/stem/act/Clip"),
    )
    assert (stem.convolution, stem.computes_in) == (True, "int8")
    # A 1x1 convolution that became a matrix product is one all the same.
    assert (product.convolution, product.computes_in, product.tactic) == (True, "float16", "")
    assert product.nodes == ("/network/body/stages.6/project/conv/Conv",)
    assert (ranking.convolution, ranking.computes_in) == (False, "float32")
    assert [tensor.dtype for tensor in ranking.outputs] == ["float32", "int64"]


def test_a_log_without_layers() -> None:
    assert from_log(["Total Weights Memory: 14262020 bytes"], "ab") is None
    assert from_log([], "ab") is None


@pytest.mark.parametrize(
    ("told", "dtype"),
    [
        # Up to 8.6, within the format; then one word; from 11 on two keys.
        ({"Format/Datatype": "Row major linear FP32 format"}, "float32"),
        ({"Format/Datatype": "Two wide channel vectorized row major FP16 format"}, "float16"),
        ({"Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format."}, "int8"),
        ({"Format/Datatype": "Half"}, "float16"),
        ({"Format/Datatype": "BFloat16"}, "bfloat16"),
        ({"Datatype": "Int8", "Format": "(NC/32HW32)"}, "int8"),
        ({"DataType": "Float", "Format": "Row major linear FP32 format (kLINEAR)"}, "float32"),
        ({"Format/Datatype": "N/A due to dynamic shapes"}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_the_inspector_of_each_version(told: dict[str, Any], dtype: str) -> None:
    layer = inspected(told)
    assert layer.inputs == (TensorSpec("x", dtype, (1, 3, 96, 128)),)
    assert layer.outputs == (TensorSpec("y", dtype, (1, 3, 96, 128)),)
    assert layer.weights == (
        TensorSpec("Weights", "int8", (864,)),
        TensorSpec("Bias", "float32", (32,)),
    )
    assert layer.nodes == (STEM, "/network/body/stem/act/Clip")
    assert layer.tactic.startswith("sm80_xmma")
    assert (layer.convolution, layer.computes_in) == (True, "int8")


def test_layers_that_tell_less() -> None:
    bare = inspected({"Format/Datatype": "Half"}, Weights={"Type": "Half", "Count": 0}, Bias={})
    assert (bare.weights, bare.computes_in) == ((), "float16")
    kernel = inspected(
        {"Datatype": "Float"},
        LayerType="kgen",
        Constants=[{"Name": "w", "Dimensions": [8, "E0"], "Datatype": "Half"}],
    )
    assert kernel.weights[0] == TensorSpec("w", "float16", (8, -1))
    assert not kernel.convolution
    names = from_inspector({"Layers": ["one", "two"]}, 5, "ab").layers  # built without details
    assert names == (Layer(name="one"), Layer(name="two"))
    assert names[0].computes_in == "unknown"


def test_what_was_kept_is_of_this_very_plan(tmp_path: Path) -> None:
    plan = tmp_path / "model.plan"
    assert read_layers(plan, "ab") is None
    kept = from_log([LOGGED], "ab")
    assert kept is not None
    write_json(layers_path(plan), kept)
    assert layers_path(plan) == tmp_path / "model.plan.layers.json"
    assert read_layers(plan, "ab") == kept
    assert read_layers(plan, "cd") is None
    assert len(json.loads(layers_path(plan).read_text())["layers"]) == 3
    layers_path(plan).write_text(layers_path(plan).read_text()[:200])
    with pytest.raises(DataError, match=r"model\.plan\.layers\.json: .*delete it"):
        read_layers(plan, "ab")


def test_the_log_of_tensorrt_keeps_what_tells_of_layers() -> None:
    trt: Any = fake_tensorrt(RTX)
    log = Log(TensorRt("tensorrt-rtx", trt))
    severity = trt.ILogger.Severity
    for kind, message in (
        (severity.VERBOSE, "Layers:\nName: x"),
        (severity.INFO, "Total Weights Memory: 5 bytes"),
        (severity.VERBOSE, "Reserving memory for host IO tensors. Host: 0 bytes"),
        (severity.ERROR, "Layers: none"),
    ):
        log.logger.log(kind, message)
    assert log.compiled == ["Layers:\nName: x", "Total Weights Memory: 5 bytes"]
    assert log.take_errors() == ["Layers: none"]


def test_what_a_plan_counts_and_moves() -> None:
    found = from_log([LOGGED], "ab")
    assert found is not None
    # One that is fused with the names of its quantisation is one convolution all the same.
    pair = ("/a/conv/Conv", "/x/of/a/conv/Conv/DequantizeLinear", "/b/conv/Conv_1")
    tensor = TensorSpec("x", "int8", (1, 2, 3, 4))
    layer = Layer("l", "correlation", inputs=(tensor,), outputs=(tensor,), nodes=pair)
    compiled = msgspec.structs.replace(found, layers=(layer,))
    assert compiled.convolutions == {"int8": 2}
    assert compiled.moved == 48
    free = msgspec.structs.replace(layer, weights=(TensorSpec("w", "float32", (-1,)),))
    assert msgspec.structs.replace(found, layers=(free,)).moved is None
