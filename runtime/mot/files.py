"""Read and write text in the formats of MOT Challenge and KITTI.

A MOT row is ``frame, id, left, top, width, height, confidence, ...`` with frames from 1 and boxes
in pixels (motchallenge.net; Milan et al., arXiv 1603.00831, section 4).
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from jdetrt.account import Account, counted
from jdetrt.errors import DataError
from jdetrt.inputs import open_regular
from jdetrt.types import Tracks

__all__ = [
    "NO_AREA",
    "MotRows",
    "are_shares",
    "kitti_lines",
    "mot_lines",
    "read_mot",
    "suspect_corners",
]

_NAMES = ("frame", "id", "left", "top", "width", "height", "confidence", "class", "visibility")
_LONGEST_LINE = 1024  # bytes; a longer one is no row, and the file may be anything, of any size
_FARTHEST = 1_000_000  # pixels
_SHARES = 2.0  # coordinates up to it may be shares of the image
_EDGE, _BEYOND = 1.02, 1.1  # of the image: where a corner may lie, where a whole box may not end
_FROM_0 = "; where frames count from 0, add 1 to the first column of every row"
NO_AREA = "without area"  # why boxes are left out


@dataclass(frozen=True, slots=True, eq=False)
class MotRows:
    """The rows of one MOT file, in its order.

    Attributes:
        frames: ``(N,)`` int64, from 1.
        ids: ``(N,)`` int64; -1 in detections.
        boxes: ``(N, 4)`` float64, left top width height in pixels.
        scores: ``(N,)`` float64, column 7: confidence, or in ground truth whether the row counts;
            1 where the file has 6 columns.
        classes: ``(N,)`` int64, or None; column 8 of files with 8 or 9 columns (ground truth of
            MOT16 and later). With 10 columns the last three are world coordinates, not kept.
        visibility: ``(N,)`` float64, or None; column 9 of files with 9 columns.
        lines: ``(N,)`` int64, the line of the file that each row stands on, from 1.
        account: of the rows that were taken and left out.
    """

    frames: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]
    classes: npt.NDArray[np.int64] | None
    visibility: npt.NDArray[np.float64] | None
    lines: npt.NDArray[np.int64]
    account: Account = field(default_factory=lambda: Account("row"))

    def __len__(self) -> int:
        return len(self.frames)


def _raise(fault: str) -> None:
    raise DataError(fault)


def read_mot(
    path: str | Path,
    *,
    allow_empty: bool = False,
    strict: bool = True,
    on_fault: Callable[[str], None] = _raise,
) -> MotRows:
    """Read ground truth, results or detections.

    Rows have 6 to 10 columns, all the same number, separated by commas, semicolons or blanks; a
    comma at the end of a row, a row of titles at the top, comments (``#``) and empty lines are
    passed over.

    Args:
        path: of the text file.
        allow_empty: a file without a row is fine (results in which nobody was seen).
        strict: a box without area is a fault; else it is left out and counted.
        on_fault: is told of every malformed row, which is then left out: its line, what was
            expected and what stands there. By default the first one is raised.

    Raises:
        DataError: the file cannot be read, has no row, or has a malformed one; or its boxes are
            shares of the image.
    """
    path = Path(path)
    values, lines, columns = array("d"), array("q"), 0
    for number, fields in _rows(path):
        if not 6 <= len(fields) <= 10 or columns not in (0, len(fields)):
            expected = f"{columns} columns as above" if columns else "6 to 10 columns"
            on_fault(f"{path}:{number}: expected {expected}, got {len(fields)}")
            continue
        columns = len(fields)
        try:
            row = [_number(field) for field in fields]
        except ValueError:
            on_fault(f"{path}:{number}: {_not_a_number(fields)}")
            continue
        values.extend(row)
        lines.append(number)
    if not lines and not allow_empty:
        raise DataError(
            f"{path}: is empty, expected rows of frame,id,left,top,width,height,...; write "
            f"it again, or name another file"
        )
    columns = columns or 6
    table = np.array(values, np.float64).reshape(-1, columns)
    line_numbers = np.array(lines, np.int64)
    has_class = columns in (8, 9)
    well_formed = _well_formed(path, table, line_numbers, has_class, strict, on_fault)
    whole = well_formed & (table[:, 4:6] > 0).all(axis=1)
    account = Account("row")
    account.take(int(whole.sum()))
    account.leave_out(NO_AREA, int((well_formed & ~whole).sum()))
    if account.lost and not account.taken and not allow_empty:
        raise DataError(f"{path}: no row has a box with an area (width and height, columns 5, 6)")
    table, line_numbers = table[whole], line_numbers[whole]
    if are_shares(table[:, 2:6]):
        on_fault(
            f"{path}: all boxes are smaller than a pixel, as shares of the image would be; "
            "multiply left and width (columns 3 and 5) by its width, top and height by its height"
        )
    return MotRows(
        frames=table[:, 0].astype(np.int64),
        ids=table[:, 1].astype(np.int64),
        boxes=table[:, 2:6].copy(),
        scores=table[:, 6].copy() if columns > 6 else np.ones(len(table)),
        classes=table[:, 7].astype(np.int64) if has_class else None,
        visibility=table[:, 8].copy() if columns == 9 else None,
        lines=line_numbers,
        account=account,
    )


def are_shares(boxes: npt.NDArray[np.float64]) -> bool:
    """Tell whether boxes, left top width height, are in shares of the image and not in pixels.

    >>> are_shares(np.array([[0.5, 0.2, 0.1, 0.4]])), are_shares(np.array([[0.0, 0, 1, 2]]))
    (True, False)
    """
    return bool(len(boxes) and abs(boxes).max() <= _SHARES and boxes[:, 2:].max() < 1)


def suspect_corners(
    boxes: npt.NDArray[np.float64], size: npt.ArrayLike | None, columns: str = "columns 3 to 6"
) -> str | None:
    """Tell whether boxes look like left, top, right, bottom; a sentence, or None.

    They do where the last two, as a corner, are right of and below the first two and inside of the
    image in every box, while as width and height they lead out of it in one box of four.

    Args:
        boxes: ``(N, 4)``, left, top, width, height.
        size: width and height of the images in pixels, ``(2,)``, or ``(N, 2)`` of the image of
            each; None where they are not known.
        columns: where they stand, in words.

    >>> suspect_corners(np.array([[200.0, 50, 260, 180]]), (320, 240)) is None
    False
    """
    if size is None or not len(boxes):
        return None
    sides = np.asarray(size, np.float64)
    corners = (boxes[:, 2:] > boxes[:, :2]) & (boxes[:, 2:] <= sides * _EDGE)
    beyond = (boxes[:, :2] + boxes[:, 2:] > sides * _BEYOND).any(axis=1)
    if not corners.all() or 4 * beyond.sum() <= len(boxes):
        return None
    return (
        f"{beyond.sum()} of {counted(len(boxes), 'box', 'boxes')} would reach far out of the "
        f"image, and none if {columns} were left, top, right, bottom; expected left, top, width, "
        "height"
    )


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of every row, without reading the file whole."""
    try:
        with open_regular(path) as file:
            number, at_top = 0, True
            while line := file.readline(_LONGEST_LINE + 1):
                number += 1
                if len(line) > _LONGEST_LINE:
                    raise DataError(f"{path}:{number}: not a MOT text file (an endless line)")
                try:
                    text = line.decode("utf-8-sig").strip()
                except UnicodeDecodeError:
                    raise DataError(
                        f"{path}:{number}: not a text file; name one with rows of "
                        "frame,id,left,top,width,height,..."
                    ) from None
                if not text or text.startswith("#"):
                    continue
                fields = _fields(text)
                if not (at_top and len(fields) > 1 and not any(map(_is_number, fields))):
                    yield number, fields
                at_top = False
    except OSError as err:
        raise DataError(f"{path}: cannot be read ({err.strerror or err})") from err


def _fields(text: str) -> list[str]:
    """Split a row; blanks after a comma belong to no field.

    >>> _fields("1;2;3"), _fields("1, 2"), _fields("1 2"), _fields("1,2,3,4,5,6,")
    (['1', '2', '3'], ['1', ' 2'], ['1', '2'], ['1', '2', '3', '4', '5', '6'])
    """
    separator = next((mark for mark in ";," if mark in text), None)
    fields = text.split(separator)
    while separator and len(fields) > 6 and not fields[-1].strip():
        fields.pop()
    return fields


def _number(field: str) -> float:
    if "_" in field:  # fine in Python's numbers, and in no other program's
        raise ValueError
    return float(field)


def _not_a_number(fields: list[str]) -> str:
    position = next(i for i, field in enumerate(fields) if not _is_number(field))
    return f"expected a number in column {_column(position)}, got {fields[position].strip()[:40]!r}"


def _is_number(field: str) -> bool:
    try:
        _number(field)
    except ValueError:
        return False
    return True


def _column(position: int) -> str:
    name = f" ({_NAMES[position]})" if position < len(_NAMES) else ""
    return f"{position + 1}{name}"


def _well_formed(
    path: Path,
    table: npt.NDArray[np.float64],
    lines: npt.NDArray[np.int64],
    has_class: bool,
    strict: bool,
    on_fault: Callable[[str], None],
) -> npt.NDArray[np.bool_]:
    """Which rows have values that can be; ``on_fault`` is told of the first fault of the others."""
    fine = np.ones(len(table), bool)

    def refuse(
        bad: npt.NDArray[np.bool_], columns: list[int], expected: str, remedy: str = ""
    ) -> None:
        """Strike out the rows in which ``bad`` (of these columns of the table) is true."""
        struck = bad.any(axis=1) & fine
        for row in np.flatnonzero(struck):
            column = columns[int(np.argmax(bad[row]))]
            on_fault(
                f"{path}:{lines[row]}: expected {expected} in column {_column(column)}, "
                f"got {table[row, column]:g}{remedy}"
            )
        fine[struck] = False

    everything = list(range(table.shape[1]))
    whole = [0, 1, 7] if has_class else [0, 1]
    refuse(~np.isfinite(table), everything, "a finite number")
    integers = table[:, whole]
    fraction = integers != np.floor(integers)
    refuse(fraction | (abs(integers) > 2**53), whole, "a whole number")
    refuse(table[:, :1] < 1, [0], "a frame number from 1", _FROM_0)
    sizes = table[:, 4:6]
    refuse(sizes <= 0 if strict else sizes < 0, [4, 5], "a size above 0")
    refuse(abs(table[:, 2:6]) > _FARTHEST, [2, 3, 4, 5], f"at most {_FARTHEST:,} pixels")
    return fine


def mot_lines(index: int, tracks: Tracks, number: int = -1) -> str:
    r"""The tracks of frame ``index`` as MOT result rows, in their order, one line each.

    ``number`` is that of another class than people, and stands where ground truth has the class.

    Boxes are written with three decimals: a thousandth of a pixel, about the precision of the
    float32 that they come from.

    >>> mot_lines(3, Tracks([7], [[10.5, 20, 30.25, 60]], [0.9]))
    '3,7,10.500,20.000,19.750,40.000,1,-1,-1,-1\n'
    """
    boxes = tracks.boxes.astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    return "".join(
        f"{index},{track},{x:.3f},{y:.3f},{w:.3f},{h:.3f},1,{number},-1,-1\n"
        for track, (x, y, w, h) in zip(tracks.ids.tolist(), boxes.tolist(), strict=True)
    )


def kitti_lines(index: int, tracks: Tracks, name: str = "Pedestrian") -> str:
    r"""The tracks of frame ``index`` as rows of the KITTI tracking format, one line each.

    ``name`` is that of their class.

    KITTI counts frames from 0. What a tracker in the image cannot know (truncation, occlusion,
    angle, size and place in space) has the values that the KITTI development kit gives for it.

    >>> kitti_lines(1, Tracks([7], [[10.5, 20, 30.25, 60]], [0.5]))
    '0 7 Pedestrian -1 -1 -10 10.500 20.000 30.250 60.000 -1 -1 -1 -1000 -1000 -1000 -10 0.5000\n'
    """
    rows = zip(tracks.ids.tolist(), tracks.boxes.tolist(), tracks.scores.tolist(), strict=True)
    return "".join(
        f"{index - 1} {track} {name} -1 -1 -10 {x1:.3f} {y1:.3f} {x2:.3f} {y2:.3f} "
        f"-1 -1 -1 -1000 -1000 -1000 -10 {score:.4f}\n"
        for track, (x1, y1, x2, y2), score in rows
    )
