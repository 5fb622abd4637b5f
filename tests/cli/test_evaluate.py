"""`jdetrt evaluate`: the numbers it prints and writes, and one message for what is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tiny_network import save_tiny
from walkers import CLIP, FRAMES, NET, PEOPLE, walkers

from jdetrt.cli import main


def fixed_model(path: Path) -> Path:
    """The three people where they stand in frame 3, whatever the picture is."""
    boxes = [[80 * p + 12, 20 + 8 * p, 80 * p + 36, 92 + 8 * p] for p in range(PEOPLE)]
    values: dict[str, npt.NDArray[np.float32]] = {
        "boxes": (np.array([boxes]) / 2).astype(np.float32),
        "scores": np.array([[0.9, 0.8, 0.7]], np.float32),
        "embeddings": np.eye(PEOPLE, 8, dtype=np.float32)[np.newaxis],
    }
    graph = helper.make_graph(
        [helper.make_node("Identity", [f"{n}_value"], [n]) for n in values],
        "three_people",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, NET[1], NET[0]])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, v.shape) for n, v in values.items()],
        [numpy_helper.from_array(v, f"{n}_value") for n, v in values.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save_model(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a model, a checkpoint and a sequence."""
    monkeypatch.chdir(tmp_path)
    fixed_model(tmp_path / "model.onnx")
    save_tiny(tmp_path / "tiny.safetensors", monkeypatch)
    walkers(tmp_path / "walkers")
    return tmp_path


