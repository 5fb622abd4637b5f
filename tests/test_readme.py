"""The documents: commands exist, links lead somewhere, numbers have a JSON behind them."""

from __future__ import annotations

import importlib
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import click
import pytest

from jdetrt.cli import COMMANDS

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
IDS = [str(path.relative_to(ROOT)) for path in DOCUMENTS]


def command_lines(text: str) -> list[list[str]]:
    """Every `jdetrt ...` in code: in an indented block, a fenced one or between backticks."""
    lines = re.findall(r"^ {4}(?:\.venv/bin/)?(jdetrt .*)$", text, re.M)
    lines += re.findall(r"`(jdetrt [^`]*)`", text)
    return [shlex.split(line, comments=True)[1:] for line in lines]


@pytest.mark.parametrize("path", DOCUMENTS, ids=IDS)
def test_commands_and_their_options_exist(path: Path) -> None:
    for words in command_lines(path.read_text()):
        if words[0].startswith("-"):
            continue
        assert words[0] in COMMANDS, f"jdetrt {' '.join(words)}"
        command: click.Command = importlib.import_module(f"jdetrt.cli.{words[0]}").command
        if isinstance(command, click.Group) and len(words) > 1:
            assert words[1] in command.commands, f"jdetrt {' '.join(words)}"
            command = command.commands[words[1]]
        known = {name for parameter in command.params for name in parameter.opts} | {"--help"}
        for word in words:
            if word.startswith("--"):
                assert word in known, f"{word} in: jdetrt {' '.join(words)}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=IDS)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), target


def tables() -> list[tuple[str, list[list[str]]]]:
    """Tables of the README that name the JSON behind them in a comment: its path, and the cells."""
    pattern = r"<!-- (benchmarks/results/\S+\.json) -->\n((?:\|.*\n)+)"
    found = []
    for path, block in re.findall(pattern, (ROOT / "README.md").read_text()):
        rows = [[c.strip() for c in line.strip("|").split("|")] for line in block.splitlines()]
        found.append((path, rows[2:]))
    return found


def test_the_installation_guide_lists_every_extra() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    extras = project.split("[project.optional-dependencies]")[1].split("\n[")[0]
    names = set(re.findall(r"^([a-z]+) = \[", extras, re.MULTILINE))
    rows = re.findall(
        r"^\| `([a-z]+)` \|", (ROOT / "docs/guide/install.md").read_text(), re.MULTILINE
    )
    assert len(names) > 10
    assert sorted(rows) == sorted(names)


def test_the_growth_in_the_text_is_that_of_the_json() -> None:
    (stated,) = re.findall(r"to the power (\d\.\d\d)", (ROOT / "README.md").read_text())
    (path,) = (path for path, _ in tables() if "association" in path)
    assert stated == f"{json.loads((ROOT / path).read_text())['growth']:.2f}"


def test_numbers_are_those_of_the_json_behind_them() -> None:
    """Each table is rows of a JSON: the first cell names the row, the others are its numbers."""
    assert tables()
    for path, rows in tables():
        named = rows_by_name(json.loads((ROOT / path).read_text()))
        for name, *cells in rows:
            known = list(numbers(named[name.strip("*")]))
            for cell in cells:
                for part in cell.strip("*").split(" ± "):
                    digits = len(part.partition(".")[2])
                    shown = {f"{number:.{digits}f}" for number in known}
                    assert part in shown, f"{path}: {name}: {cell}"


def rows_by_name(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A calibration has names for its rows; others go by what was measured, or by their number."""
    if "rows" not in result:
        accuracy: dict[str, dict[str, Any]] = result["accuracy"]["rows"]
        return accuracy
    return {row_name(row, number): row for number, row in enumerate(result["rows"], start=1)}


def row_name(row: dict[str, Any], number: int) -> str:
    size = row.get("size")
    if size is not None:
        size = size if isinstance(size, str) else "{}x{}".format(*size)
        return " ".join([size, row.get("precision") or row["preset"].partition(",")[0]])
    return str(row.get("targets", row.get("tracker", number)))


def numbers(row: dict[str, Any]) -> Iterator[float]:
    """All numbers of a row, rates in percent too; means and deviations of samples."""
    for key, value in row.items():
        if isinstance(value, dict):
            yield from numbers(value)
        elif isinstance(value, (int, float)):
            yield from (value, 100 * value) if key in ("ap50", "tpr", "share") else (value,)
        elif key.lower() in ("mota", "idf1", "hota"):
            yield from (mean(value), stdev(value))
