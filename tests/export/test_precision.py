"""FP16 models: what is in the graph, that they equal torch, and that what overflows is refused."""

import copy
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, shape_inference
from tiny_network import SIZE, save_tiny
from torch import nn

from jdetrt.config import ExportConfig
from jdetrt.engine.open import open_session
from jdetrt.errors import ConfigError, ExportError, ParityError
from jdetrt.export import onnx_writer
from jdetrt.export.deploy_graph import DeployGraph
from jdetrt.export.onnx_writer import export_onnx
from jdetrt.export.parity import FLOAT16, synthetic_pictures
from jdetrt.export.precision import FLOAT16_MAX, record_peaks, to_half
from jdetrt.runtime.preprocess import letterbox
from jdetrt.training.checkpoints import checkpoint
from jdetrt.training.network.anchors import anchor_sizes
from jdetrt.training.network.model import random_network

pytestmark = pytest.mark.usefixtures("one_thread")

HALF = ExportConfig(top_k=64, precision="fp16")


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return save_tiny(tmp_path / "tiny.safetensors", monkeypatch)


def types_of(model: onnx.ModelProto) -> dict[str, int]:
    """The element type of every tensor, as shape inference has it."""
    graph = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    values = (*graph.input, *graph.output, *graph.value_info)
    found = {value.name: value.type.tensor_type.elem_type for value in values}
    found.update({tensor.name: tensor.data_type for tensor in graph.initializer})
    return found


@pytest.mark.parametrize("dynamic", [False, True])
def test_the_network_is_half_and_the_rest_is_not(dynamic: bool, tiny: Path, tmp_path: Path) -> None:
    config = ExportConfig(top_k=64, precision="fp16", dynamic_batch=dynamic)
    done = export_onnx(tiny, tmp_path / "model.onnx", config)
    assert done.precision == "fp16"
    assert {spec.dtype for spec in (*done.inputs, *done.outputs)} == {"float32"}
    model = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]

    types = types_of(model)
    assert {tensor.data_type for tensor in model.graph.initializer} == {TensorProto.FLOAT16}
    floats = {TensorProto.FLOAT, TensorProto.FLOAT16}
    decoded = 0
    for node in model.graph.node:
        inputs = {types[name] for name in node.input if name} & floats
        outputs = {types[name] for name in node.output} & floats
        if node.op_type in ("Cast", "Resize", "Constant"):  # a Resize has its scales in float32
            continue
        if node.name.startswith("/network/"):
            assert inputs | outputs == {TensorProto.FLOAT16}, node.name
        if node.op_type in ("TopK", "Exp", "ReduceL2"):
            assert inputs | outputs == {TensorProto.FLOAT}, node.name
            decoded += 1
        assert len(inputs | outputs) <= 1, f"{node.name} mixes types"
    assert decoded == 3
    casts = [
        node.name
        for node in model.graph.node
        if node.op_type == "Cast" and types[node.output[0]] in floats
    ]
    assert casts[0] == "/Cast"
    assert [name.rstrip("_0123456789") for name in casts[1:]] == ["/decode/Cast"] * 2
    with open_session(tmp_path / "model.onnx") as session:
        assert session.metadata["precision"] == "fp16"
        assert session.metadata["weights"] == "float16"


def test_it_is_near_the_network_in_float32(tiny: Path, tmp_path: Path) -> None:
    # Against torch in float64 with the weights as they were: what half costs altogether.
    export_onnx(tiny, tmp_path / "model.onnx", ExportConfig(top_k=1008, precision="fp16"))
    network, _ = checkpoint.load(tiny)
    images = np.random.default_rng(5).random((1, 3, SIZE[1], SIZE[0]), np.float32)
    with open_session(tmp_path / "model.onnx") as session:
        found = session.infer({"images": images})
    graph = DeployGraph(network, SIZE, anchor_sizes(*SIZE), 1008)
    with torch.inference_mode():
        exact = graph.decode.forward_all(network.double()(torch.from_numpy(images).double()))
    want = np.sort(exact.scores[0].numpy())[::-1]
    np.testing.assert_allclose(found["scores"][0], want, atol=1e-4)


def test_nano_equals_torch_at_half_the_size(tmp_path: Path) -> None:
    source = tmp_path / "nano.safetensors"
    checkpoint.save(source, random_network(2, "nano", 128), size=SIZE)
    full = export_onnx(source, tmp_path / "full.onnx", ExportConfig(top_k=64))
    half = export_onnx(source, tmp_path / "half.onnx", HALF)
    assert 0.45 < half.bytes / full.bytes < 0.55
    assert half.parity.boxes <= FLOAT16.boxes
    assert half.parity.scores <= FLOAT16.scores
    assert half.parity.embeddings <= FLOAT16.embeddings


