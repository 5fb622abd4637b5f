"""Half weights: what is in the file, that it is half as large, and that its numbers are torch's."""

import copy
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
import torch
from tiny_network import save_tiny
from torch import nn

from jdetrt.config import ExportConfig
from jdetrt.engine.open import open_session
from jdetrt.errors import ExportError
from jdetrt.export.onnx_writer import export_onnx
from jdetrt.export.parity import FLOAT32
from jdetrt.export.precision import round_weights
from jdetrt.training.checkpoints import checkpoint
from jdetrt.training.network.layers import ConvBlock
from jdetrt.training.network.model import JdeNetwork, random_network

pytestmark = pytest.mark.usefixtures("one_thread")

HALF = ExportConfig(top_k=64, half_weights=True)
SIZE = (128, 96)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return save_tiny(tmp_path / "tiny.safetensors", monkeypatch)


def stored_weights(model: onnx.ModelProto) -> dict[str, npt.NDArray[np.float16]]:
    convs = [node for node in model.graph.node if node.op_type == "Conv"]
    casts = {n.output[0]: n for n in model.graph.node if n.op_type == "Cast"}
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    names = []
    for conv in convs:
        cast = casts[conv.input[1]]
        assert [(a.name, a.i) for a in cast.attribute] == [("to", onnx.TensorProto.FLOAT)]
        names.append(cast.input[0])
    assert len(names) == len(set(names)) > 0
    return {name: onnx.numpy_helper.to_array(tensors[name]) for name in names}


def folded_by_hand(network: JdeNetwork) -> dict[str, npt.NDArray[np.float64]]:
    """The weights of all convolutions, multiplied by their batch norms, in float64."""
    expected = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            expected[f"network.{name}.weight"] = module.weight.detach().double().numpy()
    for name, block in network.named_modules():
        if isinstance(block, ConvBlock):
            norm = block.norm
            assert isinstance(norm, nn.BatchNorm2d)
            assert norm.running_var is not None
            scale = norm.weight.detach().double() / (norm.running_var.double() + norm.eps).sqrt()
            expected[f"network.{name}.conv.weight"] *= scale.numpy()[:, None, None, None]
    return expected


def with_full_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model without Casts: its stored weights widened by NumPy."""
    model = copy.deepcopy(model)
    casts = {n.input[0]: n for n in model.graph.node if n.op_type == "Cast"}
    for tensor in model.graph.initializer:
        if tensor.name in casts:
            values = onnx.numpy_helper.to_array(tensor).astype(np.float32)
            cast = casts[tensor.name]
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, cast.output[0]))
            model.graph.node.remove(cast)
    return model


def run(model: onnx.ModelProto, images: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs: list[npt.NDArray[np.float32]] = session.run(None, {"images": images})
    return outputs


def test_what_is_in_the_file(tiny: Path, tmp_path: Path) -> None:
    done = export_onnx(tiny, tmp_path / "half.onnx", HALF)
    assert done.half_weights
    model = onnx.load(tmp_path / "half.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    assert {spec.dtype for spec in (*done.inputs, *done.outputs)} == {"float32"}
    assert len({node.name for node in model.graph.node}) == len(model.graph.node)
    assert all(node.name.startswith("/") for node in model.graph.node)

    network, _ = checkpoint.load(tiny)
    expected = folded_by_hand(network)
    stored = stored_weights(model)
    assert stored.keys() == expected.keys()
    for name, values in stored.items():
        assert values.dtype == np.float16
        # Half a step of float16, relative; a hundredth more for the rounding of float32 before.
        np.testing.assert_allclose(values, expected[name], rtol=1.01 * 2**-11, atol=1e-7)
    others = {t.data_type for t in model.graph.initializer if t.name not in stored}
    assert onnx.TensorProto.FLOAT16 not in others

    export_onnx(tiny, tmp_path / "full.onnx", ExportConfig(top_k=64))
    with open_session(tmp_path / "half.onnx") as half, open_session(tmp_path / "full.onnx") as full:
        assert (half.metadata["weights"], full.metadata["weights"]) == ("float16", "float32")
        assert half.metadata["precision"] == full.metadata["precision"] == "fp32"


def test_it_computes_in_float32_with_the_stored_weights(tiny: Path, tmp_path: Path) -> None:
    export_onnx(tiny, tmp_path / "half.onnx", HALF)
    model = onnx.load(tmp_path / "half.onnx")
    images = np.random.default_rng(5).random((1, 3, SIZE[1], SIZE[0]), np.float32)
    found = run(model, images)
    for have, want in zip(found, run(with_full_weights(model), images), strict=True):
        np.testing.assert_array_equal(have, want)


def test_nano_is_half_as_large_and_equals_the_rounded_network(tmp_path: Path) -> None:
    source = tmp_path / "nano.safetensors"
    checkpoint.save(source, random_network(2, "nano", 128), size=SIZE)
    full = export_onnx(source, tmp_path / "full.onnx", ExportConfig(top_k=64))
    half = export_onnx(source, tmp_path / "half.onnx", HALF)
    assert 0.45 < half.bytes / full.bytes < 0.55
    assert half.parity.boxes <= FLOAT32.boxes
    assert half.parity.scores <= FLOAT32.scores
    assert half.parity.embeddings <= FLOAT32.embeddings


def test_rounding_changes_convolutions_only(tiny: Path) -> None:
    network, _ = checkpoint.load(tiny)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    round_weights(network)
    changed = {
        name for name, tensor in network.state_dict().items() if not tensor.equal(before[name])
    }
    assert changed == {name for name, tensor in before.items() if tensor.ndim == 4}
    assert {tensor.dtype for tensor in network.parameters()} == {torch.float32}
    for name in changed:
        want = before[name].numpy().astype(np.float16).astype(np.float32)
        np.testing.assert_array_equal(network.state_dict()[name].numpy(), want)


def test_a_weight_beyond_float16(tiny: Path, tmp_path: Path) -> None:
    network, _ = checkpoint.load(tiny)
    with torch.no_grad():
        network.get_parameter("levels.0.detection.1.weight")[0, 0] = 7e4
    checkpoint.save(tiny, network, size=SIZE)
    message = r"levels\.0\.detection\.1: has a weight of 70000, more than float16 can hold"
    with pytest.raises(ExportError, match=message):
        export_onnx(tiny, tmp_path / "half.onnx", HALF)
    assert not (tmp_path / "half.onnx").exists()
