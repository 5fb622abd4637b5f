from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from jdetrt.cli import main
from jdetrt.config import load
from jdetrt.training.network.anchors import anchor_sizes
from jdetrt.training.recipe import Recipe


def run(*args: str | Path) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["data", *map(str, args)])
    return int(stop.value.code or 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve people in a picture as large as the network's input: sizes 4 x 8 to 48 x 96."""
    data = tmp_path / "[own] data"
    (data / "images").mkdir(parents=True)
    (data / "labels_with_ids").mkdir()
    assert cv2.imwrite(str(data / "images/a.png"), np.zeros((128, 256, 3), np.uint8))
    rows = [f"0 {k} 0.5 0.5 {4 * k / 256} {8 * k / 128}" for k in range(1, 13)]
    (data / "labels_with_ids/a.txt").write_text("\n".join(rows))
    return data


def test_sound_data(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "new" / "report.json"
    assert run("check", folder, "--decode", "--json", path) == 0
    rows = [[c.strip() for c in line.split("│")] for line in capsys.readouterr().out.splitlines()]
    table = {row[1]: row[2] for row in rows if len(row) == 4}
    assert (table["Images"], table["Boxes"], table["Identities"]) == ("1", "12", "12")
    assert table["Height: min / median / max"] == "8 / 52 / 96"
    assert table["Faults"] == "0"
    (report,) = json.loads(path.read_text())
    assert report["path"] == str(folder)
    assert report["faults"] == []
    assert report["heights"] == [8, 52, 96]


def test_counts_beside_the_paper_s_table_2(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Paper section 4.1; its total of images says that the 53K of MOT16 are 5.3K."""
    lists = []
    for name in ("eth", "citypersons", "caltech", "mot17", "cuhk-sysu", "prw"):
        lists.append(folder / f"{name}.train")
        lists[-1].write_text("images/a.png\n")
    path = tmp_path / "report.json"
    assert run("check", lists[3], folder, "--json", path) == 0
    rows = [[c.strip() for c in line.split("│")] for line in capsys.readouterr().out.splitlines()]
    table = {row[1]: row[2:-1] for row in rows if len(row) == 4}
    assert (table["Images"], table["Boxes"]) == (["0.0 / 5.3"], ["0.0 / 112"])
    mot17, own = json.loads(path.read_text())
    assert mot17["paper"] == {"name": "M16", "images": 5.3, "boxes": 112, "identities": 0.5}
    assert "paper" not in own
    assert run("check", *lists) == 0
    reports = ("Images", "Boxes", "Identities")
    rows = [[c.strip() for c in line.split("│")] for line in capsys.readouterr().out.splitlines()]
    table = {row[1]: row[2:-1] for row in rows if len(row) == 10 and row[1] in reports}
    paper = {name: " ".join(cell.split("/ ")[1] for cell in row) for name, row in table.items()}
    assert paper["Images"] == "2 3 27 5.3 11 6 54"
    assert paper["Boxes"] == "17 21 46 112 55 18 270"
    assert paper["Identities"] == "- - 0.6 0.5 7 0.5 8.7"
    assert table["Boxes"][-1].startswith("0.1 /")  # six times twelve


def test_faults_are_all_printed_and_the_exit_code_is_3(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "labels_with_ids/a.txt").write_text("0 1 .5\n0 1 .5 .5 .1 .1\n0 1 .5 .5 x .1\n")
    assert run("check", folder, tmp_path / "gone", "--json", tmp_path / "report.json") == 3
    output = capsys.readouterr()
    assert output.err == ""
    labels = folder / "labels_with_ids/a.txt"
    assert f"{labels}:1: expected 6 columns" in output.out
    assert f"{labels}:3: expected a number" in output.out
    assert "gone: not found" in output.out
    assert [len(one["faults"]) for one in json.loads((tmp_path / "report.json").read_text())] == [
        2,
        1,
    ]


def test_a_list_needs_its_root(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "own.train").write_text("images/a.png\n")
    assert run("check", tmp_path / "own.train") == 3
    assert run("check", tmp_path / "own.train", "--root", folder) == 0
    assert (
        run("check", tmp_path / "own.train", "--root", folder, "--json", tmp_path / "own.train")
        == 1
    )
    assert (tmp_path / "own.train").read_text() == "images/a.png\n"


def test_anchors_beside_the_default(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("anchors", folder, "--size", "256x128") == 0
    output = capsys.readouterr().out
    assert "Anchors for 12 boxes" in output
    assert "36,72  40,80  44,88  48,96" in output
    assert "100.0%" in output


def test_anchors_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("anchors", folder, "--size", "256x128", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["size"], found["boxes"]) == ([256, 128], 12)
    assert found["fitted"]["anchors"][2] == [[4, 8], [8, 16], [12, 24], [16, 32]]
    assert found["fitted"]["mean_iou"] == 1
    assert found["default"]["anchors"] == anchor_sizes(256, 128).tolist()
    assert found["default"]["mean_iou"] < 1


def test_a_list_after_json_is_not_replaced(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`anchors --json LIST DATA` once printed JSON; now LIST would be where it goes."""
    images = tmp_path / "own.train"
    images.write_text("images/a.png\n")
    assert run("anchors", "--json", images, folder, "--size", "256x128") == 1
    assert "exists and is not JSON" in capsys.readouterr().err
    assert run("check", "--json", images, folder) == 1
    assert images.read_text() == "images/a.png\n"
    for _ in range(2):  # a result may be replaced
        assert run("anchors", "--json", tmp_path / "a.json", folder, "--size", "256x128") == 0
    assert json.loads((tmp_path / "a.json").read_text())["boxes"] == 12


def test_anchors_for_a_recipe(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("anchors", folder, "--size", "256x128", "--toml") == 0
    (tmp_path / "own.toml").write_text(capsys.readouterr().out)
    network = load(tmp_path / "own.toml", Recipe).network
    assert network.size == (256, 128)
    assert network.anchors is not None
    assert network.anchors[0] == ((36, 72), (40, 80), (44, 88), (48, 96))


def test_anchors_for_nobody(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "labels_with_ids/a.txt").write_text("")
    assert run("anchors", folder, "--size", "256x128") == 1
    assert "no person is labelled" in capsys.readouterr().err
    assert run("anchors", folder, "--size", "250x128") == 1
    assert "multiples of 32" in capsys.readouterr().err
    assert run("anchors", folder) == 2
