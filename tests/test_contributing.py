"""CONTRIBUTING.md names files that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_path_exists() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    table = text[text.index("## Where things are") : text.index("## Rules")]
    paths = re.findall(r"`((?:jdetrt|[a-z]+)/[\w/]+(?:\.py|/))`", table)
    assert len(paths) >= 20
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_count_of_sizes_names_modules_that_exist() -> None:
    text = (ROOT / "scripts" / "size.py").read_text()
    paths = re.findall(r'"((?:jdetrt|[a-z]+)/[\w/]+(?:\.py|/))"', text)
    assert len(paths) > 40
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_modules_are_short_and_the_folders_small() -> None:
    folders = [p.parent for p in ROOT.glob("*/**/__init__.py") if ".venv" not in p.parts]
    sizes = {
        folder.relative_to(ROOT).as_posix(): len(list(folder.glob("*.py")))
        for folder in folders
        if "tests" not in folder.parts
    }
    assert len(sizes) > 20
    assert {name: size for name, size in sizes.items() if size > 21} == {}  # __init__ and 20 more


def test_no_child_of_a_test_fails_unseen() -> None:
    """Every ``subprocess.run`` checks, or its function looks at the exit code or hands it on."""
    for path in (ROOT / "tests").rglob("*.py"):
        for function in ast.walk(ast.parse(path.read_text())):
            if not isinstance(function, ast.FunctionDef):
                continue
            for call in ast.walk(function):
                if not isinstance(call, ast.Call) or ast.unparse(call.func) != "subprocess.run":
                    continue
                checks = any(
                    word.arg == "check" and ast.unparse(word.value) == "True"
                    for word in call.keywords
                )
                handed_on = any(
                    isinstance(one, ast.Return) and one.value is call for one in ast.walk(function)
                )
                looks = ".returncode" in ast.unparse(function)
                assert checks or handed_on or looks, f"{path}:{call.lineno}"
