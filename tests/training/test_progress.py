"""Means and tables; tables that a run goes on with."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest

from jdetrt.errors import DataError, OutputError
from jdetrt.training.progress import Means, Table

ROWS = [{"epoch": e, "step": s, "total": 10.0 * e + s} for e in range(3) for s in (2, 4)]


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_means_are_over_the_times_that_a_number_was_there() -> None:
    means = Means()
    means.add({"total": 1.0, "box": 4.0})
    means.add({"total": 2.0})
    means.add({"total": 6.0, "box": 5.0})
    assert means.values == {"total": [1.0, 2.0, 6.0], "box": [4.0, 5.0]}
    assert means.take() == {"total": 3.0, "box": 4.5}
    assert means.take() == {}


def test_a_table_of_named_columns(tmp_path: Path) -> None:
    path = tmp_path / "new" / "log.csv"
    table = Table(path, ("epoch", "step", "total", "box"))
    assert path.read_bytes() == b"epoch,step,total,box\r\n"
    table.add({"epoch": 0, "step": 1, "total": 1 / 3})
    table.add({"epoch": 0, "step": 2, "box": 1e-9, "total": 123456789.0})
    assert read(path) == [
        {"epoch": "0", "step": "1", "total": "0.333333", "box": ""},
        {"epoch": "0", "step": "2", "total": "1.23457e+08", "box": "1e-09"},
    ]
    with pytest.raises(ValueError, match="whatever"):
        table.add({"epoch": 0, "step": 3, "whatever": 1.0})


def test_columns_of_the_first_row(tmp_path: Path) -> None:
    path = tmp_path / "validation.csv"
    assert Table(path).columns == []
    assert path.read_bytes() == b""
    Table(path).add({"epoch": 1, "step": 0, "ap50": 0.5})
    assert read(path) == [{"epoch": "1", "step": "0", "ap50": "0.5"}]


@pytest.mark.parametrize(
    ("where", "kept"), [((0, 0), 0), ((0, 2), 1), ((1, 0), 2), ((1, 3), 3), ((2, 9), 6)]
)
def test_a_table_goes_on_where_the_run_does(
    where: tuple[int, int], kept: int, tmp_path: Path
) -> None:
    path = tmp_path / "log.csv"
    table = Table(path)
    for row in ROWS:
        table.add(row)
    whole = path.read_bytes()
    table = Table(path, resume=where)
    assert len(read(path)) == kept
    for row in ROWS[kept:]:
        table.add(row)
    assert path.read_bytes() == whole


def test_a_last_row_that_was_cut_short_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    table = Table(path)
    for row in ROWS:
        table.add(row)
    whole = path.read_bytes()
    last = whole.rstrip().rfind(b"\n") + 1
    for end in range(last + 1, whole.rindex(b",")):
        path.write_bytes(whole[:end])
        Table(path, resume=(9, 9))
        assert path.read_bytes() == whole[:last]


def test_a_table_that_is_not_there_begins(tmp_path: Path) -> None:
    table = Table(tmp_path / "log.csv", ("epoch", "step"), (3, 1))
    table.add({"epoch": 3, "step": 2})
    assert read(tmp_path / "log.csv") == [{"epoch": "3", "step": "2"}]


def test_afresh_is_afresh(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    Table(path).add(ROWS[0])
    Table(path, ("epoch", "step"))
    assert path.read_bytes() == b"epoch,step\r\n"


def test_what_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file"):
        Table(tmp_path / "file" / "log.csv")
    table = Table(tmp_path / "log.csv", ("epoch", "step"))
    os.remove(tmp_path / "log.csv")
    (tmp_path / "log.csv").mkdir()
    with pytest.raises(OutputError, match=r"log\.csv: cannot be written"):
        table.add({"epoch": 1, "step": 1})


@pytest.mark.parametrize(
    "text", ["epoch,step\r\nx,1\r\n", "step,a\r\n1,2\r\n", "epoch,a\r\n1,many\r\n", "a\0\r\n1\r\n"]
)
def test_a_damaged_table_is_refused_with_its_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "log.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=r"log\.csv:\d+: not a row of a training run"):
        Table(path, resume=(1, 1))
    assert path.read_bytes() == text.encode()


def test_a_row_that_is_too_long_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("epoch,step\r\n1,1\r\n1,2,3\r\n")
    Table(path, resume=(9, 9))
    assert path.read_bytes() == b"epoch,step\r\n1,1\r\n"
