"""The commands around a sweep, on a tiny network: measure, ask, report, compare."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tiny_network import ship_tiny

from jdetrt.cli import main
from jdetrt.synthetic.clip import SyntheticClip, write_sequence


def run(*args: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(arg) for arg in args])
    code = end.value.code
    assert isinstance(code, int)
    return code


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_sequence(tmp_path / "clip", SyntheticClip(frames=4, size=(160, 96), people=3))


def test_sweep_ask_report_and_compare(
    tmp_path: Path,
    clip: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ship_tiny(tmp_path / "shipped", monkeypatch)
    output = tmp_path / "result.json"
    options = ["--source", clip, "--sizes", "128x96,96x96", "--top-k", "50", "--cool-down", "0"]
    options += ["--max-frames", "2", "--warm-up", "1", "--repeats", "2", "-o", output]
    asked = ["--gt", clip, "--min-fps", "0.001"]
    assert run("bench", "sweep", "--model", "nano", *options, *asked) == 0
    out = capsys.readouterr().out
    found = re.search(r"Recommended: (\S+) fp32 onnxruntime: HOTA .* FPS \(slowest of 2 runs", out)
    assert found
    [deploy] = re.findall(r"^  jdetrt (track .*)$", out, re.MULTILINE)
    assert f"-{found[1]}-" in deploy
    tracks = tmp_path / "tracks.txt"
    assert run(*deploy.split(), "--mot", tracks) == 0  # the command that it gives works
    assert tracks.exists()

    too_much = ["--gt", clip, "--min-fps", "1000000"]
    assert run("bench", "sweep", "--model", "nano", *options, *too_much) == 3
    assert "none meets the limits: the fastest reaches" in capsys.readouterr().out

    files = {"-o": "page.html", "--markdown": "table.md", "--png": "charts.png"}
    written = [part for option, name in files.items() for part in (option, tmp_path / name)]
    assert run("bench", "report", output, *written) == 0
    assert all((tmp_path / name).stat().st_size > 1000 for name in files.values())

    compared = tmp_path / "compared.json"
    assert run("bench", "compare", output, output, "--json", compared) == 0
    rows = json.loads(compared.read_text())["rows"]
    assert [row["name"] for row in rows] == ["128x96 fp32 onnxruntime", "96x96 fp32 onnxruntime"]
    assert all(one["verdict"] == "no difference" for row in rows for one in row["metrics"].values())

    other = json.loads(output.read_text())
    other["machine"]["cpu"] = "Carmel"
    changed = tmp_path / "other.json"
    changed.write_text(json.dumps(other))
    capsys.readouterr()
    assert run("bench", "compare", output, changed) == 1
    assert "cpu: " in capsys.readouterr().err
    assert run("bench", "compare", output, changed, "--anyway") == 0
    assert "not alike: cpu: " in capsys.readouterr().out


def test_latency_prints_stages_rates_and_power(
    tmp_path: Path,
    clip: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = ship_tiny(tmp_path / "shipped", monkeypatch) / "nano-576x320.onnx"
    output = tmp_path / "latency.json"
    quick = ["--max-frames", "2", "--warm-up", "1", "--repeats", "1", "--json", output]
    assert run("bench", "latency", clip, "--model", model, *quick) == 0
    out = capsys.readouterr().out
    for word in ("preprocess", "nms", "whole frame", "Power", "FPSD", "FPSA"):
        assert word in out
    assert json.loads(output.read_text())["benchmark"] == "latency"
    assert run("bench", "report", output, "-o", tmp_path / "page.html") == 0
    for command in ("latency", "system"):
        assert run("bench", command, clip, "--model", model, "--cuda-graph") == 1
        assert "CUDA graphs need a TensorRT plan" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["report", "none.json", "-o", "page.html"], 1, "none.json: cannot be read"),
        (["report", "none.json"], 2, "--markdown"),
        (["compare", "none.json", "none.json"], 1, "none.json: cannot be read"),
        (["sweep", "--model", "none.pt", "--source", "x", "-o", "o.json"], 1, "cannot be read"),
        (
            ["sweep", "--model", "none.pt", "--source", "x", "-o", "o.json", "--min-fps", "1"],
            2,
            "add --gt SEQUENCE",
        ),
        (
            ["sweep", "--model", "m", "--source", "x", "-o", "o", "--sizes", "big"],
            2,
            "WIDTHxHEIGHT",
        ),
        (["latency", "x", "--model", "none.onnx"], 1, "none.onnx: no such file"),
    ],
)
def test_wrong_arguments_are_named(
    args: list[str],
    code: int,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("bench", *args) == code
    assert says in capsys.readouterr().err


def test_unknown_precisions_and_backends_are_named(
    tmp_path: Path, clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "m.pt"
    model.write_text("a checkpoint that nobody reads")
    common = ["--model", model, "--source", clip, "-o", tmp_path / "o.json"]
    assert run("bench", "sweep", *common, "--precisions", "fp64") == 1
    assert "precision 'fp64': expected fp32, fp16, int8" in capsys.readouterr().err
    assert run("bench", "sweep", *common, "--backends", "tpu") == 1
    assert "backend 'tpu'" in capsys.readouterr().err
    assert not (tmp_path / "o.json").exists()
