"""Where decoding reads a model: the graphs of this version, with short and long axes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from small_graphs import run_onnx

from jdetrt.calibration.damage import Observer
from jdetrt.config import ExportConfig
from jdetrt.export import top_k
from jdetrt.export.onnx_writer import export_onnx
from jdetrt.training.checkpoints import checkpoint
from jdetrt.training.network.model import random_network

SIZE = (96, 64)


@pytest.mark.parametrize("body", ["nanodet-g", "nano"])
def test_a_top_k_in_groups(body: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "n.safetensors"
    checkpoint.save(source, random_network(0, body, 16), size=SIZE)
    image = np.random.default_rng(0).random((1, 3, 64, 96), np.float32)
    maps = []
    for longest, kinds in ((1 << 14, 1), (100, 2)):
        monkeypatch.setattr(top_k, "_LONG", longest)
        export_onnx(source, tmp_path / "n.onnx", ExportConfig(top_k=50))
        model = onnx.load(tmp_path / "n.onnx")
        assert [node.op_type for node in model.graph.node].count("TopK") == kinds
        observer = Observer(model, 1)
        maps.append(observer.run(image))
        boxes, scores, embeddings = run_onnx(model, image)
        best = np.argsort(-maps[-1].margins, kind="stable")[:50]
        np.testing.assert_allclose(1 / (1 + np.exp(-maps[-1].margins[best])), scores[0], atol=1e-6)
        np.testing.assert_allclose(observer.boxes(maps[-1], best), boxes[0], atol=1e-3)
        rows = maps[-1].embeddings[:, observer.cells[best]].T
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        np.testing.assert_allclose(rows, embeddings[0], atol=1e-4)
    for whole, grouped in zip(*maps, strict=True):
        np.testing.assert_array_equal(whole, grouped)
