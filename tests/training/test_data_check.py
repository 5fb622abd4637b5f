from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from jdetrt.training.data.check import check

SHARED = Path(__file__).parents[2] / "../shared/data"


def image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.zeros((100, 200, 3), np.uint8))


def text(path: Path, *rows: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows))


def assert_named(faults: tuple[str, ...], path: Path, expected: dict[int, str]) -> None:
    """These lines of the file are named, in order, each with this message and no other."""
    found = [fault.removeprefix(f"{path}:").split(": ", 1) for fault in faults]
    assert [int(line) for line, _ in found] == list(expected)
    for (_, fault), message in zip(found, expected.values(), strict=True):
        assert message in fault


@pytest.fixture
def jde(tmp_path: Path) -> Path:
    image(tmp_path / "images/a.png")
    image(tmp_path / "images/b.png")
    text(tmp_path / "labels_with_ids/a.txt", "0 3 .5 .5 .5 .5", "0 -1 .2 .2 .1 .2")
    text(tmp_path / "labels_with_ids/b.txt", "0 3 1.01 .5 .1 .9")
    return tmp_path


def test_sound_data(jde: Path) -> None:
    report = check(jde, decode=True)
    assert report.faults == ()
    assert (report.images, report.boxes, report.identities) == (2, 3, 1)
    assert (report.unidentified, report.centres_outside) == (1, 1)
    assert report.heights == pytest.approx((20, 50, 90))


def test_every_bad_row_is_named(jde: Path) -> None:
    labels = jde / "labels_with_ids/a.txt"
    text(
        labels,
        "0 3 .5 .5 .1 .1",
        "0 3 .4 .5 .1 .1",
        "1 3 .5 .5 .1 .1",
        "0 4 .5 .5 .1",
        "0 4 .5 .5 .1 x",
        "0 -3 .5 .5 .1 .1",
        "0 5 .5 .5 0 .1",
        "0 6 1.5 .5 .1 .1",
        "0 7 .8 .5 2 .1",
        "0 8 100 .5 .1 .1",
        "0 -1 .3 .3 .1 .1",
        "0 -1 .3 .3 .1 .1",
    )
    report = check(jde)
    expected = {
        2: "id 3 is in this image already (line 1)",
        3: "expected class 0",
        4: "expected 6 columns",
        5: "expected a number, got 'x'",
        6: "expected an id",
        7: "expected w and h above 0",
        8: "the box is completely outside the image",
        9: "reaches more than half an image beyond its edge",
        10: "expected xc as a share of the image",
        12: "the same box as in line 11",
    }
    assert_named(report.faults, labels, expected)
    assert (report.images, report.boxes, report.identities) == (2, 7, 3)


def test_files_that_are_missing_or_broken(jde: Path) -> None:
    (jde / "labels_with_ids/a.txt").unlink()
    (jde / "images/b.png").write_bytes(b"no image")
    text(jde / "labels_with_ids/sub/orphan.txt", "0 1 .5 .5 .1 .1")
    image(jde / "images/a.jpg")
    report = check(jde)
    assert len(report.faults) == 4
    for part, fault in zip(
        (
            "a.txt: the label file is missing",
            "a.png has the labels of",  # which a.jpg has, although they are missing
            "b.png: not a",
            "orphan.txt: has no image",
        ),
        report.faults,
        strict=True,
    ):
        assert part in fault
    assert (report.images, report.boxes, report.heights) == (3, 1, None)


def test_damage_behind_the_header_is_seen_by_decoding(jde: Path) -> None:
    path = jde / "images/a.png"
    path.write_bytes(path.read_bytes()[:60])
    assert check(jde).faults == ()
    (fault,) = check(jde, decode=True).faults
    assert "a.png: " in fault
    assert "truncated (60 bytes)" in fault


