"""Write labelled images in JDE's form: images, label files and a list of the images.

The folder that all data sets share holds, for each data set and split::

    mot17.train                                    one image a line, relative to the folder
    MOT17/train/images/MOT17-02-SDP/img1/000001.jpg
    MOT17/train/labels_with_ids/MOT17-02-SDP/img1/000001.txt

A label file has one row per person, ``class id xc yc w h``: class 0, id from 0 over the data set or
-1, centre and size as shares of the image's width and height (reference 3.5). The format has no
regions to ignore, so the boxes of crowds, other classes and doubtful people are left out, and
detections there count as false alarms, in training and in average precision.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from jdetrt.account import Account
from jdetrt.errors import DataError, OutputError, SourceError
from jdetrt.files import replace_folder, write_text
from jdetrt.runtime.mot.files import NO_AREA
from jdetrt.runtime.sources.images import read_image
from jdetrt.training.convert.names import check_inside, inner_name
from jdetrt.types import Size

__all__ = ["Converted", "LabelledImage", "Link", "write_data_set"]

Link = Literal["symlink", "hard", "copy"]

_LIST = "images.list"
_ORIGIN = "Written by jdetrt data convert"


@dataclass(frozen=True, slots=True, eq=False)
class LabelledImage:
    """One image of a raw data set and its people."""

    name: str  # its path below images/, with "/" and the suffix of its format
    source: Path | bytes  # its file, or its encoded bytes
    boxes: npt.NDArray[np.float64]  # (n, 4): left, top, width, height in pixels; may reach outside
    people: tuple[Hashable | None, ...]  # a key of each box's person; None for an unknown one


@dataclass(frozen=True, slots=True)
class Converted:
    """A converted data set."""

    listing: Path  # the list of the images
    images: int
    boxes: int
    identities: int
    left_out: dict[str, int] = field(default_factory=dict)  # boxes of people, by the reason


def write_data_set(
    images: Iterable[LabelledImage],
    root: str | Path,
    folder: str,
    listing: str,
    *,
    link: Link = "symlink",
) -> Converted:
    """Write images, labels and list, whole or not at all.

    Every image is decoded once, for its size and to find damaged downloads. Identities are
    numbered in order of appearance. A box without area, or completely outside of the image, is
    left out. The result of a former call is replaced in one step: the list lies in the folder, and
    its name in ``root`` is a link to it, so that all images of a list exist.

    Args:
        images: in the order of the list.
        root: folder that the lines of the list are relative to.
        folder: of this data set and split, below ``root``.
        listing: name of the list, in ``root``.
        link: symbolic or hard links to image files (a hard link needs the same file system), or
            copies of them.

    Raises:
        DataError: an image is missing, damaged or listed twice; a name leads out of the folder; a
            box is not finite; there are no
            images.
        OutputError: the folder is not from a former call, or cannot be written.
        MissingDependencyError: OpenCV is not installed.
    """
    root = Path(root)
    target, list_path = root / folder, root / listing
    lines: list[str] = []
    account = Account("box", "boxes")
    numbers: dict[Hashable, int] = {}
    with replace_folder(target, ("images", "labels_with_ids", _LIST), _ORIGIN) as temporary:
        for image in images:
            path = temporary / "images" / inner_name(image.name, target)
            label = (temporary / "labels_with_ids" / image.name).with_suffix(".txt")
            if label.exists():
                raise DataError(f"{image.name}: two images of the data set have this name")
            size = _place(image, temporary, path, link)
            rows = _rows(image, size, numbers, account)
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text("".join(rows))
            lines.append(f"{folder}/images/{image.name}\n")
        if not lines:
            raise DataError(f"{list_path}: no images to list; check the folder of the download")
        (temporary / _LIST).write_text("".join(lines))
        if not list_path.is_symlink():  # of an earlier version
            list_path.unlink(missing_ok=True)
    _name_list(list_path, target / _LIST)
    left_out = dict(account.left_out)
    return Converted(list_path, len(lines), account.taken, len(numbers), left_out)


def _name_list(name: Path, file: Path) -> None:
    """Give a list its name in the folder of all data sets."""
    if name.exists() and name.samefile(file):
        return
    try:
        name.unlink(missing_ok=True)
        name.symlink_to(os.path.relpath(file, name.parent))
    except OSError:  # a file system without links
        write_text(name, file.read_text())


def _place(image: LabelledImage, folder: Path, target: Path, link: Link) -> Size:
    """Link or write an image; give its size."""
    check_inside(target.parent, folder, image.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(image.source, bytes):
        target.write_bytes(image.source)
        origin = target
    else:
        origin = image.source
    try:
        size = Size.of(read_image(origin))
    except SourceError as err:
        what = str(err).replace(str(target), image.name)
        raise DataError(f"{what}; download the data set's file again") from err
    if isinstance(image.source, Path):
        _link(image.source, target, link)
    return size


def _link(source: Path, target: Path, link: Link) -> None:
    try:
        if link == "symlink":
            target.symlink_to(source.resolve())
        elif link == "hard":
            os.link(source.resolve(), target)
        else:
            shutil.copyfile(source, target)
    except OSError as err:
        hint = "" if link == "copy" else "; use --link copy"
        raise OutputError(
            f"{source}: cannot be put into the data set ({err.strerror or err}){hint}"
        ) from err


def _rows(
    image: LabelledImage, size: Size, numbers: dict[Hashable, int], account: Account
) -> list[str]:
    """Label rows of an image; new people get the next number."""
    if not np.isfinite(image.boxes).all():
        raise DataError(f"{image.name}: expected finite numbers for its boxes")
    rows = []
    for (left, top, width, height), person in zip(image.boxes, image.people, strict=True):
        visible = left < size[0] and top < size[1] and left + width > 0 and top + height > 0
        if width <= 0 or height <= 0 or not visible:
            has_area = width > 0 and height > 0
            account.leave_out("outside of the image" if has_area else NO_AREA)
            continue
        account.take()
        identity = -1 if person is None else numbers.setdefault(person, len(numbers))
        x, y = (left + width / 2) / size[0], (top + height / 2) / size[1]
        rows.append(f"0 {identity} {x:.6f} {y:.6f} {width / size[0]:.6f} {height / size[1]:.6f}\n")
    return rows
