"""``jdetrt bench calibration-memory``: each number of frames in a process of its own."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from small_graphs import graph
from tiny_network import SIZE, save_tiny

from jdetrt.benchmarks.calibration_memory import measure_memory
from jdetrt.cli import main
from jdetrt.config import ExportConfig
from jdetrt.errors import ConfigError
from jdetrt.export.onnx_writer import export_onnx


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    model = tmp_path / "tiny.onnx"
    checkpoint = save_tiny(tmp_path / "tiny.safetensors", monkeypatch)
    export_onnx(checkpoint, model, ExportConfig(size=SIZE, top_k=50))
    return model


def test_memory_by_the_number_of_frames(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "memory.json"
    with pytest.raises(SystemExit) as end:
        main(
            [
                *("bench", "calibration-memory", "--model", str(tiny), "--counts", "1,3"),
                *("--method", "mse", "--json", str(path)),
            ]
        )
    assert end.value.code == 0
    result = json.loads(path.read_text())
    one, three = result["rows"]
    assert (one["frames"], three["frames"]) == (1, 3)
    for row in (one, three):
        assert row["tensors"] > 10
        assert 10 < row["start_mib"] < row["peak_mib"] < 4000
        assert row["seconds"] > 0
    assert result["mib_a_frame"] == (three["peak_mib"] - one["peak_mib"]) / 2
    assert result["settings"]["size"] == list(SIZE)
    assert result["settings"]["method"] == "mse"
    assert "cpu" in result["machine"]
    assert "A frame more takes" in capsys.readouterr().out


def test_wrong_questions(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="from 1 on, got"):
        measure_memory(tiny, [])
    with pytest.raises(ConfigError, match=r"from 1 on, got \[0\]"):
        measure_memory(tiny, [0])
    picture = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "one.png"), picture)
    with pytest.raises(ConfigError, match="2 frames were wanted, 1 differ"):
        measure_memory(tiny, [1, 2], sources=[str(tmp_path / "one.png")])


def test_a_size_that_is_free(tmp_path: Path) -> None:
    model = graph([("Relu", "/relu", ["images"], "active", {})], {}, ["active"])
    for axis, name in ((2, "height"), (3, "width")):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(ConfigError, match="leaves its input size free"):
        measure_memory(tmp_path / "m.onnx", [1])
