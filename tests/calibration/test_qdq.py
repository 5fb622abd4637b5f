"""The two layouts of a quantised model, against quantisation written out in torch."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper
from small_graphs import FixedScales, graph, observed, run_onnx
from tiny_network import SIZE, save_tiny
from torch import Tensor
from torch.nn.functional import conv2d

from jdetrt.calibration.quantize.qdq import (
    LAYOUTS,
    Layout,
    layer_names,
    quantise,
    tensors_to_quantise,
)
from jdetrt.calibration.quantize.rewrite import weight_scales
from jdetrt.config import ExportConfig
from jdetrt.errors import CalibrationError
from jdetrt.export.onnx_writer import export_onnx
from jdetrt.export.parity import synthetic_pictures
from jdetrt.runtime.preprocess import letterbox
from jdetrt.types import Array

RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.random((1, 3, 8, 8), np.float32)


def weights(*shape: int) -> Array:
    return RANDOM.normal(0, 0.4, shape).astype(np.float32)


CONSTANTS = {
    "w1": weights(4, 3, 3, 3),
    "b1": weights(4),
    "w2": weights(4, 4, 1, 1),
    "b2": weights(4),
    "w3": weights(2, 4, 1, 1),
    "b3": weights(2),
    "low": np.array(0, np.float32),
    "high": np.array(0.7, np.float32),
}
PADDED = {"pads": [1, 1, 1, 1], "kernel_shape": [3, 3]}


def residual(activation: str = "Clip") -> onnx.ModelProto:
    """A convolution, an activation, a linear convolution added to what it reads, and a last one."""
    extra = {"Clip": (["low", "high"], {}), "Relu": ([], {}), "LeakyRelu": ([], {"alpha": 0.1})}
    inputs, attributes = extra[activation]
    constants = {
        name: value for name, value in CONSTANTS.items() if name[0] in "wb" or name in inputs
    }
    return graph(
        [
            ("Conv", "first", ["images", "w1", "b1"], "c1", PADDED),
            (activation, "act", ["c1", *inputs], "a1", attributes),
            ("Conv", "second", ["a1", "w2", "b2"], "c2", {}),
            ("Add", "add", ["a1", "c2"], "sum", {}),
            ("Conv", "last", ["sum", "w3", "b3"], "out", {}),
            ("Exp", "decode", ["out"], "boxes", {}),
        ],
        constants,
        ["out", "boxes"],
    )


@pytest.mark.parametrize(
    ("largest", "leave_out", "kind"),
    [
        (0.7, (), "Relu"),  # int8 ends where the Clip does
        (0.5, (), "Relu"),
        (0.702, (), "Relu"),  # 0.7 is 126.6 steps
        (0.704, (), "Clip"),
        (0.5, ("second",), "Clip"),  # which reads it in float
        (0.5, ("add",), "Clip"),
    ],
)
def test_a_clip_that_int8_makes_needless_is_a_relu(
    largest: float, leave_out: tuple[str, ...], kind: str
) -> None:
    source = residual()
    model = quantise(source, FixedScales({"a1": largest}, 3.0), leave_out)
    (activation,) = [node for node in model.graph.node if node.name == "act"]
    assert activation.op_type == kind
    onnx.checker.check_model(model, full_check=True)
    clipped = onnx.ModelProto()
    clipped.CopyFrom(model)
    if kind == "Relu":
        for node in clipped.graph.node:
            if node.name == "act":
                node.op_type = "Clip"
                node.input.extend(["low", "high"])
        clipped.graph.initializer.extend(
            numpy_helper.from_array(CONSTANTS[name], name) for name in ("low", "high")
        )
    for _ in range(5):
        image = RANDOM.normal(0, 2, IMAGE.shape).astype(np.float32)
        for have, want in zip(run_onnx(model, image), run_onnx(clipped, image), strict=True):
            np.testing.assert_array_equal(have, want)


def fake(values: Tensor, largest: float) -> Tensor:
    """Round to steps of a 127th of the range, and back."""
    step = np.float64(np.float32(largest / 127))
    rounded: Tensor = (values / step).round().clamp(-128, 127) * step
    return rounded


def fake_weights(name: str) -> Tensor:
    values = torch.from_numpy(CONSTANTS[name]).double()
    return torch.stack([fake(channel, float(channel.abs().max())) for channel in values])


def tensor(name: str) -> Tensor:
    return torch.from_numpy(CONSTANTS[name]).double()


RANGES = {"images": 0.9, "a1": 0.6, "c2": 1.1, "sum": 1.2}


@pytest.mark.parametrize(
    ("activation", "function"),
    [
        ("Clip", lambda x: x.clamp(0, 0.7)),
        ("Relu", lambda x: x.clamp(min=0)),
        ("LeakyRelu", lambda x: torch.where(x > 0, x, 0.1 * x)),
    ],
)
def test_what_tensorrt_computes(activation: str, function: Callable[[Tensor], Tensor]) -> None:
    model = quantise(residual(activation), FixedScales(RANGES))
    image = fake(torch.from_numpy(IMAGE).double(), 0.9)
    first = function(conv2d(image, fake_weights("w1"), tensor("b1"), padding=1))
    skip = fake(first, 0.6)
    second = conv2d(skip, fake_weights("w2"), tensor("b2"))  # not rounded before it is added
    expected = conv2d(fake(skip + second, 1.2), fake_weights("w3"), tensor("b3"))

    out, boxes = run_onnx(model, IMAGE, optimise=False)
    # Sums in float32 may fall on the other side of a rounding boundary here and there.
    wrong = np.abs(out - expected.numpy()) > 1e-5
    assert wrong.mean() < 0.02
    assert np.abs(out - expected.numpy()).max() < 0.02
    np.testing.assert_allclose(boxes, np.exp(out), rtol=1e-5)


def kinds_before(model: onnx.ModelProto, name: str) -> list[str]:
    """The operators that make what a node reads; "" for a constant."""
    makers = {output: node.op_type for node in model.graph.node for output in node.output}
    (node,) = (node for node in model.graph.node if node.name == name)
    return [makers.get(source, "") for source in node.input]


def test_rules_of_tensorrt() -> None:
    source = residual()
    before = source.SerializeToString()
    model = quantise(source, FixedScales(RANGES))
    assert source.SerializeToString() == before
    onnx.checker.check_model(model, full_check=True)

    pair, stored = "DequantizeLinear", ""
    assert kinds_before(model, "first") == [pair, pair, stored]  # the bias stays as it is
    assert kinds_before(model, "act") == ["Conv"]  # nothing in between, and a Relu by now
    assert kinds_before(model, "add") == [pair, "Conv"]  # the skip input alone
    assert kinds_before(model, "decode") == ["Conv"]
    values = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    quantising = [n for n in model.graph.node if n.op_type.endswith("uantizeLinear")]
    assert Counter(node.op_type for node in quantising) == {
        "QuantizeLinear": 6,  # images, a1 and sum; three weights
        "DequantizeLinear": 7,  # a1 for the convolution and for the addition
    }
    for node in quantising:
        scale, zero_point = (values[name] for name in node.input[1:])
        assert scale.dtype == np.float32
        assert zero_point.dtype == np.int8
        assert not zero_point.any()
        assert scale.shape == zero_point.shape
        axes = [a.i for a in node.attribute if a.name == "axis"]
        assert axes == ([0] if scale.ndim else [])
    np.testing.assert_allclose(
        values["w1/offirst/scale"], np.abs(CONSTANTS["w1"]).max(axis=(1, 2, 3)) / 127
    )
    assert values["a1/scale"] == np.float32(0.6 / 127)


def test_two_convolutions_that_are_added() -> None:
    """A ResNet's first block: the later convolution adds, the earlier one is quantised."""
    model = graph(
        [
            ("Conv", "short", ["images", "w1"], "c1", PADDED),
            ("Conv", "long", ["images", "w1", "b1"], "c2", PADDED),
            ("Add", "add", ["c1", "c2"], "sum", {}),
            ("Conv", "last", ["sum", "w2"], "out", {}),
        ],
        {name: CONSTANTS[name] for name in ("w1", "b1", "w2")},
        ["out"],
    )
    quantised = quantise(model, FixedScales({}, 1.0))
    assert kinds_before(quantised, "add") == ["DequantizeLinear", "Conv"]
    run_onnx(quantised, IMAGE)


