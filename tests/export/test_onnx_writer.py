"""Exports: what is in the file, that ONNX Runtime and torch agree, and that a doubt stops it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from scipy.spatial import cKDTree
from tiny_network import save_tiny

from jdetrt import inputs
from jdetrt.config import ExportConfig
from jdetrt.engine.onnx_file import metadata as onnx_metadata
from jdetrt.engine.open import open_session
from jdetrt.errors import CheckpointError, ConfigError, ExportError, OutputError, ParityError
from jdetrt.export import onnx_writer
from jdetrt.export.deploy_graph import Decode
from jdetrt.export.onnx_writer import export_onnx
from jdetrt.export.parity import synthetic_pictures
from jdetrt.runtime.preprocess import letterbox
from jdetrt.training.checkpoints import checkpoint
from jdetrt.training.checkpoints.reference import write_reference
from jdetrt.training.network.anchors import anchor_sizes
from jdetrt.training.network.model import random_network

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = ExportConfig(size=(128, 96), top_k=100)


@pytest.fixture(scope="module")
def darknet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reference") / "latest.pt"
    write_reference(path, random_network(7), identities=14455)
    return path


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return save_tiny(tmp_path / "tiny.safetensors", monkeypatch)


@pytest.mark.parametrize(
    "size",
    [
        (576, 320),
        *(pytest.param(size, marks=pytest.mark.slow) for size in ((864, 480), (1088, 608))),
    ],
)
def test_darknet_in_reference_layout(size: tuple[int, int], darknet: Path, tmp_path: Path) -> None:
    output = tmp_path / "model.onnx"
    random = np.random.default_rng(1)
    frame = random.integers(0, 256, (size[1] // 8, size[0] // 8, 3), np.uint8)
    frame = frame.repeat(8, 0).repeat(8, 1)
    done = export_onnx(darknet, output, ExportConfig(size=size), frames=[frame])
    assert done.parity.frames == 1
    assert done.parity.boxes_px <= 1e-3
    assert done.parity.scores <= 1e-5
    assert done.parity.embeddings <= 1e-4

    model = onnx.load(output)
    assert {node.domain for node in model.graph.node} == {""}
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("Conv") == 78
    grouped = size == (1088, 608)  # 54 264 candidates
    assert kinds.count("TopK") == (2 if grouped else 1)
    assert kinds.count("GatherElements") == (1 if grouped else 0)  # of k indices
    assert not {"BatchNormalization", "NonMaxSuppression", "If", "Loop"} & set(kinds)
    assert {n.name.split("/")[1] for n in model.graph.node} == {"network", "decode"}
    assert all(n.name.startswith("/") for n in model.graph.node)
    assert len({n.name for n in model.graph.node}) == len(model.graph.node)
    after = {n.op_type for n in model.graph.node if n.name.startswith("/decode/")}
    assert {"TopK", "Exp", "Sigmoid", "Gather", "ReduceL2"} <= after
    weights = {tensor.name for tensor in model.graph.initializer}
    assert {"network.body.stem.conv.weight", "network.levels.2.embedding.bias"} <= weights

    # The same numbers from the file itself, in its own order, as far as scores tell it.
    if size == (576, 320):
        _compare_by_hand(darknet, output, size)


def _compare_by_hand(darknet: Path, output: Path, size: tuple[int, int]) -> None:
    network, _ = checkpoint.load(darknet)
    images = np.random.default_rng(2).random((1, 3, size[1], size[0]), np.float32)
    with open_session(output, threads=1) as session:
        assert session.inputs[0].shape == (1, 3, 320, 576)
        assert [spec.shape for spec in session.outputs] == [(1, 256, 4), (1, 256), (1, 256, 512)]
        found = session.infer({"images": images})
    with torch.inference_mode():
        decode = Decode(size, anchor_sizes(*size), 256, 512)
        boxes, scores, embeddings = (
            tensor[0].numpy() for tensor in decode.forward_all(network(torch.from_numpy(images)))
        )
    np.testing.assert_allclose(found["scores"][0], np.sort(scores)[::-1][:256], atol=1e-5)
    distances, nearest = cKDTree(boxes).query(found["boxes"][0], p=np.inf)
    assert distances.max() <= 1e-3
    assert len(set(nearest)) == 256
    cosine = (found["embeddings"][0] * embeddings[decode.cells.numpy()[nearest]]).sum(-1)
    assert cosine.min() >= 1 - 1e-4


def test_metadata(tiny: Path, tmp_path: Path) -> None:
    output = tmp_path / "model.onnx"
    done = export_onnx(tiny, output, CONFIG)
    with open_session(output) as session:
        metadata = session.metadata
    assert metadata["body"] == "tiny"
    assert (metadata["width"], metadata["height"]) == ("128", "96")
    assert (metadata["top_k"], metadata["embedding_dim"]) == ("100", "16")
    assert json.loads(metadata["anchors"]) == anchor_sizes(128, 96).tolist()
    assert json.loads(metadata["strides"]) == [32, 16, 8]
    assert metadata["checkpoint"] == "tiny.safetensors"
    assert metadata["checkpoint_kind"] == "jdetrt"
    assert metadata["checkpoint_sha256"] == inputs.sha256(tiny)
    assert metadata["precision"] == "fp32"
    assert json.loads(metadata["parity"])["real_frames"] is False
    assert done.sha256 == inputs.sha256(output)
    assert done.bytes == output.stat().st_size


def test_same_input_same_file(tiny: Path, tmp_path: Path) -> None:
    first = export_onnx(tiny, tmp_path / "1.onnx", CONFIG)
    assert export_onnx(tiny, tmp_path / "2.onnx", CONFIG).sha256 == first.sha256


def test_dynamic_batch_gives_the_same_one_by_one(tiny: Path, tmp_path: Path) -> None:
    output = tmp_path / "model.onnx"
    done = export_onnx(tiny, output, replace_config(dynamic_batch=True))
    assert done.inputs[0].shape == (-1, 3, 96, 128)
    assert [spec.shape for spec in done.outputs] == [(-1, 100, 4), (-1, 100), (-1, 100, 16)]
    images = np.random.default_rng(0).random((3, 3, 96, 128), np.float32)
    session = ort.InferenceSession(output, providers=["CPUExecutionProvider"])
    together = session.run(None, {"images": images})
    for i in range(3):
        alone = session.run(None, {"images": images[i : i + 1]})
        for all_outputs, one in zip(together, alone, strict=True):
            np.testing.assert_allclose(all_outputs[i], one[0], rtol=1e-4, atol=1e-4)

    static = tmp_path / "static.onnx"
    export_onnx(tiny, static, CONFIG)
    session = ort.InferenceSession(static, providers=["CPUExecutionProvider"])
    for all_outputs, one in zip(together, session.run(None, {"images": images[:1]}), strict=True):
        np.testing.assert_allclose(all_outputs[0], one[0], rtol=1e-4, atol=1e-4)


def replace_config(**changes: Any) -> ExportConfig:
    return ExportConfig(**{"size": (128, 96), "top_k": 100, **changes})


def test_size_and_anchors(tiny: Path, tmp_path: Path) -> None:
    # The checkpoint records 128x96: its size by default, and its anchors at any other size.
    done = export_onnx(tiny, tmp_path / "1.onnx", replace_config(size=None))
    assert (done.inputs[0].shape, done.anchor_size) == ((1, 3, 96, 128), (128, 96))
    done = export_onnx(tiny, tmp_path / "2.onnx", replace_config(size=(64, 64)))
    assert (done.inputs[0].shape, done.anchor_size) == ((1, 3, 64, 64), (128, 96))
    config = replace_config(size=(64, 64))
    done = export_onnx(tiny, tmp_path / "3.onnx", config, trained_size=(576, 320))
    stored = {p.key: p.value for p in onnx.load(tmp_path / "3.onnx").metadata_props}
    assert json.loads(stored["anchors"]) == anchor_sizes(576, 320).tolist()


def test_real_frames_of_any_size(tiny: Path, tmp_path: Path) -> None:
    frames = [np.full((96, 128, 3), 50, np.uint8), np.full((30, 50, 3), 200, np.uint8)]
    done = export_onnx(tiny, tmp_path / "model.onnx", CONFIG, frames=frames)
    assert (done.parity.frames, done.real_frames) == (2, True)


@pytest.mark.parametrize(
    ("weight", "what"),
    [
        ("network.levels.2.detection.1.bias", "scores"),
        ("network.levels.2.embedding.bias", "embeddings"),
        ("priors", "boxes"),
    ],
)
def test_a_model_that_differs_is_not_written(
    weight: str, what: str, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    correct = onnx_writer._to_onnx

    def wrong(*args: Any) -> onnx.ModelProto:
        model = correct(*args)
        constants = [a.t for n in model.graph.node for a in n.attribute if n.op_type == "Constant"]
        changed = 0
        for tensor in (*model.graph.initializer, *constants):
            if tensor.name == weight or (weight == "priors" and list(tensor.dims) == [1008, 4]):
                changed += _shift(tensor)
        assert changed == 1
        return model

    monkeypatch.setattr(onnx_writer, "_to_onnx", wrong)
    output = tmp_path / "model.onnx"
    output.write_text("what was here before")
    with pytest.raises(ParityError, match=rf"frame 1: .*{what}.* No model was written"):
        export_onnx(tiny, output, CONFIG)
    assert output.read_text() == "what was here before"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.onnx", "tiny.safetensors"]


def _shift(tensor: onnx.TensorProto) -> int:
    values = onnx.numpy_helper.to_array(tensor).copy()
    values.reshape(-1)[0::5] += 0.1
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    return 1


def test_a_diverged_network(tiny: Path, tmp_path: Path) -> None:
    network, _ = checkpoint.load(tiny)
    with torch.no_grad():
        network.get_parameter("levels.0.detection.1.weight").fill_(3e38)
    checkpoint.save(tiny, network, size=(128, 96))
    with pytest.raises(ExportError, match="the network itself gives NaN or infinite"):
        export_onnx(tiny, tmp_path / "model.onnx", CONFIG)


def test_a_network_with_confident_scores(tiny: Path, tmp_path: Path) -> None:
    size = (576, 320)
    network, _ = checkpoint.load(tiny)
    images = torch.from_numpy(
        np.stack([letterbox(p, size)[0] for p in synthetic_pictures(2, size)])
    )
    decode = Decode(size, anchor_sizes(*size), 3840, 16)
    with torch.inference_mode():
        predictions = decode.predictions(network(images))
        margins = predictions[..., 5] - predictions[..., 4]
        scale, middle = 12 / (margins - margins.mean()).abs().max(), margins.mean()
        for i in range(3):
            weight = network.get_parameter(f"levels.{i}.detection.1.weight").view(4, 6, -1)
            bias = network.get_parameter(f"levels.{i}.detection.1.bias").view(4, 6)
            weight[:, 4:] *= scale
            bias[:, 4:] *= scale
            bias[:, 5] -= scale * middle
        predictions = decode.predictions(network(images))
        margins = predictions[..., 5] - predictions[..., 4]
    assert float(margins.abs().max()) == pytest.approx(12, abs=0.1)
    checkpoint.save(tiny, network, size=size)
    done = export_onnx(tiny, tmp_path / "model.onnx", ExportConfig(top_k=3840))
    assert done.parity.scores < 1e-4


def test_memory_that_runs_out(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def numpy_fails(*_: Any) -> None:
        raise MemoryError

    def torch_fails(*_: Any) -> None:
        torch.empty(1 << 46)  # 256 TiB: more than any address space here has

    def other(*_: Any) -> None:
        raise RuntimeError("a defect")

    output = tmp_path / "model.onnx"
    for fails in (numpy_fails, torch_fails):
        for step in ("_to_onnx", "synthetic_pictures", "check_parity"):
            with monkeypatch.context() as patch:
                patch.setattr(onnx_writer, step, fails)
                with pytest.raises(ExportError, match="not enough memory for a network of 128x96"):
                    export_onnx(tiny, output, CONFIG)
    monkeypatch.setattr(onnx_writer, "_to_onnx", other)
    with pytest.raises(RuntimeError, match="a defect"):
        export_onnx(tiny, output, CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.safetensors"]


def test_no_more_candidates_than_there_are(tiny: Path, tmp_path: Path) -> None:
    done = export_onnx(tiny, tmp_path / "all.onnx", replace_config(top_k=1024))
    assert [spec.shape for spec in done.outputs] == [(1, 1008, 4), (1, 1008), (1, 1008, 16)]
    assert onnx_metadata(tmp_path / "all.onnx")["top_k"] == "1008"


def test_refused(tiny: Path, tmp_path: Path) -> None:
    output = tmp_path / "model.onnx"
    with pytest.raises(ConfigError, match=r"130x96: .* multiples of 32, for example 128x96"):
        export_onnx(tmp_path / "not-even-looked-for.pt", output, replace_config(size=(130, 96)))
    with pytest.raises(ExportError, match="is the checkpoint itself"):
        export_onnx(tiny, tiny, CONFIG)
    with pytest.raises(OutputError, match="is a folder"):
        export_onnx(tiny, tmp_path, CONFIG)
    with pytest.raises(CheckpointError, match="no such file"):
        export_onnx(tmp_path / "missing.pt", output, CONFIG)
    assert not output.exists()


def test_refused_without_a_size_or_levels(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, info = checkpoint.load(tiny)
    unsized = replace(info, config=type(info.config)(body="tiny", embedding_dim=16))
    monkeypatch.setattr(checkpoint, "load", lambda _: (network, unsized))
    with pytest.raises(ExportError, match="does not record the size"):
        export_onnx(tiny, tmp_path / "model.onnx", replace_config(size=None))
    monkeypatch.setattr(checkpoint, "load", lambda _: (network, replace(info, complete=False)))
    with pytest.raises(ExportError, match=r"holds the body only \(layers 0-74\)"):
        export_onnx(tiny, tmp_path / "model.onnx", CONFIG)
