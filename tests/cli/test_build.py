"""`jdetrt build`: what it prints, and one clear message for what is wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from fake_tensorrt import RTX, Scenario, fake_tensorrt
from small_onnx import write_small_onnx

from jdetrt.cli import main
from jdetrt.engine.tensorrt.builder import build as builder
from jdetrt.engine.tensorrt.device import Device
from jdetrt.engine.tensorrt.plan import Plan


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a model, on a machine with a GPU."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    orin = Device("Orin", "8.7", True, 32 << 30, 16 << 30, "12.6")
    monkeypatch.setattr(builder, "current_device", lambda: orin)
    write_small_onnx(tmp_path / "model.onnx")
    return tmp_path


def install(
    monkeypatch: pytest.MonkeyPatch, version: str, scenario: Scenario | None = None
) -> None:
    module = fake_tensorrt(version, scenario)
    monkeypatch.setitem(sys.modules, module.__name__, module)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["build", *arguments])
    return caught.value.code if isinstance(caught.value.code, int) else 0


def test_a_plan_and_what_is_said_of_it(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(monkeypatch, "10.3.0")
    assert run("model.onnx", "-o", "model.plan", "--timing-cache", "timings") == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("model.plan: 0.0 MB, built in ")
    assert "built by   TensorRT 10.3.0 on Orin (compute capability 8.7)" in out
    assert "precision  fp32, strong typing" in out
    assert "input      images [1, 3, 32, 64] float32" in out
    assert (here / "timings").is_file()
    assert Plan(here / "model.plan").sidecar.host.gpu == "Orin"
    assert run("model.onnx", "-o", "model.plan", "-q") == 0
    assert capsys.readouterr().out == ""


def test_what_is_given_reaches_the_build(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = Scenario(
        inputs=[("images", "FLOAT", (-1, 3, 32, 64))],
        layers=[(f"/network/body/{n}", "CONVOLUTION", "FLOAT") for n in "ab"],
        dla_cores=1,
        dla_refuses=frozenset({"/network/body/b"}),
    )
    install(monkeypatch, "10.3.0", scenario)
    cache = here / "ranges"
    cache.write_bytes(b"TRT-10300-EntropyCalibration2\nimages: 3c010a14\n")
    line = "--precision int8 --calibration-cache ranges --batch 2 --workspace 9 --dla-core 0"
    line += " --optimization-level 1 --version-compatible --hardware ampere+"
    assert run("model.onnx", "-o", "out.plan", *line.split()) == 0
    (told,) = scenario.builds
    assert told["calibrator"]
    assert told["profiles"] == [{"images": [(2, 3, 32, 64)] * 3}]
    assert told["pools"] == {"WORKSPACE": 9 << 20}
    assert told["builder_optimization_level"] == 1
    assert {"INT8", "FP16", "GPU_FALLBACK", "VERSION_COMPATIBLE"} <= set(told["flags"])
    assert Plan(here / "out.plan").sidecar.calibration == "ranges"


def test_what_falls_back_from_the_dla_is_said(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    layers = [(f"/network/body/{n}", "CONVOLUTION", "FLOAT") for n in "ab"]
    refused = frozenset({"/network/body/b"})
    install(monkeypatch, "10.3.0", Scenario(layers=layers, dla_cores=1, dla_refuses=refused))
    assert run("model.onnx", "-o", "out.plan", "--dla-core", "0") == 0
    assert "on the GPU /network/body/b" in capsys.readouterr().out


def test_ahead_of_time(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(monkeypatch, RTX)
    line = "--backend tensorrt-rtx --compute-capability 8.6 --compute-capability 12.0"
    assert run("model.onnx", "-o", "out.plan", *line.split()) == 0
    assert "for        compute capability 8.6, 12.0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["absent.onnx", "-o", "out.plan"], "absent.onnx: no such file"),
        (["model.onnx", "-o", "model.onnx"], "--output model.onnx: is also MODEL"),
        (["model.onnx", "-o", "out.plan", "--batch", "x"], "batch 'x'"),
        (["model.onnx", "-o", "out.plan", "--timing-cache", "out.plan.json"], "is also"),
        (
            ["model.onnx", "-o", "out.plan", "--timing-cache", "out.plan.layers.json"],
            "is also its l",
        ),
        (
            ["model.onnx", "-o", "out.plan", "--timing-cache", "model.onnx/x"],
            "is not a writable folder",
        ),
        (["model.onnx", "-o", "out.plan", "--calibration-cache", "absent"], "absent: cannot be"),
        (["model.onnx", "-o", "out.plan", "--dla-core", "0"], "no DLA core 0"),
    ],
)
def test_one_message(
    arguments: list[str],
    words: str,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    install(monkeypatch, "10.3.0")
    assert run(*arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert "Traceback" not in err
    assert not (here / "out.plan").exists()
