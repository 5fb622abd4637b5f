from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jdetrt.errors import DataError
from jdetrt.training.data.mot_labels import frame_images, frames

SHARED = Path(__file__).parents[2] / "../shared/data/sequences"

#           frame id left top w h mark class visibility
ROWS = """\
2,5,10,20,30,40,1,1,0.5
1,5,11,21,30,40,1,1,1
1,3,1,2,3,4,1,1,0.25
1,9,0,0,5,5,0,1,1
1,20,0,0,6,6,0,7,1
1,21,0,0,7,7,1,12,1
1,22,0,0,8,8,1,3,1
1,23,0,0,9,9,0,13,1
1,-1,50,0,10,10,1,1,1
4,8,10,20,30,40,1,1,0.5
"""


@pytest.fixture
def sequence(tmp_path: Path) -> Path:
    (tmp_path / "img1").mkdir()
    (tmp_path / "gt").mkdir()
    for name in ("000010.jpg", "000002.jpg", "000001.jpg", "4.JPG", ".000003.jpg"):
        (tmp_path / "img1" / name).touch()
    (tmp_path / "gt" / "gt.txt").write_text(ROWS)
    return tmp_path


def test_people_and_what_does_not_count(sequence: Path) -> None:
    found = frames(sequence)
    assert [path.name for path, _ in found] == ["000001.jpg", "000002.jpg", "4.JPG", "000010.jpg"]
    first, second, third, last = (labels for _, labels in found)
    assert first.ids.tolist() == [5, 3, -1]
    assert first.boxes.tolist() == [[11, 21, 41, 61], [1, 2, 4, 6], [50, 0, 60, 10]]
    assert first.ignore.tolist() == [[0, 0, n, n] for n in (5, 6, 7, 9)]  # not the car, class 3
    assert (second.ids.tolist(), second.boxes.tolist()) == ([5], [[10, 20, 40, 60]])
    assert third.ids.tolist() == [8]
    assert last.boxes.shape == last.ignore.shape == (0, 4)
    assert first.boxes.dtype == np.float32
    assert first.ids.dtype == np.int64
    assert not first.relative


def test_people_who_are_hardly_visible(sequence: Path) -> None:
    first = frames(sequence, min_visibility=0.5)[0][1]
    assert first.ids.tolist() == [5, -1]
    assert first.ignore.tolist()[0] == [1, 2, 4, 6]
    assert frames(sequence, min_visibility=0.5)[1][1].ids.tolist() == [5]  # just visible enough


@pytest.mark.parametrize("tail", ["", ",-1,-1,-1"])
def test_without_classes_marked_rows_are_people(sequence: Path, tail: str) -> None:
    (sequence / "gt/gt.txt").write_text(f"1,5,1,2,3,4,1{tail}\n1,6,5,5,5,5,0{tail}\n")
    labels = frames(sequence, min_visibility=0.9)[0][1]
    assert labels.ids.tolist() == [5]
    assert labels.ignore.tolist() == [[5, 5, 10, 10]]


def test_seqinfo_says_where_and_how_many(sequence: Path) -> None:
    (sequence / "img1").rename(sequence / "images")
    info = sequence / "seqinfo.ini"
    info.write_text("[Sequence]\nimDir=images\nseqLength=4\nimExt=.jpg\n")
    assert list(frame_images(sequence)) == [1, 2, 4]
    info.write_text("[Sequence]\nimDir=images\nseqLength=2\n")
    with pytest.raises(DataError, match=r"gt.txt:10: frame 4 has no image; there are 2, 1 to 2"):
        frames(sequence)


def test_pictures_are_named_by_their_frame(sequence: Path) -> None:
    (sequence / "img1/000000.jpg").touch()
    with pytest.raises(DataError, match=r"000000.jpg: .*the number of its frame, from 1"):
        frames(sequence)
    (sequence / "img1/000000.jpg").rename(sequence / "img1/frame_7.jpg")
    with pytest.raises(DataError, match=r"frame_7.jpg: expected an image named by"):
        frames(sequence)


def test_a_sequence_without_pictures_or_rows(sequence: Path) -> None:
    (sequence / "gt/gt.txt").write_text("")
    with pytest.raises(DataError, match="is empty"):
        frames(sequence)
    for path in (sequence / "img1").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="img1: no images"):
        frames(sequence)
    (sequence / "img1").rmdir()
    with pytest.raises(DataError, match=r"img1: cannot be read \(No such file"):
        frames(sequence)


def test_real_ground_truth_against_a_plain_loop() -> None:
    folder = SHARED / "MOT17-09"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    rows = [
        list(map(float, line.split(",")))
        for line in (folder / "gt/gt.txt").read_text().splitlines()
    ]
    found = frames(folder, min_visibility=0.3)
    assert len(found) == 525
    assert sum(len(labels.ids) + len(labels.ignore) for _, labels in found) == (
        5325 + 514 + 1575 + 1947  # people, and the classes 7, 8 and 12
    )
    for frame in (1, 200, 525):
        path, labels = found[frame - 1]
        assert int(path.stem) == frame
        people = [r for r in rows if r[0] == frame and r[6] and r[7] == 1 and r[8] >= 0.3]
        assert labels.ids.tolist() == [r[1] for r in people]
        expected = [[r[2], r[3], r[2] + r[4], r[3] + r[5]] for r in people]
        np.testing.assert_allclose(labels.boxes, expected, rtol=1e-6)
