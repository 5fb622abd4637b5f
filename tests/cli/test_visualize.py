from __future__ import annotations

from pathlib import Path

import cv2
import pytest
from tiny_network import save_tiny
from walkers import walkers

from jdetrt.cli import main

FRAMES = ("walkers/img1/000001.png", "walkers/img1/000006.png")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_tiny(tmp_path / "tiny.safetensors", monkeypatch)
    walkers(tmp_path / "walkers")
    return tmp_path


def run(*args: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["visualize", "retrieval", "tiny.safetensors", *map(str, args)])
    return int(stop.value.code or 0)


def test_by_box_and_by_id(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*FRAMES, "--box", "84,28,24,72", "-o", "new/box.png") == 0
    assert "Written: new/box.png" in capsys.readouterr().out
    assert run(*FRAMES, "--id", 2, "-o", "id.png", "--size", "256x128") == 0
    by_box, by_id = cv2.imread("new/box.png"), cv2.imread("id.png")
    assert by_box is not None
    assert by_id is not None
    assert by_box.shape == by_id.shape == (2 * (320 + 28), 2 * 640 + 72, 3)
    # Person 2 of frame 1 is where the box was; in frame 6 only the id says where they are now.
    query = slice(28, 348), slice(0, 640)
    assert (by_box[query] == by_id[query]).all()
    yellow = [(p[28:348, 640:1280] == (0, 255, 255)).all(axis=2) for p in (by_box, by_id)]
    assert not yellow[0].any()
    assert yellow[1][70, round(2.5 * (80 + 4 * 6))]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((*FRAMES, "--id", "9"), "the id 9"),
        ((*FRAMES, "--box", "500,0,20,40"), "outside the frame of 256x128"),
        ((FRAMES[0], "missing.png", "--box", "0,0,20,40"), "missing.png: cannot be read"),
        (("walkers/gt/gt.txt", FRAMES[0], "--box", "0,0,20,40"), "not an image"),
        (("still.png", FRAMES[0], "--id", "1"), "a MOT sequence with ground truth (gt/gt.txt)"),
        ((*FRAMES, "--box", "0,0,20,40", "--size", "100x100"), "multiples of 32"),
    ],
)
def test_one_message_and_no_file(
    here: Path, args: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "still.png").write_bytes((here / FRAMES[0]).read_bytes())
    assert run(*args, "-o", "out.png") == 1
    assert message in capsys.readouterr().err
    assert not (here / "out.png").exists()


def test_frames_and_checkpoints_are_not_replaced(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for target in (FRAMES[1], "tiny.safetensors"):
        assert run(*FRAMES, "--id", 1, "-o", target) == 1
        assert "is also" in capsys.readouterr().err


def test_wrong_usage(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*FRAMES, "-o", "out.png") == 2
    assert "--box or --id" in capsys.readouterr().err
    assert run(*FRAMES, "--id", 1, "--box", "1,2,3,4", "-o", "out.png") == 2
    assert run(*FRAMES, "--box", "1,2,3", "-o", "out.png") == 2
    assert run(*FRAMES, "--id", 1) == 2
