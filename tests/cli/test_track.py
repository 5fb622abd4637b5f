"""`jdetrt track`: what it writes, and one clear message for everything that is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from jdetrt.cli import main
from jdetrt.cli.track import command
from jdetrt.config import PRESETS
from jdetrt.runtime.mot.files import read_mot
from jdetrt.runtime.tracking.tracker import Tracker
from jdetrt.types import Tracks

FRAMES = 6
NET = (64, 32)  # width and height
CLIP = (128, 64)


def _model(path: Path, *, embeddings: bool = True) -> Path:
    """Two people who stand still, whatever the picture: in network pixels, so twice that here."""
    values = {
        "boxes": np.array([[[10, 4, 18, 28], [40, 4, 48, 28], [0, 0, 4, 4]]], np.float32),
        "scores": np.array([[0.9, 0.8, 0.01]], np.float32),
        "embeddings": np.eye(3, 8, dtype=np.float32)[np.newaxis],
    }
    if not embeddings:
        del values["embeddings"]
    graph = helper.make_graph(
        [helper.make_node("Identity", [f"{n}_value"], [n]) for n in values],
        "two_people",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, NET[1], NET[0]])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, v.shape) for n, v in values.items()],
        [numpy_helper.from_array(v, f"{n}_value") for n, v in values.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save_model(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def _clip(path: Path) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25.0, CLIP)
    assert writer.isOpened()
    for index in range(FRAMES):
        writer.write(np.full((CLIP[1], CLIP[0], 3), 30 * index, np.uint8))
    writer.release()
    return path


def _sequence(folder: Path, *, pictures: bool = False) -> Path:
    """A MOT sequence in which one person walks, seen in all frames but the fourth."""
    (folder / "det").mkdir(parents=True)
    size = f"imWidth={CLIP[0]}\nimHeight={CLIP[1]}\n"
    (folder / "seqinfo.ini").write_text(
        f"[Sequence]\nname=walk\nimDir=img1\nframeRate=25\nseqLength={FRAMES}\n{size}imExt=.png\n"
    )
    rows = [f"{i},-1,{10 + 2 * i},5,16,48,0.9\n" for i in range(1, FRAMES + 1) if i != 4]
    (folder / "det" / "det.txt").write_text("".join(rows))
    if pictures:
        (folder / "img1").mkdir()
        for index in range(1, FRAMES + 1):
            picture = np.full((CLIP[1], CLIP[0], 3), 20 * index, np.uint8)
            cv2.imwrite(str(folder / "img1" / f"{index:06d}.png"), picture)
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a model, a clip and a sequence."""
    monkeypatch.chdir(tmp_path)
    _model(tmp_path / "model.onnx")
    _clip(tmp_path / "clip.mp4")
    _sequence(tmp_path / "walk")
    return tmp_path


def _run(*args: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["track", *map(str, args)])
    code = caught.value.code
    assert isinstance(code, int)
    return code


