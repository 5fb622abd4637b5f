import json
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from raw_data import jpeg, read_jde, write_picture
from scipy.io import savemat

from jdetrt.errors import DataError
from jdetrt.training.convert.datasets import convert

Entry = tuple[int, list[float], int, list[float]]  # id (from 1), pos, occl, posv
NOT_HIDDEN = [0.0, 0.0, 0.0, 0.0]

# Objects 1 and 4 are persons, 2 are people, 3 is doubtful.
LABELS = ["person", "people", "person?", "person"]
TALL, SMALL = [10.0, 20.0, 25.0, 50.0], [100.0, 60.0, 8.0, 20.0]
FRAMES: list[list[Entry]] = [
    [],
    [(1, TALL, 0, NOT_HIDDEN)],
    [(1, [10, 20, 25, 49.0], 0, NOT_HIDDEN)],  # too small
    [(2, [0, 0, 100, 100], 0, NOT_HIDDEN), (3, TALL, 0, NOT_HIDDEN)],  # nobody for sure
    [(4, SMALL, 0, NOT_HIDDEN), (1, TALL, 1, [10, 20, 25, 32.5]), (2, TALL, 0, NOT_HIDDEN)],
    [(1, TALL, 1, [10, 20, 25, 32.0])],  # less than 65 % to be seen
    [(1, TALL, 1, TALL)],  # nothing to be seen
    [(4, TALL, 1, NOT_HIDDEN), (1, [-5, 60, 30, 80], 1, [0, 60, 5, 5])],
]
EXPECTED: dict[int, list[tuple[int, float, float, float, float]]] = {
    1: [(0, 10, 20, 25, 50)],
    4: [(1, 100, 60, 8, 20), (0, 10, 20, 25, 50)],
    7: [(1, 10, 20, 25, 50), (0, -5, 60, 30, 80)],
}


def cell(values: list[Any]) -> Any:
    array = np.empty((1, len(values)), object)
    for i, value in enumerate(values):
        array[0, i] = value
    return array


def write_vbb(
    path: Path, frames: list[list[Entry]] = FRAMES, labels: list[str] = LABELS, pos: str = "pos"
) -> Path:
    lists = []
    for entries in frames:
        objects = np.zeros(
            (1, len(entries)),
            [(name, object) for name in ("id", pos, "occl", "lock", "posv")],
        )
        for i, (identity, box, occluded, visible) in enumerate(entries):
            objects[0, i] = (identity, np.array([box]), occluded, 0, np.array([visible]))
        lists.append(objects if entries else np.zeros((0, 0)))
    path.parent.mkdir(parents=True, exist_ok=True)
    video = {
        "nFrame": len(frames),
        "objLists": cell(lists),
        "maxObj": len(labels),
        "objInit": np.ones((1, len(labels))),
        "objLbl": cell(list(labels)),
    }
    with path.open("wb") as file:
        savemat(file, {"A": video})
    return path


def write_seq(path: Path, count: int = len(FRAMES)) -> list[bytes]:
    frames = [jpeg(160, 120, grey=20 * number) for number in range(count)]
    header = struct.pack("<I", 0xFEED) + "Norpix seq".encode("utf-16-le") + bytes(4)
    header += struct.pack("<iI", 3, 1024) + bytes(512)
    header += struct.pack("<9I", 160, 120, 24, 8, 57600, 102, count, 0, 57600)
    data = header.ljust(1024, b"\0")
    for frame in frames:
        data += struct.pack("<I", len(frame) + 4) + frame + bytes(16)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return frames


def expected(
    video: str, split: str, suffix: str
) -> dict[str, list[tuple[int, float, float, float, float]]]:
    return {
        f"Caltech/{split}/images/{video}_{number}{suffix}": rows
        for number, rows in EXPECTED.items()
    }