def test_layers_that_are_left_out() -> None:
    source = residual()
    assert layer_names(source) == ["first", "second", "add", "last"]
    model = quantise(source, FixedScales(RANGES), ["sec*", "add"])
    assert kinds_before(model, "second") == ["Clip", "", ""]
    assert kinds_before(model, "add") == ["Clip", "Conv"]
    assert kinds_before(model, "last")[0] == "DequantizeLinear"
    notes = {entry.key: entry.value for entry in model.metadata_props}
    assert notes == {
        "precision": "int8",
        "int8_layout": "tensorrt",
        "int8_float_layers": "second\nadd",
    }
    for layout in LAYOUTS:
        untouched = quantise(source, FixedScales({}), ["*"], layout=layout)
        for have, want in zip(run_onnx(untouched, IMAGE), run_onnx(source, IMAGE), strict=True):
            np.testing.assert_array_equal(have, want)


@pytest.mark.parametrize("activation", ["Clip", "Relu", "LeakyRelu"])
def test_integers_of_onnx_runtime(activation: str, tmp_path: Path) -> None:
    source = residual(activation)
    names = tensors_to_quantise(source)
    before = ["c1"] if activation == "LeakyRelu" else []
    assert names == ["images", *before, "a1", "c2", "sum"]
    model = quantise(source, observed(source, names, IMAGE), layout="onnxruntime")
    onnx.checker.check_model(model, full_check=True)
    dump = str(tmp_path / "optimised.onnx")
    out, _ = run_onnx(model, IMAGE, dump=dump)
    kinds = Counter(node.op_type for node in onnx.load(dump).graph.node)
    assert kinds["QLinearConv"] == 2
    assert kinds["QLinearAdd"] == 1
    assert kinds["Relu"] + kinds["Clip"] + kinds["LeakyRelu"] == 0
    # What the graph says, computed in float; a last bit may differ at each of three layers.
    plain, _ = run_onnx(model, IMAGE, optimise=False)
    wanted, _ = run_onnx(source, IMAGE)
    step = np.abs(wanted).max() / 127
    assert np.abs(out - plain).max() < 2 * step
    assert np.abs(out - wanted).max() < 6 * step


