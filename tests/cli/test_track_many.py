"""`jdetrt track` of several sources, of a site, and to standard output."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import jdetrt
from jdetrt.cli import main
from jdetrt.cli.track.site import read_site
from jdetrt.errors import ConfigError
from jdetrt.runtime.mot.files import read_mot

FRAMES = {"door": 6, "yard": 4}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with two clips and a model that sees one person who stands still."""
    monkeypatch.chdir(tmp_path)
    values = {
        "boxes": np.array([[[10, 4, 18, 28]]], np.float32),
        "scores": np.array([[0.9]], np.float32),
    }
    graph = helper.make_graph(
        [helper.make_node("Identity", [f"{name}_value"], [name]) for name in values],
        "one_person",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 32, 64])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, v.shape) for n, v in values.items()],
        [numpy_helper.from_array(v, f"{name}_value") for name, v in values.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save_model(helper.make_model(graph, opset_imports=opset, ir_version=8), "model.onnx")
    for name, frames in FRAMES.items():
        writer = cv2.VideoWriter(f"{name}.avi", cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (128, 64))
        for index in range(frames):
            writer.write(np.full((64, 128, 3), 30 * index, np.uint8))
        writer.release()
    return tmp_path


def _run(*args: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["track", *map(str, args)])
    code = caught.value.code
    assert isinstance(code, int)
    return code


def test_several_sources_have_outputs_of_their_own(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["--mot", "out/{name}.txt", "--jsonl", "out/all.jsonl", "--images", "out/images"]
    assert _run("door.avi", "yard.avi", "--model", "model.onnx", *args, "--json", "s.json") == 0
    summary = json.loads((here / "s.json").read_text())
    for name, frames in FRAMES.items():
        rows = read_mot(here / f"out/{name}.txt")
        assert set(rows.ids.tolist()) == {1}
        assert rows.frames.max() == frames
        assert len((here / f"out/all-{name}.jsonl").read_text().splitlines()) == frames
        assert len(list((here / f"out/images/{name}").iterdir())) == frames
        assert summary["streams"][name]["frames"] == frames
        assert summary["streams"][name]["source"] is None  # not live
    assert summary["batches"] >= 6
    printed = capsys.readouterr().out
    assert "All streams: " in printed
    assert "Written: out/yard.txt" in printed


def test_lines_of_several_streams_on_standard_output(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run("door.avi", "yard.avi", "--model", "model.onnx", "--jsonl", "-") == 0
    printed = capsys.readouterr()
    records = [json.loads(line) for line in printed.out.splitlines()]  # and nothing else
    for name, frames in FRAMES.items():
        own = [record["frame"] for record in records if record["stream"] == name]
        assert own == list(range(1, frames + 1))
    assert "All streams: " in printed.err
    assert not (here / "-").exists()


def test_mot_rows_on_standard_output(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("door.avi", "--model", "model.onnx", "--mot", "t.txt", "--quiet") == 0
    capsys.readouterr()
    assert _run("door.avi", "--model", "model.onnx", "--mot", "-", "--json", "s.json") == 0
    assert capsys.readouterr().out == (here / "t.txt").read_text()
    assert json.loads((here / "s.json").read_text())["streams"]["door"]["frames"] == 6


def test_a_reader_that_goes_away_ends_the_run(here: Path) -> None:
    command = [sys.executable, "-m", "jdetrt", "track", "door.avi", "--model", "model.onnx"]
    with subprocess.Popen(
        [*command, "--jsonl", "-", "-q"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        message = process.stderr.read()
        assert process.wait(120) == 1
    assert message.startswith("OutputError: standard output: cannot be written (Broken pipe)")
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["door.avi", "yard.avi", "--mot", "-"], "do not say which of the 2 streams"),
        (["door.avi", "--mot", "-", "--jsonl", "-"], "both go to standard output"),
        (["door.avi", "door.avi"], "given twice"),
        (
            ["door.avi", "yard.avi", "--mot", "t.txt", "--kitti", "t.txt"],
            "is also --mot of door.av",
        ),
        (["door.avi", "--video", "-"], "only text goes to standard output"),
        (["door.avi", "--mqtt", "http://broker"], "expected mqtt://"),
        (["door.avi", "--metrics", "port"], "expected PORT or HOST:PORT"),
    ],
)
def test_what_cannot_be(
    here: Path, args: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(*args, "--model", "model.onnx") == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "Give a SOURCE"),
        (["door.avi", "yard.avi", "--detections", "det.txt"], "give one SOURCE"),
        (["door.avi", "--rotate", "often"], "expected a size such as 100MB"),
    ],
)
def test_wrong_usage(
    here: Path, args: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(*args) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("sources", [["door.avi", "yard.avi"], ["door.avi"]])
def test_an_output_never_takes_the_place_of_a_source(
    here: Path, sources: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = {name: (here / name).read_bytes() for name in sources}
    assert _run(*sources, "--model", "model.onnx", "--video", "{name}.avi") == 1
    assert "--video of door door.avi: is also SOURCE" in capsys.readouterr().err
    assert {name: (here / name).read_bytes() for name in sources} == before


def test_from_python(here: Path) -> None:
    seen: list[tuple[str, int, list[int]]] = []
    report = jdetrt.track_many(
        {"in": "door.avi", "out": "yard.avi"},
        "model.onnx",
        on_frame=lambda name, frame, tracks: seen.append((name, frame.index, tracks.ids.tolist())),
        tracker={"in": "iou", "out": "iou"},
        mot="t-{name}.txt",
    )
    assert report.names == ("in", "out")
    assert [one.frames for one in report.streams] == [6, 4]
    assert [entry for entry in seen if entry[0] == "out"] == [("out", i, [1]) for i in range(1, 5)]
    assert read_mot(here / "t-in.txt").frames.max() == 6
    with pytest.raises(ConfigError, match=r"video=door.avi: would overwrite an input"):
        jdetrt.track_many(["door.avi", "yard.avi"], "model.onnx", video="{name}.avi")


SITE = """
model = "model.onnx"
[tracker]
preset = "iou"
[stream.door]
source = "door.avi"
mot = "out/{name}.txt"
[stream.yard]
source = "${PLACE}.avi"
jsonl = "out/{name}.jsonl"
tracker = { preset = "iou", birth_score = 0.95 }
"""


def test_a_site(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "site").mkdir()
    (here / "site/site.toml").write_text(SITE)
    assert _run("--config", "site/site.toml") == 1
    assert "stream.yard: the environment variable PLACE is not set" in capsys.readouterr().err
    monkeypatch.setenv("PLACE", "yard")
    assert _run("--config", "site/site.toml", "--json", "s.json", "-q") == 0
    streams = json.loads((here / "s.json").read_text())["streams"]
    assert {name: one["frames"] for name, one in streams.items()} == FRAMES
    assert {name: one["tracks"] for name, one in streams.items()} == {"door": 1, "yard": 0}
    assert read_mot(here / "site/out/door.txt").frames.max() == 6
    assert len((here / "site/out/yard.jsonl").read_text().splitlines()) == 4

    assert _run("yard", "--config", "site/site.toml", "--score-threshold", 0.2, "-q") == 0
    assert _run("nobody", "--config", "site/site.toml") == 1
    assert "site.toml: has no stream 'nobody', only door, yard" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[stream.a]\nmot = "a.txt"', "stream.a: .*source"),
        ('[stream.a]\nsource = "a"\nvidoe = "a.mp4"', "stream.a: .*vidoe"),
        ('every = 0\n[stream.a]\nsource = "a"', "every"),
        ('[stream."a/b"]\nsource = "a"', "stream"),
        ('[stream.".."]\nsource = "a"', "stream"),  # --images DIR would write beside DIR
        ('[stream."a\\n"]\nsource = "a"', "stream"),
        ("stream = 3", "stream"),
    ],
)
def test_a_site_that_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "site.toml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_site(tmp_path / "site.toml")


def test_settings_of_a_tracker_are_no_site(tmp_path: Path) -> None:
    (tmp_path / "iou.toml").write_text('preset = "iou"\n')
    assert read_site(tmp_path / "iou.toml") is None
