"""Labels of the frames of a MOT Challenge sequence."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt

from jdetrt.account import Account
from jdetrt.errors import DataError
from jdetrt.inputs import reading
from jdetrt.runtime.mot.classes import PEDESTRIAN, leave_out_others
from jdetrt.runtime.mot.files import MotRows, read_mot, suspect_corners
from jdetrt.runtime.sources.images import IMAGE_SUFFIXES, sequence_info
from jdetrt.runtime.sources.seqinfo import read_seqinfo
from jdetrt.training.data.labels import Labels

__all__ = ["count_people", "frame_images", "frames", "people_and_ignored"]

# Person on a vehicle, static person, distractor and reflection, which scoring ignores too, and the
# crowd.
_IGNORED = (2, 7, 8, 12, 13)


def frames(
    folder: Path,
    min_visibility: float = 0.0,
    account: Account | None = None,
    number: int = PEDESTRIAN,
    classes: Counter[int] | None = None,
) -> list[tuple[Path, Labels]]:
    """Image and labels of every frame, in order; frames without people have empty labels.

    Args:
        folder: of the sequence, with gt/gt.txt and the images.
        min_visibility: less visible people (column 9) are ignored.
        account: counts the people and the rows that are none.
        number: of the class to take in place of people.
        classes: gets the number of boxes by class, where there is a class column.

    Raises:
        DataError: a file is missing or malformed, or a row belongs to a frame without an image.
    """
    images = frame_images(folder)
    path = folder / "gt" / "gt.txt"
    rows = read_mot(path)
    missing = ~np.isin(rows.frames, list(images))
    if missing.any():
        row = int(np.argmax(missing))
        raise DataError(
            f"{path}:{rows.lines[row]}: frame {rows.frames[row]} has no image; there are "
            f"{len(images)}, {min(images)} to {max(images)}"
        )
    people, ignored = people_and_ignored(rows, min_visibility, number)
    if account is not None:
        count_people(account, rows, people)
        info = sequence_info(folder)
        if (doubt := suspect_corners(rows.boxes, info.size if info else None)) is not None:
            account.doubt(f"{path}: {doubt}")
    if classes is not None and rows.classes is not None:
        classes.update(rows.classes.tolist())
    corners = np.hstack([rows.boxes[:, :2], rows.boxes[:, :2] + rows.boxes[:, 2:]])
    boxes, ids = corners.astype(np.float32), np.maximum(rows.ids, -1)
    order = np.argsort(rows.frames, kind="stable")
    ends = np.searchsorted(rows.frames[order], list(images), side="right")
    labelled = []
    for image, here in zip(images.values(), np.split(order, ends), strict=False):
        person, region = here[people[here]], here[ignored[here]]
        labelled.append((image, Labels(boxes[person], ids[person], boxes[region])))
    return labelled


def people_and_ignored(
    rows: MotRows, min_visibility: float, number: int = PEDESTRIAN
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Masks ``(N,)`` of the rows of people to find, and of regions to ignore; no row is in both.

    People are the rows of class 1 with a mark (column 7) other than 0; without a class column all
    marked rows. Less visible people, people without a mark and what looks like people (people on
    vehicles, static people, mannequins, reflections, crowds) are ignored. Cars and occluders are
    neither. With another class than people (``number``) these are the rows of that class.
    """
    marked = rows.scores != 0
    if rows.classes is None:
        return marked, ~marked
    person = rows.classes == number
    people = person & marked
    if rows.visibility is not None:
        people &= rows.visibility >= min_visibility
    alike = _IGNORED if number == PEDESTRIAN else ()
    return people, (person & ~people) | np.isin(rows.classes, alike)


def count_people(account: Account, rows: MotRows, people: npt.NDArray[np.bool_]) -> None:
    """Count rows of a ground truth: people as taken, the others by the reason.

    Args:
        account: is completed.
        rows: of a gt.txt.
        people: ``(N,)`` mask of those to find.
    """
    everybody, _ = people_and_ignored(rows, min_visibility=0.0)
    leave_out_others(account, rows, everybody, by_class=rows.classes is not None)
    hidden = int((everybody & ~people).sum())
    account.taken -= hidden
    account.leave_out("less visible than asked for", hidden, by_design=True)


def frame_images(folder: Path) -> dict[int, Path]:
    """Find the image of each frame, named by its number; without a seqinfo.ini in img1.

    Raises:
        DataError: there is none, one is named otherwise, or the seqinfo.ini is malformed.
    """
    inside, suffixes, length = folder / "img1", IMAGE_SUFFIXES, None
    if (folder / "seqinfo.ini").is_file():
        info = read_seqinfo(folder)
        inside, suffixes = folder / info.image_dir, frozenset({info.extension.lower()})
        length = info.length
    with reading(inside, DataError):
        paths = [p for p in inside.iterdir() if p.suffix.lower() in suffixes]
    images = {}
    for path in paths:
        if path.name.startswith("."):
            continue
        if not (path.stem.isascii() and path.stem.isdigit()) or int(path.stem) == 0:
            raise DataError(
                f"{path}: expected an image named by the number of its frame, from 1, such as "
                f"000001{path.suffix}"
            )
        images[int(path.stem)] = path
    frames = {f: images[f] for f in sorted(images) if length is None or f <= length}
    if not frames:
        raise DataError(f"{inside}: no images ({', '.join(sorted(suffixes))})")
    return frames