@given(st.sets(st.sampled_from(["first", "second", "add", "last"])), st.sampled_from(LAYOUTS))
def test_ranges_suffice_whatever_is_left_out(left_out: set[str], layout: Layout) -> None:
    for activation in ("Clip", "Relu", "LeakyRelu"):
        source = residual(activation)
        scales = observed(source, tensors_to_quantise(source), IMAGE)  # asserts that it has them
        out, _ = run_onnx(quantise(source, scales, sorted(left_out), layout=layout), IMAGE)
        wanted, _ = run_onnx(source, IMAGE)
        assert np.abs(out - wanted).max() < 6 * np.abs(wanted).max() / 127


@pytest.mark.parametrize("activation", ["Clip", "LeakyRelu"])
def test_a_float_layer_is_rounded_after_its_activation(activation: str) -> None:
    source = residual(activation)
    model = quantise(source, FixedScales(RANGES), ["first"], layout="onnxruntime")
    assert kinds_before(model, "act")[0] == "Conv"
    assert kinds_before(model, "second")[0] == "DequantizeLinear"
    readers = {name: node.op_type for node in model.graph.node for name in node.input}
    assert readers["c1"] == activation


def test_a_cut_below_the_measured_range() -> None:
    """Entropy and percentile may cut lower than ReLU6 does, and min-max right at it."""
    for largest in (0.35, 0.7):
        source = residual()
        model = quantise(source, FixedScales({**RANGES, "a1": largest}), layout="onnxruntime")
        values = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        top = values["a1/scale"] * np.float32(255)
        assert top <= np.float32(largest)
        assert top == pytest.approx(largest)
        assert values["a1/zero_point"] == 0
        assert values["sum/zero_point"] == 128