def run(*args: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", *map(str, args)])
    return int(stop.value.code or 0)


def printed(text: str) -> dict[str, str]:
    return {line[:-10].strip(): line[-10:].strip() for line in text.splitlines() if line[-1:]}


# Frame 3's boxes overlap those of frame f by (24 - 4 d) / (24 + 4 d), d = |f - 3|: IoU 0.71 in
# frames 2 and 4, 0.5 in 1 and 5, 1/3 in 6. So 5 of 6 frames are right.


def test_detection(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("detection", "model.onnx", "walkers", "--json", "new/d.json") == 0
    shown = printed(capsys.readouterr().out)
    assert (shown["Precision at 0.5"], shown["Recall"]) == ("0.8333", "0.8333")
    assert (shown["Images"], shown["People"]) == (str(FRAMES), str(FRAMES * PEOPLE))
    written = json.loads((here / "new" / "d.json").read_text())
    assert written["recall"] == 5 / 6
    assert f"{written['ap50']:.4f}" == shown["AP50"]
    # The reference wants more than 0.5: 3 of 6 frames.
    assert written["reference_ap"] == 0.5
    assert run("detection", "model.onnx", "walkers", "--score-threshold", "0.75") == 0
    assert printed(capsys.readouterr().out)["Recall"] == f"{2 / 3 * 5 / 6:.4f}"


def test_several_data_sets_and_a_list(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in ("images", "labels_with_ids"):
        (here / "jde" / folder).mkdir(parents=True)
    picture = np.zeros((CLIP[1], CLIP[0], 3), np.uint8)
    cv2.imwrite(str(here / "jde" / "images" / "a.png"), picture)
    (here / "jde" / "labels_with_ids" / "a.txt").write_text("0 -1 0.5 0.5 0.1 0.5\n")
    (here / "lists").mkdir()
    (here / "lists" / "a.train").write_text("jde/images/a.png\n")
    assert run("detection", "model.onnx", "walkers", "jde") == 0
    assert printed(capsys.readouterr().out)["People"] == str(FRAMES * PEOPLE + 1)
    assert run("detection", "model.onnx", "lists/a.train", "--root", here) == 0
    assert printed(capsys.readouterr().out)["Images"] == "1"


def test_embedding_by_both_rules(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("embedding", "model.onnx", "walkers", "--json", "e.json") == 0
    shown = printed(capsys.readouterr().out)
    assert shown["Rule"] == "candidates"
    assert (shown["TPR@1e-06"], shown["TPR@0.1"]) == ("1.0000", "1.0000")
    # At more than 0.5: the frames 2, 3 and 4.
    assert (shown["Coverage"], shown["Boxes"], shown["Identities"]) == ("0.5000", "18", "3")
    assert json.loads((here / "e.json").read_text())["tpr_at_far"]["1e-06"] == 1
    assert run("embedding", "model.onnx", "walkers", "--rule", "cells") == 1
    assert "evaluate the checkpoint" in capsys.readouterr().err
    assert run("embedding", "tiny.safetensors", "walkers") == 0
    shown = printed(capsys.readouterr().out)
    assert (shown["Rule"], shown["Coverage"]) == ("cells", "1.0000")


def test_the_same_number_in_two_data_sets_is_two_people(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    walkers(here / "others")
    assert run("embedding", "model.onnx", "walkers", "others") == 0
    shown = printed(capsys.readouterr().out)
    assert shown["Identities"] == "6"
    # Equal embeddings of different people: 27 wrong pairs of 135 are as alike as the right ones.
    assert float(shown["TPR@0.1"]) == pytest.approx(0.1 / (27 / 135), abs=1e-4)


def test_people_who_can_hardly_be_seen_can_be_left_out(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = here / "walkers" / "gt" / "gt.txt"
    rows = [row.split(",") for row in truth.read_text().splitlines()]
    hidden = [[*row[:8], "0.2" if row[1] == rows[0][1] else "1"] for row in rows]
    truth.write_text("".join(f"{','.join(row)}\n" for row in hidden))
    assert run("embedding", "tiny.safetensors", "walkers") == 0
    assert printed(capsys.readouterr().out)["Identities"] == str(PEOPLE)
    for kind, key, value in (
        ("embedding", "Identities", PEOPLE - 1),
        ("detection", "People", FRAMES * (PEOPLE - 1)),
    ):
        assert run(kind, "tiny.safetensors", "walkers", "--min-visibility", "0.3") == 0
        assert printed(capsys.readouterr().out)[key] == str(value)


def test_tracking(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ("tracking", "model.onnx", "walkers", "--json", "t.json", "--results", "tracks")
    assert run(*args) == 0
    rows = [[c for c in line.split() if c != "│"] for line in capsys.readouterr().out.splitlines()]
    (row,) = (row for row in rows if row[:2] == ["walkers", "MOT17"])
    scores = json.loads((here / "t.json").read_text())["sequences"]["walkers"]
    # Reported in the frames 1 to 5, in a wrong place in 6.
    assert (scores["FP"], scores["FN"], scores["IDSW"]) == (PEOPLE, PEOPLE, 0)
    assert row[-5:-2] == ["0", str(PEOPLE), str(PEOPLE)]
    assert len((here / "tracks" / "walkers.txt").read_text().splitlines()) == 6 * PEOPLE
    (here / "strict.toml").write_text('preset = "paper"\nscore_threshold = 0.95\n')
    assert run("tracking", "model.onnx", "walkers", "--config", "strict.toml") == 0
    assert str(FRAMES * PEOPLE) in capsys.readouterr().out
    assert run("tracking", "model.onnx", "walkers", "--config", "strict.toml", "--preset", "iou")
    assert "settings of the preset 'paper'" in capsys.readouterr().err


def test_summary(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("summary", "model.onnx", "walkers", "--json", "s.json") == 0
    shown = printed(capsys.readouterr().out)
    written = json.loads((here / "s.json").read_text())
    assert (shown["TPR@0.1"], shown["Coverage"]) == ("1.0000", "0.5000")
    assert shown["FN"] == str(written["fn"]) == str(PEOPLE)
    assert shown["MOTA"] == f"{written['mota']:.4f}"
    options = ("--perturbed-runs", "2", "--json", "shaken.json")
    assert run("summary", "model.onnx", "walkers", *options) == 0
    assert re.search(r"^IDF1, perturbed +\d+\.\d\d ± \d+\.\d\d$", capsys.readouterr().out, re.M)
    shaken = json.loads(Path("shaken.json").read_text())
    assert [len(values) for values in shaken.pop("shaken").values()] == [2, 2, 2]
    assert shaken == json.loads(Path("s.json").read_text())


def test_a_checkpoint_of_any_size(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("detection", "tiny.safetensors", "walkers", "--batch", 4, "--threads", 1) == 0
    assert printed(capsys.readouterr().out)["Images"] == str(FRAMES)
    assert run("detection", "tiny.safetensors", "walkers", "--size", "256x128") == 0


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("detection", "missing.onnx", "walkers"), "missing.onnx: no such file"),
        (("detection", "model.onnx", "nowhere"), "nowhere: not found"),
        (("detection", "model.onnx", "walkers", "--size", "64x64"), "128x64, not 64x64"),
        (("detection", "tiny.safetensors", "walkers", "--size", "100x64"), "multiples of 32"),
        (("detection", "tiny.safetensors", "walkers", "--provider", "tensorrt"), "got 'tensorrt'"),
        (("detection", "model.onnx", "walkers", "--json", "model.onnx"), "is also MODEL"),
        (("embedding", "model.onnx", "walkers", "--json", "walkers/gt/gt.txt"), "is also PATH"),
        (("summary", "model.onnx", "walkers", "--json", "walkers"), "is also PATH"),
        (("tracking", "model.onnx", "walkers", "--results", "."), "is the working folder"),
        (("tracking", "model.onnx", "walkers", "--results", "walkers/gt"), "is also PATH"),
        (("tracking", "model.onnx", "walkers", "--config", "no.toml"), "no.toml: cannot be read"),
        (("summary", "model.onnx", "nowhere"), "nowhere"),
    ],
)
def test_one_message_and_no_file(
    here: Path, args: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in here.rglob("*")}
    assert run(*args) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert {path: path.stat().st_mtime_ns for path in here.rglob("*")} == before


def test_an_earlier_json_among_the_data_is_replaced(here: Path) -> None:
    for _ in range(2):
        assert run("detection", "model.onnx", "walkers", "--json", "walkers/scores.json") == 0


def test_wrong_usage(here: Path) -> None:
    assert run("detection", "model.onnx") == 2
    assert run("detection", "model.onnx", "walkers", "--size", "large") == 2
    assert run("embedding", "model.onnx", "walkers", "--rule", "all") == 2
    assert run("nothing") == 2


def test_what_is_labelled_and_is_nobody_is_told(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = here / "walkers" / "gt" / "gt.txt"
    rows = [line.split(",") for line in truth.read_text().splitlines()]
    cars = [[*row[:6], "0", "3", "1"] for row in rows]
    hidden = [[row[0], f"{int(row[1]) + 50}", *row[2:8], "0.1"] for row in rows]
    others = [[row[0], f"{int(row[1]) + 90}", *row[2:]] for row in cars]
    truth.write_text("\n".join(",".join(row) for row in [*rows, *hidden, *others]) + "\n")
    options = ("--min-visibility", "0.5", "--json", "d.json")
    assert run("detection", "model.onnx", "walkers", *options) == 0
    count = FRAMES * PEOPLE
    read = json.loads((here / "d.json").read_text())["read"]["people"]
    assert read["taken"] == count
    assert read["by_design"] == {
        "of class 3 (car) with mark 0": count,
        "less visible than asked for": count,
    }
    assert f"Read: {count} of {3 * count} people; left out: " in capsys.readouterr().out
    truth.write_text("\n".join(",".join([*row[:7], "7", "1"]) for row in rows) + "\n")
    assert run("detection", "model.onnx", "walkers") == 1
    error = capsys.readouterr().err
    assert f"walkers: nothing was taken of {count} people ({count} of class 7 (static" in error


def test_a_sequence_without_a_seqinfo_and_with_a_bad_image(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "walkers" / "seqinfo.ini").unlink()
    assert run("summary", "model.onnx", "walkers", "--json", "s.json") == 0
    assert "has no seqinfo.ini" in json.loads((here / "s.json").read_text())["notes"][-1]
    (image, *_) = sorted((here / "walkers" / "img1").iterdir())[2:]
    image.write_bytes(b"")
    assert run("tracking", "model.onnx", "walkers", "--json", "t.json") == 3
    read = json.loads((here / "t.json").read_text())["read"]["walkers"]["frames"]
    assert (read["taken"], read["left_out"]) == (FRAMES - 1, {"that cannot be read": 1})
    assert "left out: 1 that cannot be read" in capsys.readouterr().err


def as_corners(x: float, y: float, width: float, height: float) -> list[float]:
    return [x, y, x + width, y + height]


def as_shares(x: float, y: float, width: float, height: float) -> list[float]:
    return [x / CLIP[0], y / CLIP[1], width / CLIP[0], height / CLIP[1]]


def test_boxes_in_another_form_are_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Left, top, right, bottom or shares, in MOT's, COCO's and JDE's form."""
    truth = here / "walkers" / "gt" / "gt.txt"
    rows = [line.split(",") for line in truth.read_text().split()]
    boxes = [[float(field) for field in row[2:6]] for row in rows]

    def write(form: Callable[..., list[float]]) -> None:
        lines = (
            [*row[:2], *map(str, form(*box)), *row[6:]]
            for row, box in zip(rows, boxes, strict=True)
        )
        truth.write_text("\n".join(map(",".join, lines)) + "\n")
        images = [
            {"id": n, "file_name": f"{n:06}.png", "width": CLIP[0], "height": CLIP[1]}
            for n in range(1, FRAMES + 1)
        ]
        annotations = [
            {"image_id": int(row[0]), "category_id": 1, "bbox": form(*box)}
            for row, box in zip(rows, boxes, strict=True)
        ]
        content = {"images": images, "annotations": annotations}
        content["categories"] = [{"id": 1, "name": "person"}]
        (here / "coco.json").write_text(json.dumps(content))

    write(as_corners)
    assert run("detection", "model.onnx", "walkers") == 3
    assert "if columns 3 to 6 were left, top, right, bottom" in capsys.readouterr().err
    coco = ("detection", "model.onnx", "coco.json", "--root", "walkers/img1")
    assert run(*coco) == 1
    assert "if those of bbox were left, top, right, bottom" in capsys.readouterr().err
    write(as_shares)
    for data in (("detection", "model.onnx", "walkers"), coco):
        assert run(*data) == 1
        assert "all boxes are smaller than a pixel" in capsys.readouterr().err

    for folder in ("images", "labels_with_ids"):
        (here / "jde" / folder).mkdir(parents=True)
    image = np.zeros((CLIP[1], CLIP[0], 3), np.uint8)
    cv2.imwrite(str(here / "jde" / "images" / "a.png"), image)
    for corners, code in (False, 0), (True, 3):
        people = [[10, 20, 30, 60], [150, 10, 60, 110], [190, 10, 50, 110], [170, 40, 40, 70]]
        lines = []
        for number, (x, y, width, height) in enumerate(people):
            right = as_shares(x + width / 2, y + height / 2, width, height)
            box = as_shares(*as_corners(x, y, width, height)) if corners else right
            lines.append(" ".join(map(str, [0, number, *box])))
        (here / "jde" / "labels_with_ids" / "a.txt").write_text("\n".join(lines) + "\n")
        assert run("detection", "model.onnx", "jde") == code
    assert "if x y w h were left, top, right, bottom" in capsys.readouterr().err


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


@pytest.mark.parametrize("kind", ["detection", "embedding", "summary"])
def test_an_unreadable_image_is_left_out_and_counted(
    kind: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = sorted((here / "walkers" / "img1").iterdir())
    assert run(kind, "model.onnx", "walkers", "--json", "whole.json") == 0
    capsys.readouterr()
    cut(images[5])  # in which nothing is right: see above
    assert run(kind, "model.onnx", "walkers", "--json", "e.json") == 3
    shown = capsys.readouterr()
    whole, result = (json.loads((here / name).read_text()) for name in ("whole.json", "e.json"))
    read = result["read"]
    assert read["images"]["left_out"] == {"that cannot be read": 1}
    assert read["images"]["taken"] == FRAMES - 1
    [note] = read["images"]["notes"]
    assert note.startswith("walkers/img1/000006.")
    assert f"Read: {FRAMES - 1} of {FRAMES} images; left out: 1 that cannot be read" in shown.out
    assert "left out: 1 that cannot be read: walkers/img1/000006" in shown.err
    assert "Traceback" not in shown.err
    if kind == "detection":
        assert (result["recall"], result["pictures"], result["people"]) == (1, 5, 15)
        assert read["people"]["taken"] == result["people"]
        assert read["people"]["left_out"] == {"of images that cannot be read": PEOPLE}
    elif kind == "embedding":
        assert (result["coverage"], result["boxes"]) == (9 / 15, 15)
    else:  # nobody is tracked where nothing is seen
        assert result["ap50"] > whole["ap50"]
        assert result["fn"] >= PEOPLE
        assert result["fp"] < whole["fp"]
    for image in images:
        cut(image)
    assert run(kind, "model.onnx", "walkers") == 1
    error = capsys.readouterr().err
    assert f"nothing was taken of {FRAMES} images (6 that cannot be read)" in error
    assert "000001." in error


def test_damaged_entries_of_a_list_are_left_out_and_counted(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("images", "labels_with_ids"):
        (here / "jde" / folder).mkdir(parents=True)
    picture = np.zeros((CLIP[1], CLIP[0], 3), np.uint8)
    for name in "abcd":
        cv2.imwrite(str(here / "jde" / "images" / f"{name}.png"), picture)
        row = "0 -1 0.5 0.5 0.1 0.5\n" if name != "b" else "0 -1 0.5 0.5 0.1\n"
        (here / "jde" / "labels_with_ids" / f"{name}.txt").write_text(row)
    cut(here / "jde" / "images" / "d.png")
    (here / "a.train").write_text("".join(f"jde/images/{name}.png\n" for name in "abcde"))
    assert run("detection", "model.onnx", "a.train", "--json", "d.json") == 3
    result = json.loads((here / "d.json").read_text())
    assert (result["pictures"], result["people"]) == (2, 2)
    assert result["read"]["images"]["left_out"] == {"that cannot be read": 3}
    notes = result["read"]["images"]["notes"]
    assert [note.split(": ")[0].split("/")[-1] for note in notes] == [
        "b.txt:1",
        "a.train:5",
        "d.png",
    ]
    assert "Warning: only 2 of 5 images were taken" in capsys.readouterr().err
    (here / "a.train").write_text("jde/images/no.png\n")
    assert run("detection", "model.onnx", "a.train") == 1
    assert "is the root right?" in capsys.readouterr().err
