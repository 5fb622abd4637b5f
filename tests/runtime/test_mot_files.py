from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jdetrt.errors import DataError
from jdetrt.runtime.mot.files import kitti_lines, mot_lines, read_mot
from jdetrt.runtime.mot.public_detections import every_frame, read_detections
from jdetrt.runtime.sources.seqinfo import read_seqinfo
from jdetrt.types import Tracks

SHARED = Path(__file__).parents[2] / "../shared/data"
GOOD = "1,7,10,20,30,40,0.5,1,0.25\n"


@pytest.fixture
def text(tmp_path: Path) -> Path:
    return tmp_path / "gt.txt"


def test_ground_truth_of_nine_columns(text: Path) -> None:
    text.write_text("2,7,10.5,-20,30,40,1,12,0.25\n\n1, 8, 1, 2, 3, 4, 0, 1, 1\r\n")
    rows = read_mot(text)
    assert len(rows) == 2
    assert rows.frames.tolist() == [2, 1]
    assert rows.ids.tolist() == [7, 8]
    assert rows.boxes.tolist() == [[10.5, -20, 30, 40], [1, 2, 3, 4]]
    assert rows.scores.tolist() == [1, 0]
    assert rows.classes is not None
    assert rows.classes.tolist() == [12, 1]
    assert rows.visibility is not None
    assert rows.visibility.tolist() == [0.25, 1]
    assert rows.lines.tolist() == [1, 3]
    assert rows.frames.dtype == rows.ids.dtype == rows.classes.dtype == np.int64
    assert rows.boxes.dtype == rows.scores.dtype == np.float64


@pytest.mark.parametrize(
    ("row", "score", "has_class"),
    [
        ("1,-1,10,20,30,40", 1.0, False),
        ("1,-1,10,20,30,40,0.5", 0.5, False),
        ("1,-1,10,20,30,40,0.5,3", 0.5, True),
        ("1,-1,10,20,30,40,0.5,4.4852,5.5016,0", 0.5, False),  # world coordinates
        ("1 -1 10 20 30 40 0.5", 0.5, False),
        ("1.0\t-1\t10\t20\t30\t40\t5e-1", 0.5, False),
        ("\ufeff1,-1,10,20,30,40,0.5", 0.5, False),
    ],
)
def test_columns_and_separators(text: Path, row: str, score: float, has_class: bool) -> None:
    text.write_text(row, encoding="utf-8")
    rows = read_mot(text)
    assert rows.ids.tolist() == [-1]
    assert rows.boxes.tolist() == [[10, 20, 30, 40]]
    assert rows.scores.tolist() == [score]
    assert (rows.classes is not None) is has_class


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1,7,10,20,30", "expected 9 columns as above, got 5"),
        ("1,7,10,20,30,40,1", "expected 9 columns as above, got 7"),
        ("1,7,ten,20,30,40,1,1,1", r"expected a number in column 3 \(left\), got 'ten'"),
        ("1,7,1_0,20,30,40,1,1,1", r"expected a number in column 3 \(left\), got '1_0'"),
        ("1,7,10,,30,40,1,1,1", r"expected a number in column 4 \(top\), got ''"),
        ("1,7,10,20,nan,40,1,1,1", r"expected a finite number in column 5 \(width\), got nan"),
        ("1,7,10,inf,30,40,1,1,1", r"expected a finite number in column 4 \(top\), got inf"),
        (
            "1,7,10,20,30,40,nan,1,1",
            r"expected a finite number in column 7 \(confidence\), got nan",
        ),
        ("1,7,10,20,0,40,1,1,1", r"expected a size above 0 in column 5 \(width\), got 0"),
        ("1,7,10,20,30,-4,1,1,1", r"expected a size above 0 in column 6 \(height\), got -4"),
        ("0,7,10,20,30,40,1,1,1", r"expected a frame number from 1 in column 1 \(frame\), got 0"),
        ("1.5,7,10,20,30,40,1,1,1", r"expected a whole number in column 1 \(frame\), got 1.5"),
        ("1,7.5,10,20,30,40,1,1,1", r"expected a whole number in column 2 \(id\), got 7.5"),
        ("1e300,7,10,20,30,40,1,1,1", r"expected a whole number in column 1 \(frame\)"),
        ("1,7,10,20,30,40,1,0.5,1", r"expected a whole number in column 8 \(class\), got 0.5"),
        ("1,7,10,20,1e9,40,1,1,1", r"expected at most 1,000,000 pixels in column 5 \(width\)"),
    ],
)
def test_a_malformed_row_is_named_by_its_line(text: Path, row: str, message: str) -> None:
    text.write_text(GOOD + "\n" + row + "\n" + GOOD)
    with pytest.raises(DataError, match=f"gt.txt:3: {message}"):
        read_mot(text)


