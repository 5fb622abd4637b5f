"""CONTRIBUTING.md names files that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_path_exists() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    table = text[text.index("## Where things are") : text.index("## Rules")]
    paths = re.findall(r"`((?:jdetrt|[a-z]+)/[\w/]+(?:\.py|/))`", table)
    assert len(paths) >= 20
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
