"""Labels in YOLO's form: ``labels/`` beside ``images/``, ``class xc yc w h`` in shares.

An image without a label file shows nobody. Names of the classes come from ``data.yaml``, where the
folder or the one above has it.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from jdetrt.errors import DataError
from jdetrt.inputs import read_text
from jdetrt.training.data.labels import Labels, parse_row, shares, text_lines

__all__ = ["FOLDER", "class_names", "read_yolo"]

FOLDER = "labels"

_YAML = ("data.yaml", "data.yml", "dataset.yaml")
_ITEM = re.compile(r"\s*(?:-|(\d{1,9}):)\s*(.*)")


def read_yolo(path: Path, number: int, classes: Counter[int]) -> Labels:
    """Read a label file.

    Args:
        path: of the file; a missing one is an image without objects.
        number: of the class to take.
        classes: gets the number of boxes by class.

    Raises:
        DataError: the file cannot be read, or a row is malformed; names the line.
    """
    rows = []
    for line, text in text_lines(path) if path.exists() else ():
        fields = text.split()
        if len(fields) != 5:
            raise DataError(
                f"{path}:{line}: expected 5 columns 'class xc yc w h', got {len(fields)}; convert "
                "outlines and tracks to boxes"
            )
        kind = fields[0].removesuffix(".0")
        if not (kind.isascii() and kind.isdigit() and len(kind) < 10):
            raise DataError(
                f"{path}:{line}: expected the number of a class, got {fields[0][:40]!r}"
            )
        classes[int(kind)] += 1
        if int(kind) == number:
            rows.append(parse_row(f"0 -1 {' '.join(fields[1:])}", f"{path}:{line}"))
    return shares(rows)


def class_names(folder: Path) -> tuple[Path, dict[int, str]]:
    """Find the file with the names of the classes, and read them; none where there is no such file.

    Args:
        folder: of the data set, or of a part of it.
    """
    for path in (base / name for base in (folder, folder.parent) for name in _YAML):
        if path.is_file():
            return path, _names(read_text(path, DataError))
    return folder, {}


def _names(text: str) -> dict[int, str]:
    """Class names of a YAML file: ``names: [a, b]``, or a line each, ``- a`` or ``0: a``."""
    lines = iter([line.split(" #")[0].rstrip() for line in text.splitlines()])
    start = next((line for line in lines if line.startswith("names:")), "")
    start = start.removeprefix("names:").strip()
    if start.startswith("["):
        listed = start[1:]
        while "]" not in listed and (line := next(lines, None)) is not None:
            listed += line
        names = [_bare(one) for one in listed.split("]")[0].split(",")]
        return {number: name for number, name in enumerate(names) if name}
    by_number: dict[int, str] = {}
    for line in lines:
        item = _ITEM.fullmatch(line)
        if item is None and line.strip():
            break
        if item is not None:
            by_number[len(by_number) if item[1] is None else int(item[1])] = _bare(item[2])
    return by_number


def _bare(text: str) -> str:
    return text.strip().strip("'\"")