@torch.inference_mode()
def test_the_limits_are_above_the_noise_of_float16() -> None:
    # Torch rounds after every layer, as a GPU does and ONNX Runtime on most CPUs does not.
    size = (320, 192)
    pictures = [letterbox(picture, size)[0] for picture in synthetic_pictures(2, size)]
    images = torch.from_numpy(np.stack(pictures))
    network = random_network(2, "nano", 128)
    graph = DeployGraph(network, size, anchor_sizes(*size), 64)
    _spread_scores(graph, images)
    reference = to_half(graph)
    half = graph.decode.forward_all(graph.network(images.half()))
    full = graph.decode.forward_all(reference(images))
    assert full.scores.min() < 0.01
    assert full.scores.max() > 0.99
    sides = (full.boxes[..., 2:] - full.boxes[..., :2]).clamp(min=100)
    scale = torch.maximum(sides, graph.decode.priors[:, 2:]).amax(2)
    noise = (
        float(((half.boxes - full.boxes).abs().amax(2) / scale).max()),
        float((half.scores - full.scores).abs().max()),
        float(((half.embeddings - full.embeddings) ** 2).sum(2).max() / 2),
    )
    for found, limit in zip(noise, FLOAT16, strict=True):
        assert limit / 200 < found < limit


def _spread_scores(graph: DeployGraph, images: torch.Tensor) -> None:
    """Scale the logits of an untrained network, so that scores reach from 0 to 1."""
    predictions = graph.decode.predictions(graph.network(images))
    margins = predictions[..., 5] - predictions[..., 4]
    middle = margins.mean()
    scale = 12 / (margins - middle).abs().max()
    for level in graph.network.levels:
        output = list(level.get_submodule("detection").modules())[-1]
        weight = output.get_parameter("weight").view(4, 6, -1)
        bias = output.get_parameter("bias").view(4, 6)
        weight[:, 4:] *= scale
        bias[:, 4:] *= scale
        bias[:, 5] -= scale * middle


def test_it_is_compared_with_its_own_rounded_weights(tiny: Path) -> None:
    network, _ = checkpoint.load(tiny)
    graph = DeployGraph(network, SIZE, anchor_sizes(*SIZE), 64)
    before = copy.deepcopy(graph.network).state_dict()
    reference = to_half(graph)
    for name, tensor in reference.state_dict().items():
        want = before[name].numpy().astype(np.float16)
        assert tensor.dtype == torch.float32
        np.testing.assert_array_equal(tensor.numpy(), want.astype(np.float32))
        np.testing.assert_array_equal(graph.network.state_dict()[name].numpy(), want)
    assert graph.decode.priors.dtype == torch.float32


def test_a_weight_beyond_float16(tiny: Path, tmp_path: Path) -> None:
    network, _ = checkpoint.load(tiny)
    with torch.no_grad():
        network.get_parameter("levels.0.detection.1.bias")[3] = -7e4
    checkpoint.save(tiny, network, size=SIZE)
    with pytest.raises(ExportError, match=r"levels\.0\.detection\.1\.bias: has a value of 70000"):
        export_onnx(tiny, tmp_path / "model.onnx", HALF)
    assert not (tmp_path / "model.onnx").exists()


def test_activations_beyond_float16(tiny: Path, tmp_path: Path) -> None:
    # The embedding, which normalisation would bring back into range, so that no output shows it.
    network, _ = checkpoint.load(tiny)
    with torch.no_grad():
        network.get_parameter("levels.1.embedding.bias")[0] = 6e4
        network.get_parameter("levels.1.embedding.weight")[0].fill_(6e4)
    checkpoint.save(tiny, network, size=SIZE)
    with pytest.raises(ExportError, match=r"levels\.1\.embedding: gives values of up to .*65504"):
        export_onnx(tiny, tmp_path / "model.onnx", HALF)
    assert not (tmp_path / "model.onnx").exists()
    export_onnx(tiny, tmp_path / "model.onnx", ExportConfig(top_k=64))  # float32 takes it


def test_peaks_are_the_largest_magnitudes() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.ReLU(), nn.Conv2d(1, 1, 1))
    with torch.no_grad():
        network.get_parameter("0.weight").fill_(-3)
        network.get_parameter("2.weight").fill_(2)
        network.get_parameter("2.bias").fill_(1)
    with record_peaks(network) as peaks, torch.inference_mode():
        network(torch.full((1, 1, 2, 2), 5.0))
        network(torch.full((1, 1, 2, 2), -1.0))
    network(torch.full((1, 1, 2, 2), 99.0))  # after the block nothing is noted
    assert peaks == {"0": 15.0, "2": 7.0}
    assert np.finfo(np.float16).max == FLOAT16_MAX


def test_a_model_that_differs_is_not_written(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    correct = onnx_writer._to_onnx

    def wrong(*args: object) -> onnx.ModelProto:
        model = correct(*args)  # type: ignore[arg-type]
        (bias,) = (
            t for t in model.graph.initializer if t.name == "network.levels.2.detection.1.bias"
        )
        values = onnx.numpy_helper.to_array(bias).copy()
        values[5::6] += np.float16(0.1)
        bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
        return model

    monkeypatch.setattr(onnx_writer, "_to_onnx", wrong)
    with pytest.raises(ParityError, match=r"scores .*allowed: 0\.02"):
        export_onnx(tiny, tmp_path / "model.onnx", HALF)
    assert not (tmp_path / "model.onnx").exists()


def test_half_weights_and_half_precision_are_two_things(tiny: Path, tmp_path: Path) -> None:
    config = ExportConfig(top_k=64, precision="fp16", half_weights=True)
    with pytest.raises(ConfigError, match="in precision fp16 the weights are float16 anyway"):
        export_onnx(tiny, tmp_path / "model.onnx", config)