def _files(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*")}


def test_a_video_to_all_outputs(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = {"mot": "t.txt", "kitti": "k.txt", "jsonl": "t.jsonl", "video": "v.mp4"}
    args = [text for name, path in outputs.items() for text in (f"--{name}", f"out/{path}")]
    assert _run("clip.mp4", "--model", "model.onnx", *args, "--images", "out/pictures") == 0
    rows = read_mot(here / "out" / "t.txt")
    assert sorted(zip(rows.frames.tolist(), rows.ids.tolist(), strict=True)) == [
        (frame, track) for frame in range(1, FRAMES + 1) for track in (1, 2)
    ]
    np.testing.assert_allclose(rows.boxes[rows.ids == 1], [[20, 8, 16, 48]] * FRAMES, atol=0.01)
    records = [json.loads(line) for line in (here / "out" / "t.jsonl").read_text().splitlines()]
    assert [record["frame"] for record in records] == list(range(1, FRAMES + 1))
    assert len((here / "out" / "k.txt").read_text().splitlines()) == 2 * FRAMES
    assert cv2.VideoCapture(str(here / "out" / "v.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == FRAMES
    assert len(list((here / "out" / "pictures").iterdir())) == FRAMES
    printed = capsys.readouterr()
    assert f"clip: {FRAMES} frames, 2 tracks" in printed.out
    assert all(stage in printed.out for stage in ("FPSD", "FPSA", "read", "associate", "write"))
    assert all(f"Written: out/{path}" in printed.out for path in outputs.values())
    (note,) = printed.err.splitlines()  # no bar where there is no terminal
    assert note.startswith("Note: the model records no tracker settings (it has no metadata at all")
    assert "those of the preset fused are used" in note


def test_without_an_output_it_says_so(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = _files(here)
    assert _run("clip.mp4", "--model", "model.onnx", "--max-frames", 3) == 0
    printed = capsys.readouterr()
    assert "clip: 3 frames" in printed.out
    assert "--mot FILE" in printed.err
    assert _files(here) == before
    assert _run("clip.mp4", "--model", "model.onnx", "-q") == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("embeddings", [True, False])
def test_a_model_without_settings_is_tracked_with_fused(here: Path, embeddings: bool) -> None:
    model = _model(here / "m.onnx", embeddings=embeddings)
    assert _run("clip.mp4", "--model", model, "--save-config", "used.toml", "-q") == 0
    assert 'preset = "fused"' in (here / "used.toml").read_text()


def test_settings_from_file_and_options(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What --save-config writes, --config reads; options override; the result follows them."""
    model = ("clip.mp4", "--model", "model.onnx")
    for preset in PRESETS:
        assert _run(*model, "--preset", preset, "--nms-iou", 0.3, "--save-config", "a.toml") == 0
        assert _run(*model, "--config", "a.toml", "--save-config", "b.toml") == 0
        assert (here / "a.toml").read_text() == (here / "b.toml").read_text()
        assert "nms_iou = 0.3" in (here / "a.toml").read_text()
    (here / "c.toml").write_text('preset = "reference"\nscore_threshold = 0.95\n')
    capsys.readouterr()
    assert _run(*model, "--config", "c.toml") == 0
    assert "0 tracks" in capsys.readouterr().out
    assert _run(*model, "--config", "c.toml", "--score-threshold", 0.85) == 0
    assert "1 track " in capsys.readouterr().out


def test_detections_alone(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("walk", "--detections", "det/det.txt", "--mot", "t.txt") == 0
    rows = read_mot(here / "t.txt")
    assert set(rows.ids.tolist()) == {1}
    assert rows.frames.max() == FRAMES
    printed = capsys.readouterr().out
    assert f"walk: {FRAMES} frames, 1 track " in printed
    assert "FPSD" not in printed
    # a path from the working folder does as well
    assert _run("walk", "--detections", "walk/det/det.txt", "--mot", "u.txt", "-q") == 0
    assert (here / "u.txt").read_text() == (here / "t.txt").read_text()
    assert _run("walk", "--detections", "det/det.txt", "--max-frames", 2, "--jsonl", "u", "-q") == 0
    assert len((here / "u").read_text().splitlines()) == 2


def test_detections_need_pictures_only_to_draw(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = _files(here)
    assert _run("walk", "--detections", "det/det.txt", "--video", "v.mp4", "--mot", "t.txt") == 1
    assert "img1" in capsys.readouterr().err
    assert _files(here) == before
    _sequence(here / "drawn", pictures=True)
    assert _run("drawn", "--detections", "det/det.txt", "--video", "v.mp4", "-q") == 0
    assert cv2.VideoCapture(str(here / "v.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == FRAMES


def _damage(path: Path, kind: str) -> None:
    if kind == "missing":
        path.unlink(missing_ok=True)
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    elif kind == "wrong type":
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20)
    elif kind == "huge":
        with path.open("wb") as file:
            file.truncate(64 << 20 if path.suffix == ".toml" else 3 << 30)  # sparse
    elif kind == "folder":
        path.unlink(missing_ok=True)
        path.mkdir()


@pytest.mark.parametrize("kind", ["missing", "empty", "truncated", "wrong type", "huge", "folder"])
@pytest.mark.parametrize(
    "name", ["model.onnx", "clip.mp4", "walk/det/det.txt", "walk/seqinfo.ini", "settings.toml"]
)
def test_a_bad_input_gives_one_message_and_no_file(
    here: Path, name: str, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (here / "settings.toml").write_text('preset = "iou"\nnms_iou = 0.5')
    _damage(here / name, kind)
    before = _files(here)
    if name.startswith("walk"):
        args: Sequence[object] = ("walk", "--detections", "det/det.txt")
    else:
        args = ("clip.mp4", "--model", "model.onnx")
    if name == "settings.toml":
        args = (*args, "--config", name)
    code = _run(*args, "--mot", "t.txt")
    printed = capfd.readouterr()
    if kind == "truncated" and code == 0:
        assert name in ("walk/det/det.txt", "settings.toml")  # text cut short can still be whole
        return
    if (name, kind) == ("walk/seqinfo.ini", "missing"):
        assert code == 0
        assert "has neither seqinfo.ini nor images" in printed.err
        return
    assert code == 1
    assert Path(name).name in printed.err or name == "settings.toml"
    assert "Traceback" not in printed.err
    assert len(printed.err.splitlines()) <= 3
    assert printed.out == ""
    assert _files(here) == before


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--mot", "clip.mp4"], "--mot clip.mp4: is also SOURCE"),
        (["--mot", "model.onnx"], "--mot model.onnx: is also --model"),
        (["--mot", "t.txt", "--kitti", "./t.txt"], "is also --mot"),
        (["--mot", "link.mp4"], "is also SOURCE"),
        (["--save-config", "t.txt", "--mot", "t.txt"], "--save-config t.txt: is also --mot"),
        (["--images", "."], "--images .: is the working folder"),
        (["--images", ""], "is the working folder"),
        (["--mot", ""], "is the working folder"),
        (["--mot", "fr/t.txt", "--images", "fr"], "--mot; name separate folders"),
        (["--mot", "model.weights"], "--mot model.weights: is also --model"),
        (["--mot", "walk"], "walk: is a folder"),
        (["--mot", "clip.mp4/t.txt"], "clip.mp4/t.txt: cannot be written"),
        (["--video", "v.xyz"], "expected a video file ending in .mp4"),
        (["--video", "v.mp4", "--mot", "walk"], "walk: is a folder"),
        (["--provider", "tensorrt"], "provider 'tensorrt' is not in this ONNX Runtime"),
        (["--config", "paper.toml", "--preset", "iou"], "of the preset 'paper', but --preset"),
        (["--config", "typo.toml"], "nms_iuo"),
        (["--mot", "n" * 300], "too long"),
        (["--config", "n" * 300], "too long"),
    ],
)
def test_arguments_that_cannot_be(
    here: Path, args: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "link.mp4").symlink_to("clip.mp4")
    if "model.weights" in args:
        onnx.save_model(
            onnx.load(here / "model.onnx"),
            here / "model.onnx",
            save_as_external_data=True,
            location="model.weights",
            size_threshold=0,
        )
        assert (here / "model.weights").exists()
    (here / "paper.toml").write_text('preset = "paper"\n')
    (here / "typo.toml").write_text('preset = "paper"\nnms_iuo = 0.3\n')
    before = _files(here)
    content = (here / "clip.mp4").read_bytes()
    assert _run("clip.mp4", "--model", "model.onnx", *args) == 1
    printed = capsys.readouterr().err
    assert message in printed
    assert "Traceback" not in printed
    assert _files(here) == before
    assert (here / "clip.mp4").read_bytes() == content


@pytest.mark.parametrize(
    "source", ["n" * 5000, "", "camera:77", "ftp://host/x", "walk", "no/*.jpg"]
)
def test_a_source_that_is_not_there(
    here: Path, source: str, capfd: pytest.CaptureFixture[str]
) -> None:
    before = _files(here)
    assert _run(source, "--model", "model.onnx", "--mot", "t.txt") == 1
    printed = capfd.readouterr().err
    assert printed.startswith("SourceError: ")
    assert "Traceback" not in printed
    assert _files(here) == before


def test_the_pictures_of_the_source_are_never_replaced(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = _sequence(here / "drawn", pictures=True)
    for frames in ("drawn/img1", "drawn"):
        for source in ("drawn", "drawn/img1", "drawn/img1/*.png"):
            assert _run(source, "--model", "model.onnx", "--images", frames) == 1
            message = "is also" if frames == source else "holds files of"
            assert f"--images {frames}: {message} SOURCE" in capsys.readouterr().err
    assert len(list((drawn / "img1").iterdir())) == FRAMES
    for _ in range(2):  # but a folder of its own may be written again
        assert _run("drawn", "--model", "model.onnx", "--images", "pictures", "-q") == 0


@pytest.mark.parametrize(
    "target", ["det/det.txt", "gt/gt.txt", "seqinfo.ini", "img1/000004.png", "pictures/1.ppm"]
)
@pytest.mark.parametrize("option", ["--mot", "--save-config"])
def test_no_output_replaces_a_file_of_the_sequence(
    here: Path, target: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    walk = _sequence(here / "drawn", pictures=True)
    (walk / "gt").mkdir()
    (walk / "gt" / "gt.txt").write_text("1,1,10,5,16,48,1,1,1\n")
    if target.endswith("ppm"):  # where seqinfo.ini says that they are
        (walk / "pictures").mkdir()
        (walk / "pictures" / "1.ppm").write_bytes(b"a picture")
        text = (walk / "seqinfo.ini").read_text()
        text = text.replace("imDir=img1", "imDir=pictures").replace(".png", ".ppm")
        (walk / "seqinfo.ini").write_text(text)
    before = (walk / target).read_bytes()
    for way in (["--detections", "det/det.txt"], ["--model", "model.onnx"]):
        assert _run("drawn", *way, option, f"drawn/{target}") == 1
        error = capsys.readouterr().err
        assert f"{option} drawn/{target}: is also " in error
        assert (walk / target).read_bytes() == before
    # What an earlier run left there may be replaced.
    for _ in range(2):
        args = ["--max-frames", 2, "--mot", "drawn/t.txt", "--images", "drawn/shown", "-q"]
        code = 1 if target.endswith("ppm") else 0
        assert _run("drawn", "--detections", "det/det.txt", *args) == code


def test_no_output_replaces_a_picture_of_a_pattern(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _sequence(here / "drawn", pictures=True)
    picture = "drawn/img1/000004.png"
    before = (here / picture).read_bytes()
    for source in ("drawn/img1/*.png", "drawn/img1", "**/*.png"):
        assert _run(source, "--model", "model.onnx", "--mot", picture) == 1
        assert f"--mot {picture}: is also SOURCE" in capsys.readouterr().err
    assert (here / picture).read_bytes() == before


def test_the_working_folder_is_no_place_for_pictures(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "empty").mkdir()
    monkeypatch.chdir(here / "empty")
    assert _run("../clip.mp4", "--model", "../model.onnx", "--images", "../empty") == 1
    assert _files(here / "empty") == set()


def test_an_interrupt_before_the_first_frame_leaves_nothing(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The moment at which the outputs are open and the run has not begun."""

    def interrupted(self: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("jdetrt.runtime.pipeline.Pipeline.run", interrupted)
    before = _files(here)
    outputs = ["--mot", "o/t.txt", "--video", "o/v.mp4", "--images", "o/f"]
    assert _run("clip.mp4", "--model", "model.onnx", *outputs) == 130
    assert _files(here) == before
    monkeypatch.setattr("jdetrt.runtime.tracking.tracker.Tracker.warm_up", interrupted)
    assert _run("walk", "--detections", "det/det.txt", "--mot", "o/t.txt") == 130
    assert _files(here) == before


def test_an_interrupt_says_what_was_done_without_a_network_too(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    update, calls = Tracker.update, []

    def third(self: Tracker, *arguments: Any) -> Tracks:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return update(self, *arguments)

    monkeypatch.setattr(Tracker, "update", third)
    assert _run("walk", "--detections", "det/det.txt", "--jsonl", "t.jsonl") == 130
    printed = capsys.readouterr()
    assert printed.out.startswith("walk: 2 frames")
    assert printed.err == "Results up to frame 2 are kept.\nInterrupted.\n"
    assert len((here / "t.jsonl").read_text().splitlines()) == 2


def test_a_detection_that_cannot_be_tracked_is_left_out(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = (here / "walk/det/det.txt").read_text().splitlines()
    rows[2] = "3,-1,900000,5,1e-9,48,0.9"  # float32 leaves it no width
    (here / "walk/det/det.txt").write_text("\n".join(rows))
    assert _run("walk", "--detections", "det/det.txt", "--mot", "t.txt") == 0
    assert "4 of 5 detections; left out: 1 without area" in capsys.readouterr().out


def test_a_video_that_breaks_off_keeps_what_came_before(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = _sequence(here / "drawn", pictures=True)
    picture = drawn / "img1" / "000005.png"
    cv2.imwrite(str(picture), np.zeros((8, 8, 3), np.uint8))
    code = _run("drawn", "--model", "model.onnx", "--mot", "t.txt", "--video", "v.mp4")
    printed = capsys.readouterr().err
    assert code == 1
    assert "000005.png" in printed
    assert "Results up to frame 4 are kept." in printed
    assert read_mot(here / "t.txt").frames.max() == 4
    assert cv2.VideoCapture(str(here / "v.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 4


def test_a_damaged_video_is_read_on_and_leaves_with_3(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(0)
    writer = cv2.VideoWriter("noise.mp4", cv2.VideoWriter.fourcc(*"mp4v"), 25.0, CLIP)
    for _ in range(100):
        writer.write(random.integers(0, 256, (CLIP[1], CLIP[0], 3), np.uint8))
    writer.release()
    data = bytearray((here / "noise.mp4").read_bytes())
    start, length = int(0.4 * len(data)), len(data) // 5
    data[start : start + length] = bytes(length)
    (here / "noise.mp4").write_bytes(data)
    args = ("--model", "model.onnx", "--preset", "iou", "--mot", "t.txt", "--json", "run.json")
    assert _run("noise.mp4", *args) == 3
    read = json.loads((here / "run.json").read_text())["read"]["noise"]["frames"]
    assert 70 <= read["taken"] < 90
    assert read["left_out"] == {"that cannot be decoded": 100 - read["taken"]}
    assert f"noise.mp4: {read['taken']} of 100 frames; left out: " in capsys.readouterr().err
    assert read_mot(here / "t.txt").frames.max() == 100


@pytest.mark.parametrize(
    "args",
    [
        ["--model", "model.onnx", "--detections", "det/det.txt"],
        ["--model", "model.onnx", "--preset", "best"],
        ["--model", "model.onnx", "--score-threshold", "1.5"],
        ["--model", "model.onnx", "--max-frames", "0"],
        ["--model", "model.onnx", "--frame-rate", "0"],
        ["--model", "model.onnx", "--threads", "100000"],
    ],
)
def test_wrong_usage(here: Path, args: list[str]) -> None:
    assert _run("clip.mp4", *args) == 2


def test_every_option_has_help() -> None:
    assert all(p.help for p in command.params if isinstance(p, click.Option))
