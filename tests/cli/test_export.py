"""``jdetrt export`` on the command line."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from tiny_network import save_tiny

from jdetrt.cli import main
from jdetrt.config import PaperConfig
from jdetrt.engine.open import open_session
from jdetrt.export import autocast
from jdetrt.runtime.settings import tracker_config

VIDEO_SEQUENCE = Path(__file__).parents[3] / "shared/data/sequences/MOT17-09"


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return save_tiny(tmp_path / "tiny.safetensors", monkeypatch)


def run(*args: str | Path) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(arg) for arg in args])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def one_error(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    return captured.err


def test_export(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "new folder" / "model.onnx"
    assert run("export", tiny, "-o", output, "--size", "128x96", "--top-k", "64") == 0
    said = capsys.readouterr()
    assert said.err == ""
    lines = said.out.splitlines()
    assert len(lines) == 6
    assert re.fullmatch(rf"{output}: 0\.\d MB, sha256 [0-9a-f]{{64}}", lines[0])
    assert "images [1, 3, 96, 128] float32" in said.out
    assert "boxes [1, 64, 4] float32, scores [1, 64] float32" in said.out
    assert "on 2 synthetic images" in said.out
    assert "9 identities" in said.out
    onnx.checker.check_model(onnx.load(output), full_check=True)


def test_options(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "model.onnx"
    options = ("--trained-size", "576x320", "--dynamic-batch", "--top-k", "1008")
    assert run("export", tiny, "-o", output, "--size", "128X96", *options) == 0
    out = capsys.readouterr().out
    assert "images [N, 3, 96, 128]" in out
    assert "anchors  for 576x320" in out
    assert "float16" not in out


def test_half_weights(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "model.onnx"
    assert run("export", tiny, "-o", output, "--top-k", "9", "--half-weights") == 0
    assert "rounded to float16" in capsys.readouterr().out
    kinds = {tensor.data_type for tensor in onnx.load(output).graph.initializer}
    assert onnx.TensorProto.FLOAT16 in kinds


def test_half_precision(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "model.onnx"
    assert run("export", tiny, "-o", output, "--top-k", "9", "--precision", "fp16") == 0
    out = capsys.readouterr().out
    assert "network  float16; " in out
    assert "images [1, 3, 96, 128] float32" in out


def test_half_precision_of_a_model(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    full, half, new = (tmp_path / f"{name}.onnx" for name in ("full", "half", "new"))
    assert run("export", tiny, "-o", full, "--top-k", "9") == 0
    assert run("export", tiny, "-o", half, "--top-k", "9", "--precision", "fp16") == 0
    capsys.readouterr()
    for option in (["--size", "64x64"], ["--top-k", "9"], ["--dynamic-batch"]):
        assert run("export", full, "-o", new, "--precision", "fp16", *option) == 1
        assert f"ConfigError: {option[0]} needs a checkpoint" in one_error(capsys)
    monkeypatch.setattr(autocast, "_modelopt", lambda: lambda path, **options: onnx.load(half))
    assert run("export", full, "-o", new, "--precision", "fp16") == 0
    out = capsys.readouterr().out
    assert re.search(r"AutoCast, (\d+) of \1 convolutions in float16, decoding in float32", out)
    assert "on 2 synthetic images: boxes" in out


def test_the_model_replaces_no_picture_that_it_is_compared_on(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pictures").mkdir()
    picture = tmp_path / "pictures" / "1.png"
    picture.write_bytes(b"a picture")
    for frames in (picture, picture.parent, picture.parent / "*.png"):
        assert run("export", tiny, "-o", picture, "--source", frames) == 1
        assert "is also --source" in one_error(capsys)
    assert picture.read_bytes() == b"a picture"


@pytest.mark.skipif(not VIDEO_SEQUENCE.exists(), reason="needs ../shared/data/sequences/MOT17-09")
def test_real_frames(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "model.onnx"
    assert run("export", tiny, "-o", output, "--top-k", "9", "--source", VIDEO_SEQUENCE) == 0
    assert "on 4 frames: boxes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"", "is empty (0 bytes)"),
        (b"a few words, not weights", "is a text file"),
        (bytes(range(200)), "a file of an unknown kind"),
        (b"PK\x03\x04" + bytes(500), "is cut short or damaged"),
        (bytes(1000), "it is cut short or belongs to another network"),
    ],
)
def test_bad_checkpoints(
    content: bytes | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, output = tmp_path / "latest.pt", tmp_path / "model.onnx"
    if content is not None:
        checkpoint.write_bytes(content)
    assert run("export", checkpoint, "-o", output, "--size", "128x96") == 1
    error = one_error(capsys)
    assert error.startswith(f"CheckpointError: {checkpoint}: ")
    assert message in error
    assert not output.exists()


def test_a_checkpoint_that_wants_to_run_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Code:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / "trap"),)

    torch.save({"model": Code()}, tmp_path / "latest.pt")
    assert run("export", tmp_path / "latest.pt", "-o", tmp_path / "m.onnx", "--size", "64x64") == 1
    assert "wants to run or build" in one_error(capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["latest.pt"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--size", "130x96"], "ConfigError: network size 130x96"),
        (["--trained-size", "100x96"], "ConfigError: network size 100x96"),
        (["--top-k", "9", "--source", "no-such-video.mp4"], "SourceError: no-such-video.mp4"),
    ],
)
def test_bad_options(
    options: list[str],
    message: str,
    tiny: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("export", tiny, "-o", tmp_path / "model.onnx", *options) == 1
    assert one_error(capsys).startswith(message)
    assert not (tmp_path / "model.onnx").exists()


@pytest.mark.parametrize(
    "options",
    [["--size", "big"], ["--size", "128"], ["--top-k", "0"], ["--top-k", "3841"], ["--what"]],
)
def test_wrong_usage(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("export", "any.pt", "-o", tmp_path / "model.onnx", *options) == 2
    assert "Usage: jdetrt export" in one_error(capsys)


def test_an_output_that_cannot_be_written(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert run("export", tiny, "-o", tmp_path / "file" / "model.onnx", "--top-k", "9") == 1
    assert one_error(capsys).startswith("OutputError: ")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, data: bytes) -> int:
        with open("/dev/full", "wb", buffering=0) as file:
            return file.write(data)

    monkeypatch.setattr(Path, "write_bytes", full)
    output = tmp_path / "model.onnx"
    assert run("export", tiny, "-o", output, "--top-k", "9") == 1
    assert "free some space" in one_error(capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.safetensors"]


def test_interrupted(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("jdetrt.export.onnx_writer.check_parity", interrupt)
    assert run("export", tiny, "-o", tmp_path / "model.onnx", "--top-k", "9") == 130
    assert "Interrupted." in one_error(capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.safetensors"]


@pytest.mark.parametrize("package", ["torch", "onnx", "safetensors"])
def test_missing_packages_are_named(package: str) -> None:
    script = (
        f"import sys; sys.modules['{package}'] = None; "
        "from jdetrt.cli import main; main(['export', 'any.pt', '-o', 'm.onnx'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 1
    assert f"needs the Python package '{package}', which is not installed" in done.stderr
    assert "pip install 'jdetrt[export]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_pictures_as_frames(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cv2 = pytest.importorskip("cv2")
    picture = np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "1.png"), picture)
    options = ("--top-k", "9", "--source", tmp_path / "1.png")
    code = run("export", tiny, "-o", tmp_path / "model.onnx", *options)
    said = capsys.readouterr()
    assert code == 0, said.err
    assert "on 1 frame:" in said.out


def test_settings_of_the_tracker_travel_with_the_model(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, model = tmp_path / "settings.toml", tmp_path / "model.onnx"
    settings.write_text('preset = "paper"\nbuffer = 7\n')
    assert run("export", tiny, "-o", model, "--top-k", "64", "--tracker", settings) == 0
    with open_session(model) as session:
        assert tracker_config(session) == PaperConfig(buffer=7)
    kept = model.read_bytes()
    settings.write_text('preset = "paper"\nbufer = 7\n')
    assert run("export", tiny, "-o", model, "--tracker", settings) == 1
    assert f"{settings}: Object contains unknown field `bufer`" in capsys.readouterr().err
    assert run("export", tiny, "-o", settings, "--tracker", settings) == 1
    assert "--tracker" in capsys.readouterr().err
    assert model.read_bytes() == kept