def test_videos(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    write_vbb(raw / "annotations" / "set00" / "V003.vbb")
    frames = write_seq(raw / "set00" / "V003.seq")
    write_vbb(raw / "annotations" / "set06" / "V000.vbb")  # of the other split: no video needed
    done = convert("caltech", raw, tmp_path / "out")
    assert read_jde(done.listing) == expected("set00_V003", "train", ".jpg")
    assert done.identities == 2
    fourth = tmp_path / "out" / "Caltech" / "train" / "images" / "set00_V003_4.jpg"
    assert fourth.read_bytes() == frames[4]


def test_two_videos_share_nobody(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for video in ("V000", "V001"):
        one: list[list[Entry]] = [[(1, TALL, 0, NOT_HIDDEN)]]
        write_vbb(raw / "annotations" / "set10" / f"{video}.vbb", one, ["person"])
        write_seq(raw / "set10" / f"{video}.seq", 1)
    done = convert("caltech", raw, tmp_path / "out", split="val")
    assert read_jde(done.listing) == {
        "Caltech/val/images/set10_V000_0.jpg": [(0, 10, 20, 25, 50)],
        "Caltech/val/images/set10_V001_0.jpg": [(1, 10, 20, 25, 50)],
    }


@pytest.mark.parametrize(
    "name", ["images/set01_V002_{}.png", "set01/V002/I{:05d}.jpg", "set01/V002/{}.png"]
)
@pytest.mark.parametrize("form", ["vbb", "json"])
def test_extracted_frames(tmp_path: Path, name: str, form: str) -> None:
    raw = tmp_path / "raw"
    for number in range(len(FRAMES)):
        write_picture(raw / name.format(number), 160, 120)
    write_picture(raw / "images" / "other.png")
    if form == "vbb":
        write_vbb(raw / "annotations" / "set01" / "V002.vbb")
    else:
        objects = {
            str(number): [
                {"id": i - 1, "lbl": LABELS[i - 1], "pos": pos, "occl": occl, "posv": posv}
                for i, pos, occl, posv in entries
            ]
            for number, entries in enumerate(FRAMES)
            if entries
        }
        text = json.dumps({"set01": {"V002": {"nFrame": len(FRAMES), "frames": objects}}})
        (raw / "annotations.json").write_text(text)
    done = convert("caltech", raw, tmp_path / "out")
    assert read_jde(done.listing) == expected("set01_V002", "train", name[-4:])
    placed = cv2.imread(str(tmp_path / "out/Caltech/train/images/set01_V002_4") + name[-4:])
    assert placed is not None


def test_what_is_missing_or_wrong(tmp_path: Path) -> None:
    raw = tmp_path / "raw"

    def refuse(message: str, split: str = "train") -> None:
        with pytest.raises(DataError, match=message):
            convert("caltech", raw, tmp_path / "out", split=split)
        assert not (tmp_path / "out").exists()

    refuse(r"raw: expected annotations of set00 to set05, as annotations/set00/V000\.vbb")
    vbb = write_vbb(raw / "annotations" / "set00" / "V000.vbb")
    refuse("expected annotations of set06 to set10", "val")
    refuse(r"raw: set00 V000 has people in frame 1 \(from 0\), and no such frame")
    write_seq(raw / "set00" / "V000.seq", 4)  # shorter than its annotation
    refuse(r"set00 V000 has people in frame 4")
    write_seq(raw / "set00" / "V000.seq")
    data = (raw / "set00" / "V000.seq").read_bytes()
    (raw / "set00" / "V000.seq").write_bytes(data[: len(data) // 2])
    refuse(r"V000\.seq: frame [1-8] of 8 is missing")
    vbb.write_bytes(vbb.read_bytes()[:900])
    refuse(r"V000\.vbb: not a MATLAB file")
    write_vbb(vbb, pos="position")
    refuse(r"V000\.vbb: expected A with objLbl and objLists .*'pos'")
    write_vbb(vbb, [[(9, TALL, 0, NOT_HIDDEN)]])
    refuse(r"V000\.vbb: expected A with .*IndexError")
    write_vbb(vbb, [[(1, [1, 2, 3], 0, NOT_HIDDEN)], []])
    refuse(r"V000\.vbb: expected A with .*4 columns, got 3")
    for text in (
        "",
        "[]",
        '{"set00": {"V000": {}}}',
        '{"set00": {"V000": {"frames": {"1": [{}]}}}}',
    ):
        (raw / "annotations.json").write_text(text)
        refuse(r"annotations\.json: expected sets, videos and frames|raw: expected annotations")
