"""Labels of one image, and JDE's label files.

A label file has one row for each box, ``class id xc yc w h``: class 0 (a person), the identity or
-1, and the centre and size of the box as shares of the width and height of the image (reference
utils/datasets.py). An empty file means an image without people.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from jdetrt.errors import DataError
from jdetrt.inputs import open_regular, reading

__all__ = [
    "IMAGES",
    "LABELS",
    "Labels",
    "Row",
    "label_path",
    "parse_row",
    "read_labels",
    "shares",
    "text_lines",
]

Row = tuple[int, float, float, float, float]

IMAGES, LABELS = "images", "labels_with_ids"
_COLUMNS = ("class", "id", "xc", "yc", "w", "h")
_NEAREST, _FARTHEST = -1.0, 2.0  # a share beyond these is a pixel, or a slip
_LARGEST_ID = 2**53  # beyond it a float has gaps
_LARGEST = 16 << 20  # bytes; the longest published list has 3 MB


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """Labels of one image."""

    boxes: npt.NDArray[np.float32]  # (n, 4), left, top, right, bottom
    ids: npt.NDArray[np.int64]  # (n,), -1 for unknown people
    ignore: npt.NDArray[np.float32]  # (m, 4), regions that do not count; same form as boxes
    relative: bool = False  # boxes are shares of the image's width and height, else pixels

    def in_pixels(self, width: int, height: int) -> Labels:
        """Convert to pixels of an image of this width and height."""
        if not self.relative:
            return self
        unit = np.array([width, height, width, height], np.float32)
        return Labels(self.boxes * unit, self.ids, self.ignore * unit)


def label_path(image: Path, folder: str = LABELS) -> Path:
    """Label file of an image: ``images`` becomes ``labels_with_ids``, the suffix ``.txt``.

    ``folder`` is the name in place of ``labels_with_ids``. Only the last folder named ``images`` is
    replaced; the reference replaces the text everywhere.

    Raises:
        DataError: no part of the path is named so.

    >>> label_path(Path("my images/images/MOT17/images/train/000001.JPEG")).as_posix()
    'my images/images/MOT17/labels_with_ids/train/000001.txt'
    """
    parts = list(image.parts)
    for position in range(len(parts) - 2, -1, -1):
        if parts[position] == IMAGES:
            parts[position] = folder
            return Path(*parts).with_suffix(".txt")
    raise DataError(
        f"{image}: expected a folder named '{IMAGES}' in the path, with the labels beside it in "
        f"'{folder}'"
    )


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Give number (from 1) and text of the lines that are not empty.

    Raises:
        DataError: the file is missing, is no text, or cannot be read.
    """
    if not path.exists():
        raise DataError(
            f"{path}: the label file is missing; for an image without people, create an empty file"
        )
    try:
        with reading(path, DataError), open_regular(path) as file:
            text = file.read(_LARGEST + 1).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{path}: not a text file") from None
    if len(text) > _LARGEST:
        raise DataError(f"{path}: larger than {_LARGEST >> 20} MiB: not a list or label file")
    for number, line in enumerate(text.split("\n"), start=1):
        if line := line.strip():
            yield number, line


def parse_row(text: str, where: str, number: int = 0) -> Row:
    """Parse identity, centre x, centre y, width and height of one row.

    Args:
        text: the row.
        where: ``path:line`` of it.
        number: of the class that it has to be.

    Raises:
        DataError: the row is malformed.
    """
    fields = text.split()
    if len(fields) != len(_COLUMNS):
        expected = f"{len(_COLUMNS)} columns '{' '.join(_COLUMNS)}'"
        raise DataError(f"{where}: expected {expected}, got {len(fields)}")
    numbers = [_number(field) for field in fields]
    for field, value in zip(fields, numbers, strict=True):
        if math.isnan(value):
            raise DataError(f"{where}: expected a number, got {field[:40]!r}")
    kind, identity, *box = numbers
    if kind != number:
        name = " (a person)" * (number == 0)
        raise DataError(
            f"{where}: expected class {number}{name}, got {kind:g}; delete other classes"
        )
    if identity % 1 or not -1 <= identity <= _LARGEST_ID:
        raise DataError(f"{where}: expected an id from 0, or -1 (unknown), got {identity:g}")
    for name, value in zip(_COLUMNS[2:], box, strict=True):
        if not _NEAREST <= value <= _FARTHEST:
            raise DataError(
                f"{where}: expected {name} as a share of the image, about 0 to 1, got {value:g}; "
                "divide pixels by the width or height of the image"
            )
    x, y, width, height = box
    if width <= 0 or height <= 0:
        raise DataError(
            f"{where}: expected w and h above 0, got {width:g} and {height:g}; delete the row"
        )
    return int(identity), x, y, width, height


def _number(field: str) -> float:
    """Value of a finite number, else NaN."""
    try:
        value = math.nan if "_" in field else float(field)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def read_labels(
    path: Path, number: int | None = None, classes: Counter[int] | None = None
) -> Labels:
    """Read a label file: its rows in order, as shares of the image.

    Args:
        path: of the file.
        number: of a class of your own: rows of other classes are left out, which are refused else.
        classes: gets the number of boxes by class, with ``number``.

    Raises:
        DataError: the file cannot be read, or a row is malformed; names the line.
    """
    if number is None:
        return shares([parse_row(text, f"{path}:{line}") for line, text in text_lines(path)])
    rows = []
    for line, text in text_lines(path):
        kind = _number(text.split()[0])
        if classes is not None and kind % 1 == 0:
            classes[int(kind)] += 1
        if kind == number or kind % 1:  # a class that is no number is malformed
            rows.append(parse_row(text, f"{path}:{line}", number))
    return shares(rows)


def shares(rows: Sequence[Row]) -> Labels:
    """Labels of rows, in shares of the image."""
    table = np.array(rows, np.float64).reshape(-1, 5)
    half = table[:, 3:] / 2
    return Labels(
        boxes=np.hstack([table[:, 1:3] - half, table[:, 1:3] + half]).astype(np.float32),
        ids=table[:, 0].astype(np.int64),
        ignore=np.empty((0, 4), np.float32),
        relative=True,
    )
