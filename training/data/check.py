"""Check training data for every fault."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt

from jdetrt.account import Account
from jdetrt.config import LabelConfig
from jdetrt.errors import DataError, JdetrtError, SourceError
from jdetrt.inputs import open_regular
from jdetrt.runtime.mot.classes import CLASSES
from jdetrt.runtime.mot.files import MotRows, read_mot
from jdetrt.runtime.sources.image_header import check_pixels, declared_size
from jdetrt.runtime.sources.images import read_image
from jdetrt.runtime.sources.seqinfo import read_seqinfo
from jdetrt.training.data.datasets import read_data
from jdetrt.training.data.labels import LABELS, label_path, parse_row, text_lines
from jdetrt.training.data.mot_labels import count_people, frame_images, people_and_ignored
from jdetrt.training.data.paths import Data, JdeImages, MotSequences, find
from jdetrt.types import Size

__all__ = ["Report", "check", "image_size"]

Edges = tuple[float, float, float, float]

_LONGEST_HEADER = 1 << 20  # bytes, profiles and thumbnails included
_HEADED = (b"\xff\xd8", b"\x89PNG")
_EXIF = re.compile(rb"Exif\0|eXIf")
_FAR = 0.5  # of an image beyond its edge; no person reaches as far


@dataclass(frozen=True, slots=True)
class Report:
    """Contents and faults of training data."""

    images: int
    boxes: int  # of people to find, without malformed rows
    identities: int
    unidentified: int  # boxes with the id -1
    # Boxes whose centre is outside the image; no fault: MOT Challenge has them of people who
    # leave it.
    centres_outside: int
    heights: tuple[float, float, float] | None  # smallest, median, largest; pixels
    others: dict[str, int]  # labelled boxes of nobody to find, by class and mark
    notes: tuple[str, ...]  # on marks
    faults: tuple[str, ...]  # "path:line: fault", or "path: fault"


@dataclass(frozen=True, slots=True)
class _Box:
    """A box of a person."""

    line: int
    identity: int
    edges: Edges | None  # shares of the image
    height: float | None  # pixels


def check(
    path: str | Path,
    root: str | Path | None = None,
    *,
    decode: bool = False,
    label: LabelConfig | None = None,
) -> Report:
    """Check training data, and continue after faults.

    A label file without an image is a fault in a folder, not beside a list. Of data in the form of
    YOLO or COCO, and of a class of your own, the first row that cannot be read ends the check.

    Args:
        path: as for `jdetrt.training.data.datasets.open_data_set`.
        root: of the images in a list.
        decode: read every image whole, not only its header.
        label: the class to check in place of people.
    """
    survey = _Survey(decode)
    with survey.noting():
        data = find(path, root)
        if isinstance(data, MotSequences) and label is None:
            for folder in data.folders:
                _check_sequence(folder, survey)
        elif isinstance(data, JdeImages) and label is None:
            _check_images(data, survey)
        else:
            _check_labels(data, label, survey)
    return survey.report()


def image_size(path: Path) -> Size:
    """Read the size of an image, turned as its EXIF data say.

    The header of a JPEG or PNG file without EXIF data suffices; any other file is decoded.

    Raises:
        SourceError: the file is missing or not an image.
    """
    with suppress(OSError), open_regular(path) as file:  # decoding says what is wrong
        head = file.read(_LONGEST_HEADER)
        declared = declared_size(head)
        if declared is not None and head.startswith(_HEADED) and not _EXIF.search(head):
            check_pixels(path, declared, SourceError)
            return declared
    return Size.of(read_image(path))


class _Survey:
    """Counts and faults so far."""

    def __init__(self, decode: bool) -> None:
        self.faults: list[str] = []
        self.images = self.boxes = self.identities = self.unidentified = self.outside = 0
        self.heights: list[float] = []
        self.account = Account("person", "people")
        self._decode = decode

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Turn an error of the block into a fault."""
        try:
            yield
        except JdetrtError as err:
            self.faults.append(str(err))

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Turn errors of a block that reads one file into faults, in order of their lines."""
        before = len(self.faults)
        with self.noting():
            yield
        self.faults[before:] = sorted(self.faults[before:], key=_line)

    def size(self, image: Path) -> Size | None:
        """Count an image; give its size, None if it is broken."""
        self.images += 1
        with self.noting():
            if not self._decode:
                return image_size(image)
            return Size.of(read_image(image))
        return None

    def check_boxes(self, path: Path, boxes: Sequence[_Box]) -> None:
        """Count the boxes of one image, and compare them."""
        ids: dict[int, int] = {}
        places: dict[Edges, int] = {}
        for box in boxes:
            where = f"{path}:{box.line}"
            self.boxes += 1
            self.unidentified += box.identity < 0
            if box.height is not None:
                self.heights.append(box.height)
            if box.identity >= 0 and (line := ids.setdefault(box.identity, box.line)) != box.line:
                self.faults.append(
                    f"{where}: id {box.identity} is in this image already (line {line}); one of "
                    "them is another person"
                )
            if box.edges is None:
                continue
            if (line := places.setdefault(box.edges, box.line)) != box.line:
                self.faults.append(f"{where}: the same box as in line {line}; delete one of them")
            self._check_place(where, box.edges)

    def _check_place(self, where: str, edges: Edges) -> None:
        left, top, right, bottom = edges
        self.outside += not (0 <= left + right <= 2 and 0 <= top + bottom <= 2)
        if right <= 0 or bottom <= 0 or left >= 1 or top >= 1:
            self.faults.append(f"{where}: the box is completely outside the image; delete the row")
        elif min(left, top) < -_FAR or max(right, bottom) > 1 + _FAR:
            self.faults.append(
                f"{where}: the box reaches more than half an image beyond its edge; does it have "
                "the unit and the size of this image?"
            )

    def report(self) -> Report:
        """Summarise."""
        heights = self.heights
        return Report(
            images=self.images,
            boxes=self.boxes,
            identities=self.identities,
            unidentified=self.unidentified,
            centres_outside=self.outside,
            heights=(min(heights), median(heights), max(heights)) if heights else None,
            others=dict(self.account.left_out + self.account.by_design),
            notes=tuple(self.account.notes),
            faults=tuple(dict.fromkeys(self.faults)),
        )


def _line(fault: str) -> int:
    match = re.search(r":(\d+): ", fault)
    return int(match[1]) if match else 0


def _check_images(data: JdeImages, survey: _Survey) -> None:
    ids: set[int] = set()
    owners: dict[Path, Path] = {}
    for image, named_in in zip(data.images, data.named_in, strict=True):
        if not image.is_file():
            survey.faults.append(f"{named_in}: {image} does not exist; is the root right?")
            continue
        size = survey.size(image)
        with survey.reading():
            path = label_path(image)
            if path in owners:
                raise DataError(
                    f"{named_in}: {image} has the labels of {owners[path]}; leave one of them out"
                )
            owners[path] = image
            boxes = _read_boxes(path, size, survey)
            survey.check_boxes(path, boxes)
            ids |= {box.identity for box in boxes}
    survey.identities += len(ids - {-1})
    if data.folder is not None:
        for path in sorted((data.folder / LABELS).rglob("*.txt")):
            if path not in owners:
                survey.faults.append(f"{path}: has no image; delete it")


def _check_labels(data: Data, label: LabelConfig | None, survey: _Survey) -> None:
    """Check boxes by their image and their number in it."""
    for sequence in read_data(data, 0.0, label, survey.account)[0]:
        ids: set[int] = set()
        for image, labels in sequence:
            if (size := survey.size(image)) is None:
                continue
            unit = np.ones(4) if labels.relative else np.array([*size, *size])
            edges = (labels.boxes.astype(np.float64) / unit).tolist()
            boxes = [
                _Box(number, int(identity), (x1, y1, x2, y2), (y2 - y1) * size[1])
                for number, (identity, (x1, y1, x2, y2)) in enumerate(
                    zip(labels.ids, edges, strict=True), start=1
                )
            ]
            survey.check_boxes(image, boxes)
            ids |= {box.identity for box in boxes}
        survey.identities += len(ids - {-1})


def _read_boxes(path: Path, size: Size | None, survey: _Survey) -> list[_Box]:
    """Well-formed rows of a label file."""
    boxes = []
    for number, text in text_lines(path):
        with survey.noting():
            identity, x, y, width, height = parse_row(text, f"{path}:{number}")
            edges = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
            boxes.append(_Box(number, identity, edges, height * size[1] if size else None))
    return boxes


def _check_sequence(folder: Path, survey: _Survey) -> None:
    images: dict[int, Path] = {}
    with survey.noting():
        images = frame_images(folder)
    sizes = {frame: survey.size(image) for frame, image in images.items()}
    with survey.noting():
        _check_seqinfo(folder, images, sizes, survey)
    with survey.reading():
        path = folder / "gt" / "gt.txt"
        before = len(survey.faults)
        rows = read_mot(path, allow_empty=True, on_fault=survey.faults.append)
        if not len(rows) and len(survey.faults) == before:
            raise DataError(f"{path}: has no rows; label the sequence, or leave it out")
        _check_rows(path, rows, sizes, survey)


def _check_seqinfo(
    folder: Path, images: dict[int, Path], sizes: dict[int, Size | None], survey: _Survey
) -> None:
    path = folder / "seqinfo.ini"
    if not images or not path.is_file():
        return
    info = read_seqinfo(path)
    if len(images) != info.length:
        survey.faults.append(
            f"{path}: states {info.length} images, there are {len(images)} up to this number"
        )
    for frame, size in sizes.items():
        if info.size is not None and size not in (None, info.size):
            survey.faults.append(
                f"{images[frame]}: the image is {size}, {path} says {Size(*info.size)}; labels in "
                "pixels fit one size only"
            )


def _check_rows(path: Path, rows: MotRows, sizes: dict[int, Size | None], survey: _Survey) -> None:
    def refuse(bad: npt.NDArray[np.bool_], values: npt.NDArray[np.int64], expected: str) -> None:
        for row in np.flatnonzero(bad):
            survey.faults.append(
                f"{path}:{rows.lines[row]}: expected {expected}, got {values[row]}"
            )

    if sizes:
        refuse(~np.isin(rows.frames, list(sizes)), rows.frames, "a frame with an image")
    refuse(rows.ids < -1, rows.ids, "an id from 0, or -1 (unknown)")
    if rows.classes is not None:
        allowed = f"a class of {min(CLASSES)} (a person) to {max(CLASSES)}"
        refuse(~np.isin(rows.classes, list(CLASSES)), rows.classes, allowed)
    people, _ = people_and_ignored(rows, min_visibility=0.0)
    count_people(survey.account, rows, people)
    frames: dict[int, list[_Box]] = {}
    for row in np.flatnonzero(people):
        frame, (left, top, width, height) = int(rows.frames[row]), rows.boxes[row].tolist()
        size, edges = sizes.get(frame), None
        if size is not None:
            w, h = size
            edges = (left / w, top / h, (left + width) / w, (top + height) / h)
        box = _Box(int(rows.lines[row]), max(int(rows.ids[row]), -1), edges, height)
        frames.setdefault(frame, []).append(box)
    for boxes in frames.values():
        survey.check_boxes(path, boxes)
    survey.identities += len(np.unique(rows.ids[people & (rows.ids >= 0)]))
