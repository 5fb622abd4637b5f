from __future__ import annotations

import json
from pathlib import Path

import pytest

from jdetrt.cli import main

ROWS = "1,1,0,0,40,100,1,1,1\n2,1,0,0,40,100,1,1,1\n"


def run(*args: str | Path) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["score", *map(str, args)])
    return int(stop.value.code or 0)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    gt, results = tmp_path / "gt", tmp_path / "results"
    for name in ("a", "b"):
        (gt / name / "gt").mkdir(parents=True)
        (gt / name / "gt" / "gt.txt").write_text(ROWS)
        (gt / name / "seqinfo.ini").write_text("[Sequence]\nseqLength=2\nframeRate=30\n")
    results.mkdir()
    (results / "a.txt").write_text(ROWS)
    (results / "b.txt").write_text("")
    return gt, results


def test_table_and_json(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "new" / "scores.json"
    assert run(*folders, "--json", path) == 0
    rows = [[c for c in line.split() if c != "│"] for line in capsys.readouterr().out.splitlines()]
    assert ["a", "MOT17", "100.000", "100.000", "100.000", "0", "0", "0", "1", "0"] in rows
    assert ["b", "MOT17", "0.000", "0.000", "0.000", "0", "0", "2", "0", "1"] in rows
    scores = json.loads(path.read_text())
    assert set(scores) == {"combined", "sequences", "read", "warnings"}
    assert scores["read"]["a"]["truth"] == {"taken": 2, "left_out": {}}
    assert "there is no box in it" in scores["warnings"][0]
    assert set(scores["sequences"]) == {"a", "b"}
    assert scores["combined"]["MOTA"] == 50
    assert list(scores["combined"]) == ["HOTA", "MOTA", "IDF1", "IDSW", "FP", "FN", "MT", "ML"]


def test_choice_of_sequences(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    (folders[1] / "b.txt").rename(folders[1] / "extra.txt")
    assert run(*folders) == 1
    assert "no results for b; expected b.txt" in capsys.readouterr().err
    assert run(*folders, "--sequences", "a") == 0
    assert run(*folders, "--only-present") == 0
    assert "ground truth: extra" in capsys.readouterr().out


def test_a_bad_row_is_one_message_and_no_file(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folders[1] / "b.txt").write_text("1,1,0,0,40,100,1\n1,1,0,0,40,100,1\n")
    path = tmp_path / "scores.json"
    assert run(*folders, "--json", path) == 1
    error = capsys.readouterr().err
    assert error.startswith("DataError: ")
    assert "b.txt:2: frame 1, id 1: the same frame already has this id" in error
    assert "Traceback" not in error
    assert not path.exists()


@pytest.mark.parametrize("target", ["gt/a/gt/gt.txt", "gt/b/seqinfo.ini", "results/a.txt"])
def test_the_json_replaces_nothing_that_is_scored(
    folders: tuple[Path, Path], target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (tmp_path / target).read_text()
    assert run(*folders, "--json", tmp_path / target) == 1
    assert "is also" in capsys.readouterr().err
    assert (tmp_path / target).read_text() == before
    for _ in range(2):  # but scores may stand beside the results, and be written again
        assert run(*folders, "--json", folders[1] / "scores.json") == 0


@pytest.mark.parametrize("sequences", ["", ",", " , "])
def test_no_sequence_named(
    folders: tuple[Path, Path], sequences: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*folders, "--sequences", sequences) == 1
    assert "gt has a, b" in capsys.readouterr().err


def test_an_unwritable_json_is_one_message(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*folders, "--json", folders[0]) == 1
    assert "holds files of GT_ROOT" in capsys.readouterr().err
    (folders[0] / "empty").mkdir()
    assert run(*folders, "--json", folders[0] / "empty") == 1
    assert "is a folder" in capsys.readouterr().err


def test_wrong_usage(folders: tuple[Path, Path]) -> None:
    assert run(folders[0]) == 2
    assert run(*folders, "--rules", "MOT99") == 2


@pytest.mark.parametrize(
    ("limit", "code"), [("--min-mota=50", 0), ("--min-mota=50.1", 3), ("--min-idf1=99", 3)]
)
def test_a_limit_that_is_missed(
    folders: tuple[Path, Path], limit: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*folders, limit) == code  # MOTA is 50, IDF1 2 / 3
    assert ("Below the limit: " in capsys.readouterr().err) is (code == 3)


def test_ground_truth_of_another_class_is_no_score(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        (folders[0] / name / "gt" / "gt.txt").write_text(ROWS.replace("1,1,1\n", "1,2,1\n"))
    assert run(*folders) == 1
    error = capsys.readouterr().err
    assert "nothing to measure" in error
    assert "class 2 (person on a vehicle)" in error
    assert run(*folders, "--rules", "MOT15") == 0
    assert "Warning: b: " in capsys.readouterr().err
