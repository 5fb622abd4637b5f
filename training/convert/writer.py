"""Labelled images written in JDE's form: images, label files and a list of the images.

Below the folder that all data sets share stand, for each data set and split::

    mot17.train                                    one image a line, relative to the folder
    MOT17/train/images/MOT17-02-SDP/img1/000001.jpg
    MOT17/train/labels_with_ids/MOT17-02-SDP/img1/000001.txt

A label file has one row a person, ``class id xc yc w h``: class 0, id from 0 over the data set or
-1, centre and size as parts of the image's width and height (reference 3.5). The format has no
place for regions to be ignored, so the boxes of crowds, of other classes and of people whom the
annotators were not sure of are left out. The cost: what a network finds there is taken for a false
alarm, in training and in average precision.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from jdetrt.errors import DataError, OutputError, SourceError
from jdetrt.files import replace_folder, write_text
from jdetrt.runtime.sources.images import read_picture

__all__ = ["Converted", "LabelledImage", "Link", "write_data_set"]

Link = Literal["symlink", "hard", "copy"]

_ORIGIN = "Written by jdetrt data convert"


@dataclass(frozen=True, slots=True, eq=False)
class LabelledImage:
    """One image of a raw data set and the people in it.

    Attributes:
        name: its path below ``images/``, with ``/`` and the suffix of its format.
        source: the image's file, or its encoded bytes where it is none of its own.
        boxes: ``(n, 4)`` float64 left, top, width, height in pixels, from the image's corner; a
            box may reach outside.
        people: who is in each box, any key that is the same for the same person all over the data
            set; None where nobody was identified.
    """

    name: str
    source: Path | bytes
    boxes: npt.NDArray[np.float64]
    people: tuple[Hashable | None, ...]


@dataclass(frozen=True, slots=True)
class Converted:
    """What was written.

    Attributes:
        listing: the file that lists the images.
        images: how many there are.
        boxes: how many labels they have.
        identities: how many people are identified; ids are below it.
    """

    listing: Path
    images: int
    boxes: int
    identities: int


def write_data_set(
    images: Iterable[LabelledImage],
    root: str | Path,
    folder: str,
    listing: str,
    *,
    link: Link = "symlink",
) -> Converted:
    """Write images, labels and list; they appear whole or not at all.

    Every image is decoded once, for its size and to find damaged downloads. Identities are
    numbered in the order in which they come. A box without area, or without a pixel of the
    image, is left out. What a former call wrote there is replaced; the list goes first and comes
    last, so a list means that its images are all there.

    Args:
        images: in the order that the list shall have.
        root: the folder that the lines of the list are relative to.
        folder: of this data set and split, below ``root``.
        listing: name of the list, in ``root``.
        link: how images that are files get there; a symbolic link names the place where the
            file lies now, a hard link needs the same file system.

    Raises:
        DataError: an image is missing, damaged or listed twice; a box is not finite; there is no
            image at all.
        OutputError: the folder is not one that a former call wrote, or cannot be written.
        MissingDependencyError: OpenCV is not installed.
    """
    root = Path(root)
    target, list_path = root / folder, root / listing
    lines: list[str] = []
    boxes = 0
    numbers: dict[Hashable, int] = {}
    with replace_folder(target, ("images", "labels_with_ids"), _ORIGIN) as temporary:
        for image in images:
            path = temporary / "images" / image.name
            label = (temporary / "labels_with_ids" / image.name).with_suffix(".txt")
            if label.exists():
                raise DataError(f"{image.name}: two images of the data set have this name")
            size = _place(image, path, link)
            rows = _rows(image, size, numbers)
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text("".join(rows))
            lines.append(f"{folder}/images/{image.name}\n")
            boxes += len(rows)
        if not lines:
            raise DataError(f"{list_path}: there is no image to list; is the raw folder right?")
        list_path.unlink(missing_ok=True)
    write_text(list_path, "".join(lines))
    return Converted(list_path, len(lines), boxes, len(numbers))


def _place(image: LabelledImage, target: Path, link: Link) -> tuple[int, int]:
    """Put an image where it belongs; return its width and height."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(image.source, bytes):
        target.write_bytes(image.source)
        origin = target
    else:
        origin = image.source
    try:
        height, width, _ = read_picture(origin).shape
    except SourceError as err:
        what = str(err).replace(str(target), image.name)
        raise DataError(f"{what}; get the data set's file again") from err
    if isinstance(image.source, Path):
        _link(image.source, target, link)
    return width, height


def _link(source: Path, target: Path, link: Link) -> None:
    try:
        if link == "symlink":
            target.symlink_to(source.resolve())
        elif link == "hard":
            os.link(source.resolve(), target)
        else:
            shutil.copyfile(source, target)
    except OSError as err:
        hint = "" if link == "copy" else "; copy the images instead (--link copy)"
        raise OutputError(
            f"{source}: cannot be put into the data set ({err.strerror or err}){hint}"
        ) from err


def _rows(image: LabelledImage, size: tuple[int, int], numbers: dict[Hashable, int]) -> list[str]:
    """The label rows of an image; people who are new get the next number."""
    if not np.isfinite(image.boxes).all():
        raise DataError(f"{image.name}: expected finite numbers for its boxes")
    rows = []
    for (left, top, width, height), person in zip(image.boxes, image.people, strict=True):
        seen = left < size[0] and top < size[1] and left + width > 0 and top + height > 0
        if width <= 0 or height <= 0 or not seen:
            continue
        identity = -1 if person is None else numbers.setdefault(person, len(numbers))
        x, y = (left + width / 2) / size[0], (top + height / 2) / size[1]
        rows.append(f"0 {identity} {x:.6f} {y:.6f} {width / size[0]:.6f} {height / size[1]:.6f}\n")
    return rows