def test_faults_can_be_collected(text: Path) -> None:
    bad = ["1,2", "1,x,10,20,30,40,1,1,1", "nan,1,10,20,0,40,1,1,1", "1,1,1,1,inf,-1,1,1,1"]
    text.write_text("".join(f"{GOOD}{row}\n" for row in [*bad, "1,8,10,20,0,0,0.5,1,1"]))
    faults: list[str] = []
    rows = read_mot(text, on_fault=faults.append)
    assert rows.lines.tolist() == [1, 3, 5, 7, 9]
    assert rows.ids.tolist() == [7] * 5
    assert sorted(fault.split(":")[1] for fault in faults) == ["10", "2", "4", "6", "8"]
    with pytest.raises(DataError) as refused:
        read_mot(text)
    assert str(refused.value) == faults[0]


@pytest.mark.parametrize("columns", [1, 5, 11])
def test_the_number_of_columns(text: Path, columns: int) -> None:
    text.write_text(",".join(["1"] * columns))
    with pytest.raises(DataError, match=f"gt.txt:1: expected 6 to 10 columns, got {columns}"):
        read_mot(text)


def test_files_that_are_no_mot_text(text: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gt.txt: cannot be read \(No such file"):
        read_mot(text)
    with pytest.raises(DataError, match=r"cannot be read \(Is a directory"):
        read_mot(tmp_path)
    text.write_bytes(bytes(range(128, 256)))
    with pytest.raises(DataError, match=r"gt.txt:1: not a text file"):
        read_mot(text)
    text.write_text("\n \n")
    with pytest.raises(DataError, match="is empty"):
        read_mot(text)
    assert len(read_mot(text, allow_empty=True)) == 0


def test_a_huge_file_without_lines_is_not_read_whole(text: Path) -> None:
    with text.open("wb") as file:
        file.truncate(1 << 40)  # sparse; a terabyte
    with pytest.raises(DataError, match=r"gt.txt:1: not a MOT text file"):
        read_mot(text)


def test_detections_by_frame(text: Path) -> None:
    text.write_text("3,-1,10,20,30,40,0.5\n1,-1,1,2,3,4,0.25\n3,-1,50,60,7,8,0.75\n")
    seen = read_detections(text, length=4)
    assert list(seen) == [1, 3]
    assert [len(found) for found in every_frame(seen, 4)] == [1, 0, 2, 0]
    assert seen[3].boxes.tolist() == [[10, 20, 40, 60], [50, 60, 57, 68]]
    assert seen[3].scores.tolist() == [0.5, 0.75]
    assert seen[3].embeddings is None
    assert list(read_detections(text)) == [1, 3]


def test_detections_take_no_room_for_frames_without_any(text: Path) -> None:
    text.write_text("999999,-1,10,20,30,40,0.5\n")
    assert list(read_detections(text)) == [999_999]
    assert list(read_detections(text, length=10**12)) == [999_999]


def test_a_detection_after_the_end_is_refused(text: Path) -> None:
    text.write_text("1,-1,10,20,30,40,0.5\n9,-1,1,2,3,4,0.25\n")
    with pytest.raises(DataError, match=r"gt.txt:2: expected a frame number up to 4, got 9"):
        read_detections(text, length=4)
    text.write_text("99999999999,-1,10,20,30,40,0.5\n")
    with pytest.raises(DataError, match="up to 1000000, got 99999999999"):
        read_detections(text)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.0, 0.3, 1.0], [0.0, 0.3, 1.0]),
        ([0.3, 1.0005], [0.3, 1.0]),
        ([-1, -1], [1.0, 1.0]),
        ([-0.5, 0, 2], [1 / (1 + np.exp(0.5)), 0.5, 1 / (1 + np.exp(-2))]),
        ([-2000, 2000], [0.0, 1.0]),
    ],
)
def test_scores_end_between_0_and_1(text: Path, scores: list[float], expected: list[float]) -> None:
    text.write_text("".join(f"1,-1,10,20,30,40,{score}\n" for score in scores))
    np.testing.assert_allclose(read_detections(text)[1].scores, expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["MOT17-02-FRCNN", "MOT17-05-FRCNN", "TUD-Campus"])
