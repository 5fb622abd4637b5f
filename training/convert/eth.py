"""ETH, the sequences of the ETHZ mobile platform (Ess et al., CVPR 2008).

Layout: one folder for each sequence, with one annotation file ``*.idl`` and the frames of the left
camera, in the folder itself or in one inside (as the archives unpack). A line of the annotation is
``"left/image_00000001_0.png": (x1, y1, x2, y2):-1, ...;``, corners in either order; the name may
lack the ``_0`` of the file. All annotated frames are taken, even those without people.

LINTHESCHER is left out: it is MOT16-06 of the test set (the paper excludes overlaps, section 4.1).
The reference's list holds the others with annotations: BAHNHOF (eth01), JELMOLI (eth02), SUNNY DAY
(eth03), CROSSING (eth05) and LOEWENPLATZ (eth07). There are no identities.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from jdetrt.errors import DataError
from jdetrt.inputs import read_text
from jdetrt.training.convert.matlab import as_boxes
from jdetrt.training.convert.names import one_line
from jdetrt.training.convert.writer import LabelledImage

__all__ = ["eth"]

# The archive of LINTHESCHER's left camera is seq02-img-left.
_IN_MOT16_TEST = ("linthescher", "seq02-img-left")
_NUMBER = r"\s*(-?\d+(?:\.\d+)?)\s*"
_BOX = re.compile(rf"\s*\({_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}\)(?::[^,;\s]*)?\s*")
_LINE = re.compile(r'"([^"]+)"\s*(?::(.*))?')


def eth(raw: Path, split: str) -> Iterator[LabelledImage]:
    """Annotated frames of every sequence except those of MOT16's test set. Raises DataError."""
    del split  # all of it is for training
    annotations = sorted(raw.glob("*/*.idl"))
    if not annotations:
        raise DataError(f"{raw}: expected <sequence>/*.idl with its frames, found none")
    files = Counter(path.parent for path in annotations)
    for path in annotations:
        if files[path.parent] > 1:
            raise DataError(
                f"{path.parent}: expected one annotation file, found {files[path.parent]}; keep "
                "the one to be used"
            )
        if not _is_in_mot16_test(path):
            yield from _frames(path)


def _is_in_mot16_test(annotation: Path) -> bool:
    names = [annotation.name, *(path.name for path in annotation.parent.iterdir())]
    names.append(annotation.parent.name)
    return any(mark in name.lower() for mark in _IN_MOT16_TEST for name in names)


def _frames(annotation: Path) -> Iterator[LabelledImage]:
    folder = annotation.parent
    there = {path.name: path for path in sorted(folder.rglob("*.png"), reverse=True)}
    lines = read_text(annotation, DataError).splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{annotation}:{number}"
        name, boxes = _parse(line, where)
        stem, dot, suffix = name.rpartition("/")[2].rpartition(".")
        source = there.get(f"{stem}{dot}{suffix}") or there.get(f"{stem}_0{dot}{suffix}")
        if source is None:
            raise DataError(f"{where}: names {one_line(name)}, which does not exist in {folder}")
        yield LabelledImage(
            name=f"{folder.name}/{source.name}",
            source=source,
            boxes=boxes,
            people=(None,) * len(boxes),
        )


def _parse(line: str, where: str) -> tuple[str, npt.NDArray[np.float64]]:
    """Name of the image; ``(n, 4)`` left, top, width, height."""
    line = line.strip()
    whole = _LINE.fullmatch(line[:-1].rstrip() if line.endswith((";", ".")) else line)
    if whole is None:
        raise DataError(f'{where}: expected "image": (x1, y1, x2, y2), ...; got {line[:60]!r}')
    text = (whole[2] or "").strip()
    corners, position = [], 0
    while text and position <= len(text):
        box = _BOX.match(text, position)
        if box is None or text[box.end() : box.end() + 1] not in ("", ","):
            raise DataError(
                f"{where}: expected a box (x1, y1, x2, y2), got {text[position:].strip()[:40]!r}"
            )
        corners.append([float(side) for side in box.groups()])
        position = box.end() + 1
    table = np.array(corners, np.float64).reshape(-1, 2, 2)
    try:
        return whole[1], as_boxes(np.hstack([table.min(axis=1), np.ptp(table, axis=1)]))
    except ValueError as err:
        raise DataError(f"{where}: {err}") from err
