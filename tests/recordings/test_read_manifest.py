"""Manifests: forms, names, ground truth, and rows that are wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jdetrt.errors import DataError
from jdetrt.recordings.manifest import read_manifest


def write(folder: Path, text: str, name: str = "videos.txt") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_three_forms_say_the_same(tmp_path: Path) -> None:
    rows = [
        {"source": "day/gate.mp4", "name": "gate", "truth": "truth/gate/gt/gt.txt"},
        {"source": "/far/yard.avi", "name": "yard"},
    ]
    lines = write(tmp_path, "\n".join(map(json.dumps, rows)) + "\n", "videos.jsonl")
    table = write(
        tmp_path,
        "source, name, truth\nday/gate.mp4,gate,truth/gate\n/far/yard.avi,yard,\n\n",
        "videos.csv",
    )
    text = write(tmp_path, "# two\n\nday/gate.mp4 \r\n/far/yard.avi\n")
    expected = [
        ("gate", f"{tmp_path}/day/gate.mp4", tmp_path / "truth" / "gate"),
        ("yard", "/far/yard.avi", None),
    ]
    for path in (lines, table):
        read = read_manifest(path).recordings
        assert [(one.name, one.source, one.truth) for one in read] == expected
    read = read_manifest(text).recordings
    assert [(one.name, one.source) for one in read] == [row[:2] for row in expected]
    assert [one.line for one in read] == [3, 4]


def test_rows_that_are_listed_twice_are_counted(tmp_path: Path) -> None:
    manifest = read_manifest(write(tmp_path, "a.mp4\nb.mp4\n./a.mp4\nx/../b.mp4\na.mp4\n"))
    assert [one.name for one in manifest.recordings] == ["a", "b"]
    assert manifest.account.taken == 2
    assert manifest.account.by_design == {"listed twice": 3}


def test_same_file_names_in_several_folders(tmp_path: Path) -> None:
    manifest = read_manifest(write(tmp_path, "mon/gate.mp4\ntue/gate.mp4\ntue/yard.mp4\n"))
    assert [one.name for one in manifest.recordings] == ["mon-gate", "tue-gate", "yard"]
    manifest = read_manifest(write(tmp_path, "gate.mp4\ngate.avi\n"))
    assert [one.name for one in manifest.recordings] == ["gate.mp4", "gate.avi"]


def test_name_that_is_given_is_not_taken_by_another(tmp_path: Path) -> None:
    rows = '{"source": "b.mp4", "name": "a"}\n{"source": "day/a.mp4"}\n'
    manifest = read_manifest(write(tmp_path, rows))
    assert [one.name for one in manifest.recordings] == ["a", "day-a"]


def test_folders_keep_what_looks_like_a_suffix(tmp_path: Path) -> None:
    (tmp_path / "cam.1").mkdir()
    assert read_manifest(write(tmp_path, "cam.1\n")).recordings[0].name == "cam.1"


def test_a_sequence_brings_its_own_ground_truth(clips: Path, videos: Path) -> None:
    assert read_manifest(videos).recordings[0].truth == clips / "clip0"


@pytest.mark.parametrize(
    ("text", "name", "place"),
    [
        ("", "videos.txt", "lists no recording"),
        ("# nothing\n", "videos.txt", "lists no recording"),
        ("a.mp4\nrtsp://user:secret@host/stream\n", "videos.txt", ":2: rtsp://.*stream"),
        ("a.mp4\ncamera:0\n", "videos.txt", ":2: camera:0"),
        ('{"source": "a.mp4"}\n{"source": 3}\n', "videos.txt", ":2: .*source"),
        ('{"source": "a.mp4", "fps": 3}\n', "videos.txt", ":1: .*fps"),
        ('{"source": "a.mp4"\n', "videos.txt", ":1: "),
        ('{"source": "a.mp4"}\nb.mp4\n', "videos.txt", ":2: "),
        ('{"source": "a.mp4", "name": "../a"}\n', "videos.txt", ":1: the name"),
        ('{"source": "a.mp4", "name": ""}\n', "videos.txt", ":1: the name"),
        (
            '{"source": "a.mp4", "name": "x"}\n{"source": "b.mp4", "name": "x"}',
            "videos.txt",
            ":2: the name 'x' is also that of line 1",
        ),
        ("a.mp4,gate\n", "videos.csv", "titles source, name"),
        ("source,frames\na.mp4,3\n", "videos.csv", "titles source, name"),
        ("source,name\na.mp4,x,y\n", "videos.csv", ":2: has more cells"),
        ("name,source\nx,\n", "videos.csv", ":2: "),
        ('source\n"a.mp4\n', "videos.csv", "unexpected end"),
        ("", "videos.csv", "titles source"),
    ],
)
def test_wrong_rows_are_named(tmp_path: Path, text: str, name: str, place: str) -> None:
    with pytest.raises(DataError, match=place) as caught:
        read_manifest(write(tmp_path, text, name))
    assert "secret" not in str(caught.value)


def test_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.txt"):
        read_manifest(tmp_path / "none.txt")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not a text file"):
        read_manifest(tmp_path / "binary")
