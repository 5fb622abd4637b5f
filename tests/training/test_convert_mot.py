from pathlib import Path

import pytest
from raw_data import read_jde, write_picture

from jdetrt.errors import DataError
from jdetrt.training.convert.datasets import convert


def write_sequence(folder: Path, rows: list[str], length: int = 2) -> Path:
    for frame in range(1, length + 1):
        write_picture(folder / "img1" / f"{frame:06d}.jpg", 200, 100)
    (folder / "gt").mkdir()
    (folder / "gt" / "gt.txt").write_text("".join(f"{row}\n" for row in rows))
    (folder / "seqinfo.ini").write_text(
        f"[Sequence]\nname={folder.name}\nimDir=img1\nframeRate=30\nseqLength={length}\n"
        "imWidth=200\nimHeight=100\nimExt=.jpg\n"
    )
    return folder


ROWS = [
    "1,5,10,20,30,40,1,1,0.5",
    "1,2,-20,60,60,80,1,1,0",  # reaches outside, and is not to be seen: counts all the same
    "1,3,0,0,10,10,0,1,1",  # does not count
    "1,4,0,0,10,10,1,7,1",  # a static person
    "2,2,0,0,10,20,1,1,1",
    "2,9,1,1,10,10,1,12,1",  # a reflection
]


def test_mot17_takes_one_copy_of_each_sequence(tmp_path: Path) -> None:
    for detector in ("DPM", "FRCNN", "SDP"):
        write_sequence(tmp_path / "raw" / "train" / f"MOT17-02-{detector}", ROWS)
    for detector in ("DPM", "FRCNN"):
        write_sequence(tmp_path / "raw" / "train" / f"MOT17-04-{detector}", ROWS[:1], length=3)
    write_sequence(tmp_path / "raw" / "test" / "MOT17-01-SDP", ROWS)
    done = convert("mot17", tmp_path / "raw", tmp_path / "out")
    sdp = "MOT17/train/images/MOT17-02-SDP/img1/"
    frcnn = "MOT17/train/images/MOT17-04-FRCNN/img1/"
    assert read_jde(done.listing) == {
        f"{sdp}000001.jpg": [(0, 10, 20, 30, 40), (1, -20, 60, 60, 80)],
        f"{sdp}000002.jpg": [(1, 0, 0, 10, 20)],
        f"{frcnn}000001.jpg": [(2, 10, 20, 30, 40)],  # 5 of another sequence is another person
        f"{frcnn}000002.jpg": [],
        f"{frcnn}000003.jpg": [],
    }
    assert done.listing == tmp_path / "out" / "mot17.train"
    assert (done.images, done.boxes, done.identities) == (5, 4, 3)


def test_mot16(tmp_path: Path) -> None:
    write_sequence(tmp_path / "raw" / "train" / "MOT16-09", ROWS)
    done = convert("mot16", tmp_path / "raw", tmp_path / "out")
    rows = read_jde(done.listing)
    assert list(rows) == [
        "MOT16/train/images/MOT16-09/img1/000001.jpg",
        "MOT16/train/images/MOT16-09/img1/000002.jpg",
    ]
    assert rows["MOT16/train/images/MOT16-09/img1/000002.jpg"] == [(1, 0, 0, 10, 20)]


def test_what_is_missing_or_wrong(tmp_path: Path) -> None:
    raw = tmp_path / "raw"

    def refuse(message: str) -> None:
        with pytest.raises(DataError, match=message):
            convert("mot17", raw, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    refuse(r"raw: expected the sequences as train/MOT17-00-\*")
    folder = write_sequence(raw / "train" / "MOT17-02-SDP", ROWS)
    truth = folder / "gt" / "gt.txt"
    truth.write_text("3,1,0,0,10,20,1,1,1\n")
    refuse(r"gt\.txt:1: expected a frame up to 2 \(seqinfo\.ini\), got 3")
    truth.write_text("1,1,0,0,10,20,1\n")
    refuse(r"gt\.txt: expected 8 or 9 columns")
    truth.write_text("1,1,0,0,10,20,1,1,1\n1,1,0,0,1")
    refuse(r"gt\.txt:2: expected 9 columns")
    truth.write_text("")
    refuse(r"gt\.txt: is empty, expected rows")
    truth.unlink()
    refuse(r"gt\.txt: cannot be read")
    truth.write_text("1,1,0,0,10,20,1,1,1\n")
    (folder / "img1" / "000002.jpg").unlink()
    refuse(r"000002\.jpg: cannot be read .*the data set's file again")
    folder.rename(folder.with_name("MOT17-02-ACF"))
    refuse(r"of MOT17-02 there is only ACF; expected a copy with SDP, FRCNN or DPM")
