"""`jdetrt track` says what it left out and what it assumed, and its exit code tells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from jdetrt.cli import main
from jdetrt.runtime.mot.files import read_mot

FRAMES, SIZE = 12, (128, 64)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a sequence in which one person walks."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "walk" / "det").mkdir(parents=True)
    (tmp_path / "walk" / "seqinfo.ini").write_text(
        f"[Sequence]\nframeRate=25\nseqLength={FRAMES}\nimWidth={SIZE[0]}\nimHeight={SIZE[1]}\n"
    )
    detections()
    return tmp_path


def detections(*extra: str, score: float = 0.9, x: int = 10, first: int = 1) -> None:
    rows = [f"{i},-1,{x + 2 * i},5,16,48,{score}" for i in range(first, first + FRAMES)]
    Path("walk/det/det.txt").write_text("\n".join([*rows, *extra]) + "\n")


def images(folder: str, count: int = FRAMES) -> None:
    Path(folder).mkdir(parents=True)
    for index in range(1, count + 1):
        image = np.full((SIZE[1], SIZE[0], 3), 15 * index, np.uint8)
        cv2.imwrite(f"{folder}/{index:06d}.jpg", image)


def track(*args: object) -> tuple[int, dict[str, Any]]:
    """Exit code and the JSON of a run."""
    result = Path("run.json")
    result.unlink(missing_ok=True)
    with pytest.raises(SystemExit) as stop:
        main(["track", *map(str, args), "--mot", "t.txt", "--json", str(result)])
    if not result.exists():
        return int(stop.value.code or 0), {}
    written = json.loads(result.read_text())
    written["read"] = written["read"]["walk"]
    return int(stop.value.code or 0), written | written.pop("streams")["walk"]


PUBLIC = ("walk", "--detections", "det/det.txt")


def test_all_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    code, run = track(*PUBLIC)
    assert (code, run["read"], run["notes"], run["warnings"]) == (
        0,
        {"detections": {"taken": FRAMES, "left_out": {}}},
        [],
        [],
    )
    assert (run["frames"], run["tracks"], run["detections"]) == (12, 1, 12)
    assert f"Read: {FRAMES} detections" in capsys.readouterr().out


def test_a_box_without_area(capsys: pytest.CaptureFixture[str]) -> None:
    detections("3,-1,5,5,0,48,0.9", "4,-1,1900,5,1e-6,48,0.9")
    code, run = track(*PUBLIC)
    assert (code, run["read"]["detections"]["left_out"]) == (0, {"without area": 2})
    assert f"{FRAMES} of {FRAMES + 2} detections; left out: 2 without area" in (
        capsys.readouterr().out
    )
    assert track(*PUBLIC, "--strict") == (1, {})
    assert "det.txt:13: expected a size above 0" in capsys.readouterr().err


def test_everything_below_the_threshold(capsys: pytest.CaptureFixture[str]) -> None:
    code, run = track(*PUBLIC, "--score-threshold", "0.95")
    assert code == 3
    assert run["read"]["detections"]["taken"] == 0
    error = capsys.readouterr().err
    assert "12 with a score of 0.95 or less" in error
    assert "Warning: walk: nobody was tracked in 12 frames" in error


def test_most_below_the_threshold(capsys: pytest.CaptureFixture[str]) -> None:
    detections(*(f"{i},-1,80,5,16,48,0.2" for i in range(1, FRAMES + 1)),
               *(f"{i},-1,100,5,16,48,0.2" for i in range(1, FRAMES + 1)))  # fmt: skip
    code, run = track(*PUBLIC, "--score-threshold", "0.5")
    assert (code, run["warnings"]) == (
        0,
        ["only 12 of 36 detections were taken (24 with a score of 0.5 or less)"],
    )


def test_boxes_outside_of_the_image() -> None:
    detections(x=500)
    code, run = track(*PUBLIC)
    assert (code, run["warnings"]) == (
        3,
        ["12 detections outside of the image (128x64); are the boxes in pixels of these images?"],
    )
    detections(f"1,-1,500,5,16,48,{0.9}")
    code, run = track(*PUBLIC)
    assert (code, len(run["notes"]), run["warnings"]) == (0, 1, [])  # one of 13


def test_boxes_in_another_form(capsys: pytest.CaptureFixture[str]) -> None:
    """Left, top, right, bottom; and shares of the image."""
    Path("walk/det/det.txt").write_text(
        "".join(f"{i},-1,80,5,96,53,0.9\n" for i in range(1, FRAMES + 1))
    )
    code, run = track(*PUBLIC)
    assert code == 3
    assert run["warnings"][-1].startswith(
        "12 of 12 boxes would reach far out of the image, and none if"
    )
    row = ",".join(map(str, (80 / 128, 5 / 64, 16 / 128, 48 / 64, 0.9)))
    Path("walk/det/det.txt").write_text("".join(f"{i},-1,{row}\n" for i in range(1, FRAMES + 1)))
    assert track(*PUBLIC) == (1, {})
    assert "det.txt: all boxes are smaller than a pixel" in capsys.readouterr().err


def test_percent_and_a_slip(capsys: pytest.CaptureFixture[str]) -> None:
    detections("1,-1,80,5,16,48,8", score=80)
    _, run = track(*PUBLIC, "--score-threshold", "0.1")
    assert run["read"]["detections"]["left_out"] == {"with a score of 0.1 or less": 1}  # 8 %
    assert "confidences from 8 to 80 are taken as percentages" in capsys.readouterr().err
    detections("1,-1,80,5,16,48,1.4", score=0.3)
    _, run = track(*PUBLIC)
    assert "1 of 13 confidences are above 1 and count as 1" in run["notes"][0]
    detections("1,-1,80,5,16,48,1.4", score=3.5)
    assert track(*PUBLIC) == (1, {})
    assert "--confidence-unit" in capsys.readouterr().err
    code, run = track(*PUBLIC, "--confidence-unit", "margin")
    assert (code, run["tracks"]) == (0, 2)
    assert track(*PUBLIC, "--confidence-unit", "fraction")[0] == 1


HEADER = "frame,id,bb_left,bb_top,bb_width,bb_height,conf,x,y,z"


@pytest.mark.parametrize(
    "text",
    [
        HEADER + "\n{rows}",
        "\ufeff" + HEADER + "\r\n{rows}",
        "# made by a tool\n{rows}",
        "{rows},",
        "{rows},,",
        "{crlf}",
        "{semicolons}",
        "{tabs}",
        "{blanks}",
    ],
)
def test_everyday_layouts(text: str) -> None:
    track(*PUBLIC)
    expected = Path("t.txt").read_text()
    rows = Path("walk/det/det.txt").read_text().strip()
    tail = text.removeprefix("{rows}") if text.startswith("{rows}") else ""
    filled = text.format(
        rows=rows.replace("\n", f"{tail}\n"),
        crlf=rows.replace("\n", "\r\n"),
        semicolons=rows.replace(",", ";"),
        tabs=rows.replace(",", "\t"),
        blanks=rows.replace(",", "  "),
    )
    Path("walk/det/det.txt").write_bytes(filled.encode())
    assert track(*PUBLIC)[0] == 0
    assert Path("t.txt").read_text() == expected


def test_frames_from_0_are_refused_with_the_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    detections(first=0)
    assert track(*PUBLIC) == (1, {})
    assert "where frames count from 0, add 1 to the first column" in capsys.readouterr().err


def test_detections_without_a_seqinfo() -> None:
    Path("walk/seqinfo.ini").unlink()
    code, run = track(*PUBLIC)
    assert (code, run["frames"]) == (0, FRAMES)
    assert "neither seqinfo.ini nor images; 12 frames at 30 FPS are assumed" in run["notes"][0]
    assert "30 FPS" not in track(*PUBLIC, "--frame-rate", "30000/1001")[1]["notes"][0]
    images("walk/img1", FRAMES + 3)
    code, run = track(*PUBLIC)
    assert (code, run["frames"]) == (0, FRAMES + 3)
    assert "has no seqinfo.ini; 15 images at 30 FPS are assumed" in run["notes"][0]


def test_detections_that_end_early() -> None:
    info = Path("walk/seqinfo.ini")
    info.write_text(info.read_text().replace(f"seqLength={FRAMES}", "seqLength=100"))
    assert track(*PUBLIC)[1]["notes"] == [
        "the last detection is in frame 12 of 100; was the file cut off?"
    ]


def test_an_unreadable_image_of_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    images("walk/img1")
    Path("walk/img1/000005.jpg").write_bytes(b"\xff\xd8 no image")
    Path("walk/seqinfo.ini").write_text(Path("walk/seqinfo.ini").read_text() + "imExt=.jpg\n")
    code, run = track(*PUBLIC, "--video", "v.avi")
    assert code == 3
    assert run["frames"] == FRAMES
    assert run["read"]["images"]["left_out"] == {"that cannot be read": 1}
    error = capsys.readouterr().err
    assert "walk: 11 of 12 images; left out: 1 that cannot be read" in error
    assert "000005.jpg: the image is truncated" in error
    assert cv2.VideoCapture("v.avi").get(cv2.CAP_PROP_FRAME_COUNT) == FRAMES
    assert read_mot("t.txt").frames.max() == FRAMES
