"""Tables of the terminal: whole at 80 columns, with every number."""

from __future__ import annotations

import pytest

from jdetrt.cli.results import print_table

ROWS = [
    {"name": "1088x608 int8 tensorrt-rtx", **{f"c{k}": 1000.0 + k for k in range(12)}},
    {"name": "576x320 fp32 onnxruntime", **{f"c{k}": None for k in range(12)}},
]
COLUMNS = {"name": ("Configuration", ""), **{f"c{k}": (f"Title {k}", ".3f") for k in range(12)}}


@pytest.mark.parametrize("width", [60, 80, 120, 400])
def test_columns_that_do_not_fit_follow_in_another_table(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    print_table(ROWS, **COLUMNS)
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert max(map(len, lines)) < width
    assert "…" not in out
    for k in range(12):
        assert out.count(f"Title {k} ") == 1
        assert out.count(f"{1000 + k}.000") == 1
    # Each table says which row is which.
    tables = out.count("Configuration")
    assert out.count("1088x608 int8 tensorrt-rtx") == out.count("576x320 fp32") == tables
    assert (tables == 1) == (width == 400)


def test_a_table_of_two_columns_is_not_divided(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    print_table(ROWS, name=("Configuration", ""), c0=("Title", ".1f"))
    assert capsys.readouterr().out.count("Conf") == 1
