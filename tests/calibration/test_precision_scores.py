"""Scores and times of a network in several precisions."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from phases import Phases
from tiny_network import SIZE, save_tiny
from walkers import FRAMES, samples_of, true_session, walkers

from jdetrt.calibration import score as int8
from jdetrt.calibration.score import ApDrop, compare_speed, score_precisions
from jdetrt.config import ExportConfig
from jdetrt.errors import ConfigError, DataError, SessionError
from jdetrt.evaluation.summary import quick_score
from jdetrt.export.onnx_writer import export_onnx
from jdetrt.types import Detections, Session


@pytest.fixture
def sequence(tmp_path: Path) -> Path:
    return walkers(tmp_path / "walkers")


def stand_ins(patch: pytest.MonkeyPatch, sequence: Path) -> list[Path]:
    """Sessions by the name of the file: one sees the truth, one misses a person, one fails."""
    samples = samples_of(sequence)
    opened: list[Path] = []

    def miss(index: int, seen: Detections) -> Detections:
        embeddings = seen.embeddings
        assert embeddings is not None
        return Detections(seen.boxes[1:], seen.scores[1:], embeddings[1:])

    def open_stand_in(path: Path, **_: Any) -> Session:
        opened.append(path)
        if path.stem == "bad":
            raise SessionError("bad.onnx: cannot be loaded")
        return true_session(samples, change=miss if path.stem == "worse" else None)

    patch.setattr(int8, "open_session", open_stand_in)
    return opened


def test_scores(sequence: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = stand_ins(monkeypatch, sequence)
    phases = Phases()
    models = {"FP32": Path("true.onnx"), "INT8": Path("worse.onnx"), "naive": Path("bad.onnx")}
    rows = score_precisions(models, sequence, progress=phases)
    assert rows["FP32"] == quick_score(true_session(samples_of(sequence)), sequence).to_dict()
    assert rows["INT8"]["fn"] == rows["FP32"]["fn"] + FRAMES - 1
    assert rows["naive"] == {"failed": "bad.onnx: cannot be loaded"}
    assert phases.steps == [("Scoring all precisions", done, 3) for done in (1, 2, 3)]
    assert phases.finished == ["Scoring all precisions"]
    del opened[:]
    again = score_precisions(models, sequence, known={"FP32": rows["FP32"]})
    assert again == rows
    assert [path.stem for path in opened] == ["worse", "bad"]
    with pytest.raises(SessionError, match="cannot be loaded"):
        score_precisions({"FP32": Path("bad.onnx")}, sequence)
    with pytest.raises(DataError):
        score_precisions({"FP32": Path("true.onnx")}, sequence / "gt")


def test_the_loss_of_average_precision(
    sequence: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = samples_of(sequence)
    half = [samples[i] for i in (0, 2, 5)]

    def change(index: int, seen: Detections) -> Detections:
        embeddings = seen.embeddings
        assert embeddings is not None
        return Detections(seen.boxes[1:], seen.scores[1:], embeddings[1:])

    judged = tmp_path / "judged.onnx"
    monkeypatch.setattr(
        int8,
        "open_session",
        lambda path, **_: true_session(half, change=change if path == judged else None),
    )
    drop = ApDrop(tmp_path / "model.onnx", [str(sequence)], images=3, scratch=tmp_path)
    assert drop.ap == 1.0
    # Two of three people are found: the precision is 1 up to a recall of 2/3.
    assert drop(onnx.ModelProto()) == pytest.approx(1 - 67 / 101)


def test_speed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = save_tiny(tmp_path / "tiny.safetensors", monkeypatch)
    export_onnx(source, tmp_path / "model.onnx", ExportConfig(top_k=9))
    image = np.zeros((1, 3, SIZE[1], SIZE[0]), np.float32)
    models = {"one": tmp_path / "model.onnx", "same": tmp_path / "model.onnx"}
    found = compare_speed(models, image, runs=3, threads=1)
    times = {name: one["p50"] for name, one in found.milliseconds.items()}
    assert found.runs == 3
    assert found.speed_up == {"same": pytest.approx(times["one"] / times["same"])}
    assert min(times.values()) > 0
    with pytest.raises(ConfigError, match="expected 1 run or more, got 0"):
        compare_speed(models, image, runs=0)
    with pytest.raises(SessionError, match="no such file"):
        compare_speed({**models, "none": tmp_path / "none.onnx"}, image, runs=1)
