"""Kinds of sentences that CONTRIBUTING.md rules out; ruff and codespell cannot find them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PARTS = ("jdetrt", "export", "engine", "runtime", "calibration", "training", "benchmarks")
OPENING = re.compile(r"(What|How|Who|Whose|Whether|Whatever|Of|That|So many)\b")
# Words that have a standard term, see CONTRIBUTING.md; as keys of files that exist they stay.
TERMS = re.compile(
    r"\b(made[- ]up|shaken|the (whole|real) line|footage|likeness|contenders|trainee|looks by|"
    r"19 of 20|1 of 100|none other beats|no other beats)\b",
    re.IGNORECASE,
)

KEY = re.compile(r'"(shaken|trainee)"')


def modules() -> list[Path]:
    rows = []
    for part in PARTS:
        for path in sorted((ROOT / part).rglob("*.py")):
            inside = path.relative_to(ROOT).parts
            if not (ROOT / inside[0] / inside[1]).is_symlink():
                rows.append(path)
    return rows


def pages() -> list[Path]:
    docs = [*(ROOT / "docs" / "guide").glob("*.md"), ROOT / "README.md"]
    return sorted([*docs, ROOT / "jdetrt" / "models" / "README.md"])


def docstrings(path: Path) -> Iterator[tuple[str, str]]:
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield getattr(node, "name", "module"), text


def test_there_is_something_to_read() -> None:
    assert len(modules()) > 150
    assert len(pages()) > 10


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_begin_with_an_imperative_or_a_noun(path: Path) -> None:
    odd = [(name, text.splitlines()[0]) for name, text in docstrings(path) if OPENING.match(text)]
    assert odd == []


@pytest.mark.parametrize(
    "path", [*modules(), *pages()], ids=lambda path: str(path.relative_to(ROOT))
)
def test_standard_terms(path: Path) -> None:
    lines = enumerate(path.read_text().splitlines(), 1)
    odd = [(number, line.strip()) for number, line in lines if TERMS.search(line)]
    assert [(number, line) for number, line in odd if not KEY.search(line)] == []