def test_channels_without_weights() -> None:
    values = np.array([[2.0, -4.0], [0.0, 0.0], [1e-30, 0.0]], np.float32)
    found = weight_scales(values, None, 0.1)
    np.testing.assert_allclose(found, [4 / 127, 1 / 127, 1e-30 / 127], rtol=1e-6)
    found = weight_scales(values, np.array([3.0, 3.0, 3.0], np.float32), 0.1)
    np.testing.assert_allclose(found, [4 / 127, 1 / 127, 30 / 2**30], rtol=1e-6)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_bias_that_no_integer_could_hold(layout: Layout) -> None:
    constants = {
        "w": np.full((2, 3, 1, 1), 1e-12, np.float32),
        "b": np.array([3.0, -2.0], np.float32),
        "v": np.ones((1, 2, 1, 1), np.float32),
    }
    nodes: Any = [
        ("Conv", "dead", ["images", "w", "b"], "c", {}),
        ("Conv", "sum", ["c", "v"], "out", {}),
    ]
    model = quantise(graph(nodes, constants, ["out"]), FixedScales({}, 3.0), layout=layout)
    for optimise in (True, False):
        (out,) = run_onnx(model, IMAGE, optimise=optimise)
        np.testing.assert_allclose(out, 1.0, atol=0.03)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    with pytest.MonkeyPatch.context() as patch:
        source = save_tiny(folder / "tiny.safetensors", patch)
        export_onnx(source, folder / "model.onnx", ExportConfig(top_k=200))
        export_onnx(source, folder / "half.onnx", ExportConfig(top_k=200, half_weights=True))
    return folder


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["model", "half"])
def test_an_exported_model(tiny: Path, name: str, layout: Layout) -> None:
    source = onnx.load(tiny / f"{name}.onnx")
    image = letterbox(synthetic_pictures(1, SIZE)[0], SIZE)[0][None]
    model = quantise(source, observed(source, tensors_to_quantise(source), image), layout=layout)
    onnx.checker.check_model(model, full_check=True)
    notes = {entry.key: entry.value for entry in model.metadata_props}
    assert notes["precision"] == "int8"
    assert notes["width"] == str(SIZE[0])
    decode = [node for node in model.graph.node if node.name.startswith("/decode/")]
    assert decode == [node for node in source.graph.node if node.name.startswith("/decode/")]
    if layout == "tensorrt":  # TensorRT 8 gets no Cast between weights and their quantisation
        kept = {tensor.data_type for tensor in model.graph.initializer}
        assert onnx.TensorProto.FLOAT16 not in kept

    have, want = run_onnx(model, image), run_onnx(source, image)
    for quantised, exact in zip(have, want, strict=True):
        assert quantised.shape == exact.shape
    best = have[2][0] @ want[2][0].T  # the ranks of close candidates may differ
    assert np.median(best.max(axis=1)) > 0.99


@pytest.mark.parametrize("layout", LAYOUTS)
def test_refused(layout: Layout) -> None:
    source = residual()
    quantised = quantise(source, FixedScales(RANGES), layout=layout)
    with pytest.raises(CalibrationError, match="already quantised"):
        quantise(quantised, FixedScales(RANGES), layout=layout)
    with pytest.raises(CalibrationError, match=r"no layer 'frist' .* has 4, such as first"):
        quantise(source, FixedScales(RANGES), ["frist"], layout=layout)
    for wrong in (0.0, float("nan"), float("inf"), -1.0):
        with pytest.raises(CalibrationError, match=r"sum: its scale is .* leave the layers"):
            quantise(source, FixedScales({**RANGES, "sum": wrong}), layout=layout)


def test_models_that_cannot_be_quantised() -> None:
    old = residual()
    old.opset_import[0].version = 12
    with pytest.raises(CalibrationError, match="opset 12; one scale per channel needs 13"):
        tensors_to_quantise(old)
    with pytest.raises(CalibrationError, match="no convolution"):
        layer_names(graph([("Exp", "exp", ["images"], "out", {})], {}, ["out"]))
    with pytest.raises(CalibrationError, match="layout 'dla': expected tensorrt or onnxruntime"):
        quantise(residual(), FixedScales(RANGES), layout="dla")  # type: ignore[arg-type]
    computed = graph(
        [
            ("Exp", "exp", ["w1"], "w", {}),
            ("Conv", "conv", ["images", "w"], "out", PADDED),
        ],
        {"w1": CONSTANTS["w1"]},
        ["out"],
    )
    with pytest.raises(CalibrationError, match="conv: its weights are computed"):
        layer_names(computed)
    broken = residual()
    damaged = np.full((4, 3, 3, 3), np.nan, np.float32)
    broken.graph.initializer[0].CopyFrom(numpy_helper.from_array(damaged, "w1"))
    with pytest.raises(CalibrationError, match="first: has NaN or infinite weights"):
        layer_names(broken)
