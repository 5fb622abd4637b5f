from pathlib import Path

import pytest
from raw_data import read_jde, write_picture

from jdetrt.errors import DataError
from jdetrt.training.convert.datasets import convert


def write_sequence(folder: Path, numbers: range, text: str, idl: str = "annot.idl") -> Path:
    for number in numbers:
        write_picture(folder / "left" / f"image_{number:08d}_0.png", 64, 48)
    (folder / idl).write_text(text)
    return folder


def test_annotated_frames_of_all_but_the_test_sequence(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    write_sequence(
        raw / "bahnhof",
        range(4),
        '"left/image_00000001_0.png": (5, 10, 25, 40):-1, (40, 44, 30, 4):-1, (-5,1,6,3);\n'
        '"left/image_00000002_0.png";\n'
        "\n"
        '"left/image_00000003.png": (1.5, 2, 3.5, 9):0.75.',  # a name without _0; the last line
    )
    plain = raw / "crossing"
    write_picture(plain / "image_00000004_0.png", 64, 48)
    (plain / "crossing-annot.idl").write_text('"image_00000004_0.png": (0, 0, 64, 48)\n')
    line = '"left/image_00000001_0.png": (5, 10, 25, 40):-1;\n'
    write_sequence(raw / "second", range(1, 2), line, "linthescher-annot.idl")
    write_sequence(raw / "seq02-img-left", range(1, 2), line)
    done = convert("ethz", raw, tmp_path / "out")
    images = "ETHZ/train/images"
    assert read_jde(done.listing) == {
        f"{images}/bahnhof/image_00000001_0.png": [
            (-1, 5, 10, 20, 30),
            (-1, 30, 4, 10, 40),  # its corners are the other way round
            (-1, -5, 1, 11, 2),
        ],
        f"{images}/bahnhof/image_00000002_0.png": [],
        f"{images}/bahnhof/image_00000003_0.png": [(-1, 1.5, 2, 2, 7)],
        f"{images}/crossing/image_00000004_0.png": [(-1, 0, 0, 64, 48)],
    }
    assert done.identities == 0


def test_what_is_missing_or_wrong(tmp_path: Path) -> None:
    raw = tmp_path / "raw"

    def refuse(message: str) -> None:
        with pytest.raises(DataError, match=message):
            convert("ethz", raw, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    refuse(r"raw: expected <sequence>/\*\.idl")
    folder = write_sequence(raw / "bahnhof", range(1, 2), "")
    refuse(r"ethz\.train: no images")
    idl = folder / "annot.idl"
    for text, message in [
        ('"left/image_00000009_0.png": (1, 2, 3, 4):-1;', r"idl:1: names left/image_0+9_0\.png"),
        ('"left/image_00000001_0.png": (1, 2, 3', r"idl:1: expected a box .*got '\(1, 2, 3'"),
        ('"left/image_00000001_0.png": (1, 2, 3, 4):-1, (5, 6;', r"got '\(5, 6'"),
        ('"left/image_00000001_0.png": (1, 2, 3, 4) (5, 6, 7, 8);', r"expected a box"),
        ('"left/image_00000001_0.png": (1, 2, 3, 4):-1,', r"expected a box .*got ''"),
        ("<html>", r'idl:1: expected "image"'),
        ('"left/image_000', r'idl:1: expected "image"'),
    ]:
        idl.write_text(text)
        refuse(message)
    idl.write_bytes(b"\xff\xfe\x00")
    refuse("not a text file")
    (folder / "refined.idl").write_text("")
    refuse(r"bahnhof: expected one annotation file, found 2")