def test_a_list(jde: Path) -> None:
    listing = jde / "some.train"
    text(listing, "images/a.png", "images/gone.png", "images/a.png", "a.png")
    image(jde / "a.png")
    gone, twice, nowhere = check(listing).faults
    assert gone == f"{listing}:2: {jde}/images/gone.png does not exist; is the root right?"
    assert twice.startswith(f"{listing}:3: {jde}/images/a.png has the labels of {jde}/images/a.png")
    assert "expected a folder named 'images'" in nowhere
    assert len(check(listing, root=jde / "images").faults) == 3  # a.png is there, without labels


@pytest.fixture
def mot(tmp_path: Path) -> Path:
    for frame in (1, 2):
        image(tmp_path / f"s/img1/{frame:06d}.png")
    text(tmp_path / "s/gt/gt.txt", "1,1,10,20,30,40,1,1,1", "2,1,11,20,30,44,1,1,1")
    size = "imWidth=200\nimHeight=100\n"
    text(tmp_path / "s/seqinfo.ini", f"[Sequence]\nseqLength=2\nimExt=.png\n{size}")
    return tmp_path / "s"


def test_a_sound_sequence(mot: Path) -> None:
    for path in (mot, mot.parent, mot.parent / "*"):
        report = check(path, decode=True)
        assert report.faults == ()
        assert (report.images, report.boxes, report.identities) == (2, 2, 1)
        assert report.heights == (40, 42, 44)


def test_every_bad_row_of_a_sequence_is_named(mot: Path) -> None:
    text(
        mot / "gt/gt.txt",
        "1,1,10,20,30,40,1,1,1",
        "1,1,50,20,30,40,1,1,1",
        "1,2,10,20,0,40,1,1,1",
        "1,2,10,20,30,40,1,1",
        "1,2,10,20,30,inf,1,1,1",
        "1,2,10,20,30,high,1,1,1",
        "9,2,10,20,30,40,1,1,1",
        "1,-4,60,20,30,40,1,1,1",
        "1,2,60,30,30,40,1,0,1",
        "1,2,200,30,30,40,1,1,1",
        "2,2,30,30,300,40,1,1,1",
        "2,3,10,20,30,40,1,1,1",
        "2,-1,10,20,30,40,1,1,1",
        "2,4,900,20,30,40,0,3,1",
    )
    expected = {
        2: "id 1 is in this image already (line 1)",
        3: "expected a size above 0 in column 5",
        4: "expected 9 columns as above",
        5: "expected a finite number in column 6",
        6: "expected a number in column 6",
        7: "expected a frame with an image, got 9",
        8: "expected an id from 0, or -1 (unknown), got -4",
        9: "expected a class of 1 (a person) to 13, got 0",
        10: "outside the image",
        11: "more than half an image",
        13: "the same box as in line 12",
    }
    report = check(mot)
    assert_named(report.faults, mot / "gt/gt.txt", expected)


@pytest.mark.parametrize(
    ("file", "content", "fault"),
    [
        ("gt/gt.txt", "", "gt.txt: has no rows"),
        ("seqinfo.ini", "[Sequence]\nseqLength=3\nimExt=.png", "states 3 images, there are 2"),
        ("seqinfo.ini", "[Sequence]\nseqLength=no", "expected a number above 0"),
        ("img1/000002.png", "no image", "000002.png: not a"),
        ("img1/last.png", "", "last.png: expected an image named by the number of its frame"),
        (
            "seqinfo.ini",
            "[Sequence]\nseqLength=2\nimExt=.png\nimWidth=400\nimHeight=200",
            "the image is 200x100",
        ),
    ],
)
def test_a_sequence_with_a_bad_file(mot: Path, file: str, content: str, fault: str) -> None:
    (mot / file).write_text(content)
    faults = check(mot).faults
    assert len(faults) == (2 if "200x100" in fault else 1)
    assert all(fault in one for one in faults)


def test_nothing_to_check(tmp_path: Path) -> None:
    report = check(tmp_path / "gone")
    assert (report.images, len(report.faults)) == (0, 1)
    assert "gone: not found" in report.faults[0]


def test_real_data_is_sound() -> None:
    folder = SHARED / "detection/citypersons"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    report = check(folder)
    assert (report.images, report.boxes, report.faults) == (135, 2193, ())
