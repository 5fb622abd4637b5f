"""A network behind the protocol, against the exported model and the written-out decoding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_network import EMBEDDING_DIM, SIZE, save_tiny

from jdetrt.config import ExportConfig
from jdetrt.engine.onnxruntime import OrtSession
from jdetrt.errors import CheckpointError, ConfigError, ExportError, SessionError
from jdetrt.export.deploy_graph import Decode
from jdetrt.export.onnx_writer import export_onnx
from jdetrt.export.torch_session import TorchSession, load_network, open_checkpoint
from jdetrt.runtime.detector import check_model, has_embeddings, network_size
from jdetrt.training.checkpoints import checkpoint as checkpoints
from jdetrt.training.network.anchors import anchor_sizes
from jdetrt.types import Session

CANDIDATES = 1008


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return save_tiny(tmp_path / "tiny.safetensors", monkeypatch)


def pictures(count: int = 2) -> np.ndarray:
    shape = (count, 3, SIZE[1], SIZE[0])
    return np.random.default_rng(0).random(shape).astype(np.float32)


def test_it_is_a_session_of_a_jde_model(checkpoint: Path) -> None:
    with open_checkpoint(checkpoint) as session:
        assert isinstance(session, Session)
        check_model(session)
        assert network_size(session) == SIZE
        assert has_embeddings(session)
        outputs = session.infer({"images": pictures(3)})
        for spec in session.outputs:
            assert outputs[spec.name].shape == (3, *spec.shape[1:])
            assert outputs[spec.name].dtype == spec.dtype
        with pytest.raises(SessionError, match="expected float32"):
            session.infer({"images": pictures()[:, :, 1:]})
    with pytest.raises(SessionError, match="closed"):
        session.infer({"images": pictures()})


def test_the_exported_model_gives_the_same(checkpoint: Path, tmp_path: Path) -> None:
    config = ExportConfig(top_k=50, dynamic_batch=True)
    export_onnx(checkpoint, tmp_path / "tiny.onnx", config)
    network, size, anchors = load_network(checkpoint)
    with (
        TorchSession(network, size, anchors, top_k=50) as session,
        OrtSession(tmp_path / "tiny.onnx", provider="cpu") as exported,
    ):
        found = session.infer({"images": pictures()})
        expected = exported.infer({"images": pictures()})
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, atol=2e-4, err_msg=name)


def test_embedding_maps_are_those_of_all_cells(checkpoint: Path) -> None:
    network, size, anchors = load_network(checkpoint)
    with TorchSession(network, size, anchors) as session:
        maps = session.infer({"images": pictures()})["embedding_maps"]
    with torch.inference_mode():
        heads = network(torch.from_numpy(pictures()))
        expected = Decode(size, anchors, 1, EMBEDDING_DIM).forward_all(heads).embeddings
    np.testing.assert_allclose(maps, expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(maps, axis=2), 1, atol=1e-5)


def test_later_training_does_not_change_it(checkpoint: Path) -> None:
    network, size, anchors = load_network(checkpoint)
    network.train()
    with TorchSession(network, size, anchors) as session:
        before = session.infer({"images": pictures()})
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.zero_()
        after = session.infer({"images": pictures()})
    assert network.training
    np.testing.assert_array_equal(before["boxes"], after["boxes"])


def test_top_k_is_all_where_there_are_fewer(checkpoint: Path) -> None:
    with open_checkpoint(checkpoint, (64, 32)) as session:
        assert session.outputs[1].shape == (-1, 168)
    with open_checkpoint(checkpoint, (256, 192)) as session:
        assert session.outputs[1].shape == (-1, 256)


def test_anchors_are_those_of_the_recorded_size(checkpoint: Path) -> None:
    _, size, anchors = load_network(checkpoint, (256, 192))
    assert size == (256, 192)
    np.testing.assert_array_equal(anchors, anchor_sizes(*SIZE))
    network, _, _ = load_network(checkpoint)
    checkpoints.save(checkpoint.with_name("bare.safetensors"), network)
    with pytest.raises(ExportError, match="does not record the size"):
        load_network(checkpoint.with_name("bare.safetensors"))
    _, _, anchors = load_network(checkpoint.with_name("bare.safetensors"), (256, 192))
    np.testing.assert_array_equal(anchors, anchor_sizes(256, 192))


def test_anchors_of_the_network_itself(checkpoint: Path) -> None:
    head = ((10.0, 20.0), (30.0, 40.0), (50.0, 60.0), (70.0, 80.0))
    network, _, _ = load_network(checkpoint)
    own = checkpoint.with_name("own.safetensors")
    checkpoints.save(own, network, size=SIZE, anchors=(head, head, head))
    for size in (None, (256, 192)):
        _, _, anchors = load_network(own, size)
        np.testing.assert_array_equal(anchors, np.array([head, head, head], np.float32))


def test_what_cannot_be_opened(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        open_checkpoint(tmp_path / "missing.safetensors")
    with pytest.raises(ConfigError, match="multiples of 32"):
        open_checkpoint(checkpoint, (100, 100))
    if not torch.cuda.is_available():
        with pytest.raises(SessionError, match="finds no CUDA GPU"):
            open_checkpoint(checkpoint, device="cuda")
