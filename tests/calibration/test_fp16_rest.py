"""What is float16 in a quantised model, and what stays float32."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from small_graphs import FixedScales, graph, observed, run_onnx
from tiny_network import SIZE, save_tiny

from jdetrt.calibration.config import Target
from jdetrt.calibration.damage import Reference
from jdetrt.calibration.quantize.fp16_rest import this_target, to_half
from jdetrt.calibration.quantize.qdq import quantise, tensors_to_quantise
from jdetrt.config import ExportConfig
from jdetrt.errors import CalibrationError
from jdetrt.export.onnx_writer import export_onnx
from jdetrt.export.parity import synthetic_pictures
from jdetrt.machine.probe import Probe
from jdetrt.runtime.preprocess import letterbox

IMAGE = np.random.default_rng(1).random((1, 3, 8, 8), np.float32)


def mixed(weight: float = 0.5) -> onnx.ModelProto:
    """A quantised convolution, one in float, and the beginning of decoding."""
    constants = {
        "w1": np.full((2, 3, 1, 1), 0.25, np.float32),
        "b1": np.array([0.1, -0.2], np.float32),
        "w2": np.full((1, 2, 1, 1), weight, np.float32),
        "low": np.array(0, np.float32),
        "high": np.array(6, np.float32),
        "half": np.array(0.5, np.float32),
    }
    model = graph(
        [
            ("Conv", "first", ["images", "w1", "b1"], "c1", {}),
            ("Clip", "act", ["c1", "low", "high"], "a1", {}),
            ("Conv", "second", ["a1", "w2"], "c2", {}),
            ("Mul", "decode", ["c2", "half"], "boxes", {}),
        ],
        constants,
        ["boxes"],
    )
    return quantise(model, FixedScales({}, 2.0), ["second"])


def types(model: onnx.ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    values = [*inferred.graph.value_info, *inferred.graph.output, *inferred.graph.input]
    found = {value.name: value.type.tensor_type.elem_type for value in values}
    return found | {tensor.name: tensor.data_type for tensor in model.graph.initializer}


def test_types() -> None:
    source = mixed()
    before = source.SerializeToString()
    model = to_half(source)
    assert source.SerializeToString() == before
    onnx.checker.check_model(model, full_check=True)
    found = types(model)
    for name in ("c1", "a1", "c2", "b1/float16", "w2/float16", "low/float16"):
        assert found[name] == TensorProto.FLOAT16, name
    for name in ("boxes", "images", "half", "w1", "images/scale", "images/offirst/dequantised"):
        assert found[name] == TensorProto.FLOAT, name
    assert found["w1/offirst/scale"] == TensorProto.FLOAT
    assert "b1" not in found  # nothing reads it any more
    casts = [list(node.input) for node in model.graph.node if node.op_type == "Cast"]
    dequantised = [["images/offirst/dequantised"], ["w1/offirst/dequantised"]]
    assert casts == [*dequantised, ["c2"]]
    assert {e.key: e.value for e in model.metadata_props}["precision"] == "int8+fp16"


def test_numbers() -> None:
    (have,), (want,) = run_onnx(to_half(mixed()), IMAGE), run_onnx(mixed(), IMAGE)
    np.testing.assert_allclose(have, want, rtol=2e-3)
    assert (have != want).any()


@pytest.mark.parametrize("target", ["desktop", "rtx"])
def test_scales_in_float16_need_no_cast_beside_a_convolution(target: Target) -> None:
    source = mixed()
    model = to_half(source, target)
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version == 19
    found = types(model)
    for name in ("images/scale/float16", "images/offirst/dequantised", "w1/offirst/dequantised"):
        assert found[name] == TensorProto.FLOAT16, name
    assert found["boxes"] == TensorProto.FLOAT
    casts = [list(node.input) for node in model.graph.node if node.op_type == "Cast"]
    assert casts == [["images"], ["c2"]]  # what comes in, and before decoding
    (have,), (want,) = run_onnx(model, IMAGE), run_onnx(source, IMAGE)
    np.testing.assert_allclose(have, want, atol=2.5 * 2 / 127)  # a step of the image at most


def test_a_scale_that_float16_cannot_hold_stays() -> None:
    source = mixed()
    for tensor in source.graph.initializer:
        if tensor.name == "w1/offirst/scale":
            tensor.CopyFrom(numpy_helper.from_array(np.full(2, 1e-5, np.float32), tensor.name))
    model = to_half(source, "desktop")
    onnx.checker.check_model(model, full_check=True)
    found = types(model)
    assert found["w1/offirst/dequantised"] == TensorProto.FLOAT
    assert found["images/offirst/dequantised"] == TensorProto.FLOAT16
    (have,), (want,) = run_onnx(model, IMAGE), run_onnx(source, IMAGE)
    np.testing.assert_allclose(have, want, atol=2.5 * 2 / 127)


def test_jetpack_5_halves_the_rest_by_itself() -> None:
    source = mixed()
    assert to_half(source, "jetpack5") == source


@pytest.mark.parametrize(
    ("release", "target"),
    [
        (None, "desktop"),
        ("# R35 (release), REVISION: 4.1, GCID: 1", "jetpack5"),
        ("# R36 (release), REVISION: 4.3, GCID: 1", "orin"),
        ("# R39 (release), REVISION: 2.0, GCID: 1", "orin"),
    ],
)
def test_the_target_that_this_machine_is(release: str | None, target: str, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    if release is not None:
        (tmp_path / "etc/nv_tegra_release").write_text(release)
    assert this_target(Probe(root=tmp_path)) == target


def test_a_weight_that_float16_cannot_hold() -> None:
    with pytest.raises(CalibrationError, match="w2: has a value beyond 65504"):
        to_half(mixed(1e5))


def test_an_exported_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = save_tiny(tmp_path / "tiny.safetensors", monkeypatch)
    export_onnx(source, tmp_path / "model.onnx", ExportConfig(top_k=50))
    exported = onnx.load(tmp_path / "model.onnx")
    image = letterbox(synthetic_pictures(1, SIZE)[0], SIZE)[0][None]
    scales = observed(exported, tensors_to_quantise(exported), image)
    quantised = quantise(exported, scales, ["*/embedding/Conv"])
    model = to_half(quantised)
    onnx.checker.check_model(model, full_check=True)
    found = types(model)
    for node in exported.graph.node:
        if node.op_type in ("Conv", "LeakyRelu", "Resize", "Concat"):
            inside = not node.name.startswith("/decode/")
            wanted = TensorProto.FLOAT16 if inside else TensorProto.FLOAT
            assert found[node.output[0]] == wanted, node.name
    halved = [
        tensor.name for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT16
    ]
    assert sum(name.endswith(".weight/float16") for name in halved) == 3  # of those left in float
    for tensor in model.graph.initializer:
        if tensor.name.endswith("/scale"):
            assert numpy_helper.to_array(tensor).dtype == np.float32
    closeness = Reference(quantised, [image], 1).compare(model).closeness
    assert 0.99 < closeness.iou < 1
    assert closeness.mean_cosine > 0.999
    assert 0 < closeness.score < 0.005