def test_public_data(name: str) -> None:
    folder = SHARED / "public-detections" / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    info = read_seqinfo(folder)
    raw = np.array(
        [line.split(",")[:7] for line in (folder / "det/det.txt").read_text().splitlines()], float
    )
    seen = read_detections(folder / "det/det.txt", length=info.length)
    assert list(seen) == sorted(set(raw[:, 0]))
    for frame in (1, info.length // 2, info.length):
        rows = raw[raw[:, 0] == frame]
        corners = np.hstack([rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6]])
        np.testing.assert_allclose(seen[frame].boxes, corners, rtol=1e-6)
        np.testing.assert_allclose(seen[frame].scores, rows[:, 6], rtol=1e-6)
    assert (read_mot(folder / "gt/gt.txt").classes is None) is (name == "TUD-Campus")


@pytest.mark.parametrize("read", [read_mot, read_seqinfo])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path, read: Callable[[Path], Any]) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match=r"pipe: cannot be read \(not a regular file but a pipe\)"):
        read(tmp_path / "pipe")
    with pytest.raises(DataError, match="not a regular file"):
        read(Path("/dev/zero"))


def _tracks(*rows: tuple[int, float, float, float, float]) -> Tracks:
    return Tracks(
        np.array([row[0] for row in rows], np.int64),
        np.array([row[1:] for row in rows], np.float32).reshape(-1, 4),
        np.full(len(rows), 0.75, np.float32),
    )


def test_lines_of_a_frame_without_tracks() -> None:
    assert mot_lines(1, _tracks()) == kitti_lines(1, _tracks()) == ""


def test_kitti_has_its_seventeen_columns_and_a_score() -> None:
    first, second = kitti_lines(5, _tracks((1, 0, 0, 10, 20), (2, 5, 5, 9, 9))).splitlines()
    assert len(first.split()) == 18
    assert first.split()[:3] == ["4", "1", "Pedestrian"]
    assert second.split()[6:10] == ["5.000", "5.000", "9.000", "9.000"]


COORDINATES = st.floats(-500, 4000, width=32)
SIZES = st.floats(1, 2000, width=32)


@given(rows=st.lists(st.tuples(st.integers(1, 10**6), COORDINATES, COORDINATES, SIZES, SIZES)))
def test_what_is_written_is_read_back_to_a_thousandth(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[int, float, float, float, float]],
) -> None:
    tracks = _tracks(*((i, x, y, x + w, y + h) for i, x, y, w, h in rows))
    path = tmp_path_factory.getbasetemp() / "round-trip.txt"
    path.write_text(mot_lines(12, tracks))
    back = read_mot(path, allow_empty=True)
    assert back.frames.tolist() == [12] * len(rows)
    assert back.ids.tolist() == tracks.ids.tolist()
    corners = back.boxes.copy()
    corners[:, 2:] += corners[:, :2]
    np.testing.assert_allclose(corners, tracks.boxes, rtol=0, atol=1.001e-3)
