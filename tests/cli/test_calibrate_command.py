"""``jdetrt calibrate`` on the command line."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import onnx
import pytest
from tiny_network import SIZE, save_tiny
from walkers import walkers

from jdetrt.calibration import score as int8
from jdetrt.calibration.frames.frame_list import FrameList
from jdetrt.calibration.ranges.ranges import Ranges
from jdetrt.cli import main
from jdetrt.config import ExportConfig
from jdetrt.engine.open import open_session
from jdetrt.engine.tensorrt.calibration_cache import read_cache
from jdetrt.export.onnx_writer import export_onnx
from jdetrt.export.parity import synthetic_pictures


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        source = save_tiny(folder / "tiny.safetensors", patch)
        export_onnx(source, folder / "model.onnx", ExportConfig(top_k=100))
    (folder / "footage").mkdir()
    for i, picture in enumerate(synthetic_pictures(5, SIZE, seed=5)):
        cv2.imwrite(str(folder / "footage" / f"{i}.png"), picture)
    return folder


def run(*args: str | Path) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["calibrate", *(str(arg) for arg in args), "--threads", "1"])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def one_error(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    return captured.err


def notes(path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def test_everything_at_once(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Scores:
        def to_dict(self) -> dict[str, Any]:
            rates = {"ap50": 0.5, "tpr": 0.6, "coverage": 0.7}
            percents = {"mota": 1.0, "idf1": 2.0, "hota": 3.0}
            shaken = {"mota": [1.0, 2.0], "idf1": [2.0, 4.0], "hota": [3.0, 3.0]}
            return {**rates, **percents, "idsw": 4, "fp": 5, "fn": 6, "shaken": shaken}

    scored: list[str] = []

    def quick(session: Any, sequence: Path, **_: Any) -> Scores:
        scored.append(session.metadata.get("int8_layout", "float"))
        return Scores()

    monkeypatch.setattr(int8, "quick_score", quick)
    truth = walkers(tmp_path / "walkers")
    report = tmp_path / "report"
    options: list[str | Path] = [made / "model.onnx", "--source", made / "footage"]
    options += [
        "--max-frames",
        "4",
        "--compare-frames",
        "2",
        "--target-cosine",
        "0",
        "--max-ap-drop",
        "1",
    ]
    options += ["-o", tmp_path / "int8.onnx", "--cpu-output", tmp_path / "cpu.onnx"]
    options += ["--calibration-cache", tmp_path / "int8.cache", "--gt", truth, "--labelled", truth]
    options += ["--labelled-images", "2", "--leave-out", "*/embedding/Conv"]
    options += ["--fp16", made / "model.onnx", "--report", report, "--json", tmp_path / "a.json"]
    assert run(*options) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert "INT8: int8.onnx" in said.out
    assert "  FP32                   AP50 0.5000  TPR 0.6000  HOTA 3.00" in said.out
    assert "2 runs: MOTA 1.50±0.71  IDF1 3.00±1.41  HOTA 3.00±0.00" in said.out
    assert "times the speed of FP32" in said.out
    assert f"Written: {report / 'index.html'}" in said.out
    assert scored == ["float", "float", "tensorrt", "tensorrt", "onnxruntime"]

    assert notes(tmp_path / "int8.onnx")["int8_layout"] == "tensorrt"
    assert notes(tmp_path / "cpu.onnx")["int8_layout"] == "onnxruntime"
    left_out = notes(tmp_path / "int8.onnx")["int8_float_layers"].split("\n")
    assert [name.split("/")[2] for name in left_out] == ["levels.0", "levels.1", "levels.2"]
    data = json.loads((report / "report.json").read_text())
    assert data == json.loads((tmp_path / "a.json").read_text())
    assert list(data["accuracy"]["rows"]) == [
        *("FP32", "FP16", "INT8, all layers", "INT8", "INT8 for ONNX Runtime")
    ]
    assert data["machine"]["packages"]["onnx"] == onnx.__version__
    assert str(tmp_path) not in json.dumps(data)
    frames = FrameList.read(report / "frames.json")
    ranges = Ranges.read(report / "ranges.json")
    assert len(frames) == ranges.frames == 4
    assert read_cache(tmp_path / "int8.cache").scales.keys() == ranges.tensors.keys()
    assert not list(tmp_path.glob("*.state"))
    with open_session(tmp_path / "int8.onnx", provider="cpu"):
        pass

    again = tmp_path / "again.onnx"
    options = [made / "model.onnx", "--frame-list", report / "frames.json", "-o", again, "-q"]
    options += ["--all-layers", "--method", data["method"], "--leave-out", "*/embedding/Conv"]
    assert run(*options, "--compare-frames", "1") == 0
    assert capsys.readouterr().out == ""
    assert onnx.load(again).graph == onnx.load(tmp_path / "int8.onnx").graph


def test_a_run_that_is_ended_goes_on(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options: list[str | Path] = [made / "model.onnx", "--source", made / "footage", "--no-people"]
    options += ["--method", "min-max", "--all-layers", "-o", tmp_path / "int8.onnx"]

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("jdetrt.calibration.calibrate.Reference", interrupt)
        assert run(*options) == 130
    assert "Interrupted." in one_error(capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["int8.onnx.state"]
    with monkeypatch.context() as patch:
        patch.setattr(
            "jdetrt.calibration.ranges.measure.Probe", interrupt
        )  # nothing is measured again
        assert run(*options) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["int8.onnx"]


def test_modelopt(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def stand_in(model: Path, output: Path, frames: FrameList, **wanted: Any) -> None:
        asked.append((model.name, output.name, len(frames), wanted))

    monkeypatch.setattr("jdetrt.calibration.run.quantise_with_modelopt", stand_in)
    options: list[str | Path] = [made / "model.onnx", "--source", made / "footage", "--no-people"]
    options += ["-o", tmp_path / "int8.onnx", "--quantizer", "modelopt", "--leave-out", "*"]
    assert run(*options) == run(*options, "--method", "min-max") == 0
    kept = ("model.onnx", "int8.onnx", 5)
    assert asked == [
        (*kept, {"method": "entropy", "leave_out": ("*",)}),
        (*kept, {"method": "max", "leave_out": ("*",)}),
    ]
    capsys.readouterr()
    for wrong, words in (
        (["--cpu-output", "a.onnx"], "--cpu-output"),
        (["--json", "a.json"], "--json"),
        (["--method", "mse"], "--method entropy or min-max"),
        (["--rest", "fp16"], "--rest fp32"),
    ):
        assert run(*options, *wrong) == 2
        assert words in one_error(capsys)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ([], 2, "--source or --frame-list"),
        (["--source", "a", "--frame-list", "b"], 2, "--source or --frame-list"),
        (["--source", "a", "--method", "kl"], 2, "'kl' is not one of"),
        (["--source", "no-such-video.mp4"], 1, "SourceError: no-such-video.mp4"),
        (["--frame-list", "none.json"], 1, "CalibrationError: none.json: cannot be read"),
        (["--source", "FOOTAGE", "--leave-out", "x"], 1, "CalibrationError: no layer 'x'"),
        (["--source", "FOOTAGE", "--gt", "none"], 1, "DataError: none"),
        (["--source", "FOOTAGE", "--report", "MODEL"], 1, "is a file; name a folder"),
    ],
)
def test_refused(
    options: list[str],
    code: int,
    message: str,
    made: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    named = {"FOOTAGE": str(made / "footage"), "MODEL": str(made / "model.onnx")}
    words = [named.get(word, word) for word in options]
    output = tmp_path / "int8.onnx"
    assert run(made / "model.onnx", *words, "--no-people", "-o", output) == code
    assert message in one_error(capsys)
    assert list(tmp_path.iterdir()) == []


def test_what_is_read_is_not_replaced(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, footage = made / "model.onnx", made / "footage"
    before = model.read_bytes()
    assert run(model, "--source", footage, "-o", model) == 1
    assert "is also MODEL" in one_error(capsys)
    assert run(model, "--source", footage, "-o", footage / "0.png") == 1
    assert "is also --source" in one_error(capsys)
    output = tmp_path / "int8.onnx"
    assert run(model, "--source", footage, "-o", output, "--cpu-output", output) == 1
    assert "is also --output" in one_error(capsys)
    assert model.read_bytes() == before
    quantised = tmp_path / "q.onnx"
    options = ("--all-layers", "--method", "min-max", "--compare-frames", "1", "--no-people", "-q")
    assert run(model, "--source", footage, "-o", quantised, *options) == 0
    assert run(quantised, "--source", footage, "-o", output, *options) == 1
    assert "CalibrationError: the model is already quantised" in one_error(capsys)


def test_damaged_footage_is_counted_and_told(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    footage = tmp_path / "footage"
    shutil.copytree(made / "footage", footage)
    (footage / "4.png").write_bytes(b"cut")
    output = tmp_path / "q.onnx"
    options = ("--all-layers", "--method", "min-max", "--compare-frames", "1", "--no-people")
    assert run(made / "model.onnx", "--source", footage, "-o", output, *options) == 3
    printed = capsys.readouterr()
    assert "could not be read to their end: 1, first: " in printed.out
    assert "4.png" in printed.out
    assert output.is_file()


def test_a_missing_package_is_named() -> None:
    script = (
        "import sys; sys.modules['onnx'] = None; from jdetrt.cli import main; "
        "main(['calibrate', 'm.onnx', '--source', 'v.mp4', '-o', 'q.onnx'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 1
    assert "needs the Python package 'onnx', which is not installed" in done.stderr
    assert "Traceback" not in done.stderr
