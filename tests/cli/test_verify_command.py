"""``jdetrt verify`` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from tiny_network import save_tiny

from jdetrt.cli import main
from jdetrt.config import ExportConfig
from jdetrt.export.onnx_writer import export_onnx

cv2 = pytest.importorskip("cv2", reason="needs OpenCV: pip install 'jdetrt[video]'")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a checkpoint, its models in float32 and float16, and three pictures."""
    source = save_tiny(tmp_path / "tiny.safetensors", monkeypatch)
    export_onnx(source, tmp_path / "full.onnx", ExportConfig(top_k=100))
    export_onnx(source, tmp_path / "half.onnx", ExportConfig(top_k=100, precision="fp16"))
    (tmp_path / "pictures").mkdir()
    random = np.random.default_rng(0)
    for number in range(3):
        picture = random.integers(0, 256, (70, 90, 3), np.uint8)
        cv2.imwrite(str(tmp_path / "pictures" / f"{number}.png"), picture)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*args: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["verify", *args])
    assert isinstance(caught.value.code, int)
    return caught.value.code


ALL = ("--source", "pictures", "--score-threshold", "0")


def test_half_against_float(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("half.onnx", "--against", "full.onnx", *ALL, "--json", "out/numbers.json") == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert "half.onnx against full.onnx: 3 frames, " in said.out
    assert "Within the fp16 tolerance." in said.out
    for row in ("boxes, px", "boxes, IoU", "scores", "embeddings, cosine", "unmatched"):
        assert row in said.out
    found = json.loads((here / "out" / "numbers.json").read_text())
    assert (found["model"], found["against"]) == ("half.onnx", "full.onnx")
    assert (found["frames"], found["precision"], found["agrees"]) == (3, "fp16", True)
    assert set(found["boxes_px"]) == {"max", "p99", "mean"}
    assert 0 < found["scores"]["max"] < 1e-3
    assert found["cosine_median"] > 0.999
    assert set(found["limits"]) == {"iou", "score", "cosine", "cosine_p5", "unmatched"}


def test_past_the_tolerance(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    limits = ("--max-score", "1e-9", "--min-cosine", "1", "--min-cosine-p5", "1")
    options = (*limits, "--json", "numbers.json")
    assert run("half.onnx", "--against", "full.onnx", *ALL, *options) == 3
    said = capsys.readouterr()
    assert "Within" not in said.out
    faults = said.err.splitlines()
    assert all(line.startswith("Outside the fp16 tolerance: ") for line in faults)
    words = ("score difference", "median cosine", "5th-percentile cosine")
    assert all(word in fault for word, fault in zip(words, faults, strict=True))
    assert "0.99" in faults[2]
    found = json.loads((here / "numbers.json").read_text())
    assert (found["agrees"], found["limits"]["score"]) == (False, 1e-9)


def test_checkpoints_and_the_number_of_frames(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--max-frames", "2", "--precision", "fp32")
    assert run("full.onnx", "--against", "tiny.safetensors", *ALL, *options) == 0
    out = capsys.readouterr().out
    assert "2 frames" in out
    assert "Within the fp32 tolerance." in out


def test_a_checkpoint_takes_both_sizes_from_the_model_beside_it(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = save_tiny(here / "unsized.safetensors", monkeypatch, size=None)
    config = ExportConfig(size=(64, 64), top_k=50)
    export_onnx(source, here / "small.onnx", config, trained_size=(576, 320))
    options = ("--against", "unsized.safetensors", *ALL, "--precision", "fp32", "--max-frames", "1")
    for more in ((), ("--size", "64x64")):
        assert run("small.onnx", *options, *more) == 0
    capsys.readouterr()
    # Anchors of another size are another network.
    assert run("small.onnx", *options, "--trained-size", "64x64") == 3


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("half.onnx", "--against", "full.onnx", "--source", "pictures"), "SessionError: nothing"),
        (("half.onnx", "--against", "no.onnx", *ALL), "SessionError: no.onnx: no such file"),
        (("half.onnx", "--against", "full.onnx", "--source", "no.mp4"), "SourceError: no.mp4"),
        (
            ("half.onnx", "--against", "full.onnx", *ALL, "--json", "full.onnx"),
            "ConfigError: --json full.onnx: is also --against",
        ),
    ],
)
def test_refused(
    args: tuple[str, ...], message: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "nothing" in message:
        args = (*args, "--score-threshold", "0.9")
    before = (here / "full.onnx").read_bytes()
    assert run(*args) == 1
    said = capsys.readouterr()
    assert said.err.startswith(message)
    assert "Traceback" not in said.err
    assert (here / "full.onnx").read_bytes() == before


@pytest.mark.parametrize("args", [("a.onnx",), ("a.onnx", "--against", "b.onnx", *ALL, "--what")])
def test_wrong_usage(args: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*args) == 2
    assert "Usage: jdetrt verify" in capsys.readouterr().err


def test_what_is_assumed_and_what_cannot_be_read_is_told(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = onnx.load(here / "full.onnx")
    del model.metadata_props[:]
    onnx.save(model, here / "bare.onnx")
    (here / "pictures" / "1.png").write_bytes(b"")
    assert run("bare.onnx", "--against", "bare.onnx", *ALL, "--json", "n.json") == 3
    error = capsys.readouterr().err
    assert "neither model records its precision; the fp32 tolerance applies" in error
    assert "pictures: 2 of 3 images; left out: 1 that cannot be read" in error
    found = json.loads((here / "n.json").read_text())
    assert (found["agrees"], found["frames"], found["population"]) == (True, 2, "candidates")
    assert found["read"]["pictures"]["images"]["taken"] == 2
