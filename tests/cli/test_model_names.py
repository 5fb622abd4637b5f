"""Every command that takes a model takes the name of one that ships."""

from __future__ import annotations

import json
import re
from pathlib import Path

import onnx
import pytest
from tiny_network import ship_tiny
from walkers import walkers

from jdetrt import shipped
from jdetrt.cli import main
from jdetrt.engine.open import open_session

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the shipped models; the working folder has a sequence and another "nano"."""
    walkers(tmp_path / "walkers")
    (tmp_path / "nano").write_text("something of the user's")
    monkeypatch.chdir(tmp_path)
    return ship_tiny(tmp_path / "models", monkeypatch)


def run(*args: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(arg) for arg in args])
    return int(stop.value.code or 0)


def test_track_without_a_model(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("track", "walkers", "--mot", "t.txt", "--threads", "1") == 0
    said = capsys.readouterr()
    first, *notes = said.err.splitlines()
    assert first == f"No --model given: tracking with nano ({models / 'nano-576x320.onnx'})"
    assert all(re.match("Note|Warning", line) for line in notes)
    assert Path("t.txt").exists()
    assert run("track", "walkers", "--quiet", "--mot", "t.txt", "--threads", "1") == 0
    assert all(line.startswith("Warning") for line in capsys.readouterr().err.splitlines())


def test_track_by_name(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("nano", "nano:64x64"):
        output = ("--mot", "t.txt", "--max-frames", "2")
        assert run("track", "walkers", "--model", name, *output) == 0
        assert all(re.match("Note|Warning", x) for x in capsys.readouterr().err.splitlines())
    assert run("track", "walkers", "--model", "nano:32x32") == 1
    assert "576x320, 64x64" in capsys.readouterr().err
    options = ("--model", "./nano", "--mot", "t.txt")  # the user's own, which is no model
    assert run("track", "walkers", *options) == 1
    assert capsys.readouterr().err.startswith("SessionError: nano: ")


def test_a_shipped_model_is_not_replaced(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = models / "nano-576x320.onnx"
    before = path.read_bytes()
    assert run("track", "walkers", "--mot", path) == 1
    assert "is also --model" in capsys.readouterr().err
    assert run("export", "nano", "-o", models / "nano.safetensors", "--top-k", "9") == 1
    assert "is also CHECKPOINT" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_export_at_another_size(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("export", "nano", "-o", "x.onnx", "--size", "96x64", "--top-k", "9") == 0
    [images] = onnx.load("x.onnx").graph.input
    assert [dim.dim_value for dim in images.type.tensor_type.shape.dim] == [1, 3, 64, 96]
    assert run("export", "nano:64x64", "-o", "y.onnx") == 1
    assert "is an ONNX model; `jdetrt export` takes a checkpoint" in capsys.readouterr().err


def test_inspect_and_evaluate_take_both(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, file in (("nano", "nano.safetensors"), ("nano:64x64", "nano-64x64.onnx")):
        assert run("inspect", name, "--json") == 0
        assert json.loads(capsys.readouterr().out)["path"] == str(models / file)
    for model in ("nano", "nano:64x64"):
        options = ("--threads", "1", "--json", "n.json")
        assert run("evaluate", "detection", model, "walkers", *options) == 0
        assert json.loads(Path("n.json").read_text())["people"] > 0
    # The size may be chosen, which of the two a checkpoint alone can do.
    assert run("evaluate", "detection", "nano", "walkers", "--size", "64x64", *options) == 0
    assert run("evaluate", "detection", "nano:64x64", "walkers", "--size", "96x96") == 1


def test_visualize(models: Path) -> None:
    frame = "walkers/img1/000001.png"
    options = ("--box", "84,28,24,72", "-o", "figure.png")
    assert run("visualize", "retrieval", "nano", frame, frame, *options) == 0
    assert Path("figure.png").exists()


def test_bench_system(models: Path) -> None:
    options = ("--max-frames", "2", "--repeats", "1")
    assert run("bench", "system", "walkers", "--model", "nano", *options) == 0


def test_sessions_open_by_name(models: Path) -> None:
    with open_session("nano:64x64", threads=1) as session:
        assert session.inputs[0].shape == (1, 3, 64, 64)


def test_an_installation_without_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    assert run("track", "anything.mp4") == 1
    said = capsys.readouterr()
    assert said.err.startswith("ConfigError: nano: does not come with this installation")
    assert said.out == ""
