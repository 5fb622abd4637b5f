from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_network import SIZE, save_tiny

from jdetrt.benchmarks.open_model import open_model
from jdetrt.config import ExportConfig
from jdetrt.engine.onnxruntime import OrtSession
from jdetrt.errors import CheckpointError, SessionError
from jdetrt.export.onnx_writer import export_onnx
from jdetrt.export.torch_session import TorchSession
from jdetrt.runtime.detector import network_size


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return save_tiny(tmp_path / "tiny.safetensors", monkeypatch)


def test_each_kind_has_its_session(checkpoint: Path, tmp_path: Path) -> None:
    export_onnx(checkpoint, tmp_path / "tiny.onnx", ExportConfig(top_k=20))
    with open_model(checkpoint, provider="cpu") as session:
        assert isinstance(session, TorchSession)
        assert network_size(session) == SIZE
    with open_model(checkpoint, size=(64, 64), provider="cpu") as session:
        assert network_size(session) == (64, 64)
    with open_model(tmp_path / "tiny.onnx", size=SIZE, provider="cpu", threads=1) as session:
        assert isinstance(session, OrtSession)
    with pytest.raises(SessionError, match="takes pictures of 128x96, not of 64x64"):
        open_model(tmp_path / "tiny.onnx", size=(64, 64))


def test_threads_are_those_of_torch(checkpoint: Path) -> None:
    before = torch.get_num_threads()
    try:
        open_model(checkpoint, provider="cpu", threads=before + 1).close()
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_what_cannot_be_opened(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        open_model(tmp_path / "missing.onnx")
    with pytest.raises(SessionError, match="torch runs on 'cpu' or 'cuda', not on 'tensorrt'"):
        open_model(checkpoint, provider="tensorrt")
    (tmp_path / "text.onnx").write_text("<html>")
    with pytest.raises(SessionError, match="not an ONNX model"):
        open_model(tmp_path / "text.onnx")
