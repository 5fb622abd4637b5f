"""Models and repositories that the tests of servers share."""

from __future__ import annotations

from pathlib import Path

import pytest

from jdetrt.config import ExportConfig
from jdetrt.deploy.triton import TritonOptions, write_triton_repository
from jdetrt.export.onnx_writer import export_onnx
from jdetrt.shipped import resolve_checkpoint


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in network, small and with a free batch."""
    path = tmp_path_factory.mktemp("model") / "nano.onnx"
    config = ExportConfig(size=(192, 128), top_k=128, dynamic_batch=True)
    export_onnx(resolve_checkpoint("nano"), path, config)
    return path


@pytest.fixture(scope="session")
def small(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository that starts fast."""
    folder = tmp_path_factory.mktemp("small")
    options = TritonOptions(name="jde-float32", runtime="python", threads=1)
    write_triton_repository([model], folder, options)
    return folder
