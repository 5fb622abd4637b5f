"""Data sets for training: JDE lists and folders, MOT sequences, mixtures of them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from jdetrt.account import Account, counted
from jdetrt.config import LabelConfig
from jdetrt.errors import ConfigError, DataError, SourceError
from jdetrt.runtime.mot.classes import PEDESTRIAN
from jdetrt.runtime.mot.files import suspect_corners
from jdetrt.runtime.sources.images import read_image
from jdetrt.training.data.classes import class_id, refuse_empty
from jdetrt.training.data.coco_labels import read_coco
from jdetrt.training.data.labels import Labels, label_path, read_labels
from jdetrt.training.data.mot_labels import frames
from jdetrt.training.data.next_frames import next_frames
from jdetrt.training.data.paths import CocoFile, Data, MotSequences, YoloImages, find
from jdetrt.training.data.sample import Sample
from jdetrt.training.data.yolo_labels import FOLDER as YOLO
from jdetrt.training.data.yolo_labels import class_names, read_yolo

__all__ = [
    "DataSet",
    "LabelledImages",
    "Mixture",
    "Repeated",
    "labelled_images",
    "labels_account",
    "open_data_set",
    "read_data",
    "readable",
]

_LOG = logging.getLogger(__name__)
OTHERS = "of other classes"  # that are left out: a reason in an account
_NAMED = 3  # faults that an account spells out
_BEYOND = 1.1  # share of the image where a whole box does not end, nor begin as far before it
_T = TypeVar("_T")


class DataSet(Protocol):
    """Labelled images by their index."""

    identities: int  # ids of samples are below it, or -1

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample:
        """Read one image. Raises IndexError beyond the last, SourceError if it is broken."""

    def successor(self, index: int) -> int | None:
        """Index of the next frame of the same sequence, or None."""


class LabelledImages:
    """Images with labels in memory; images are read on access.

    Identities are numbered from 0 without gaps, in the order of their numbers in the labels. (The
    reference counts the largest number plus one.) The same number in two sequences is two people.

    Args:
        sequences: image and labels of each frame; separate images are one "sequence".
        is_video: the next image of a sequence is its next frame; for separate images
            `jdetrt.training.data.next_frames` says which follow each other.
        cache: read all images now and keep them in memory, read-only; worker processes that are
            forked later share them.
        alone: people without an id become identities of their own, each in one image.
        account: of the labels; by default an empty one.

    Attributes:
        paths: of the images.
        labels: of the images, ids numbered as above.
        identities: number of them.
        account: of the people that are labelled, and of what is labelled and is nobody to find.
    """

    def __init__(
        self,
        sequences: Sequence[Sequence[tuple[Path, Labels]]],
        *,
        is_video: bool = False,
        cache: bool = False,
        alone: bool = False,
        account: Account | None = None,
    ) -> None:
        self.account = account or Account("person", "people")
        self.paths: list[Path] = []
        self.labels: list[Labels] = []
        self.identities = 0
        self._next: list[int | None] = []
        for sequence in sequences:
            ids = np.concatenate([labels.ids for _, labels in sequence])
            known = np.unique(ids[ids >= 0])
            for path, labels in sequence:
                dense = np.searchsorted(known, labels.ids) + self.identities
                dense[labels.ids < 0] = -1
                self.paths.append(path)
                self.labels.append(replace(labels, ids=dense))
                self._next.append(len(self.paths))
            self._next[-1] = None
            self.identities += len(known)
        if not is_video:
            self._next = next_frames(self.paths, [labels.ids for labels in self.labels])
        if alone:
            for labels in self.labels:
                unknown = labels.ids < 0
                count = int(unknown.sum())
                labels.ids[unknown] = np.arange(self.identities, self.identities + count)
                self.identities += count
        self._images = [read_image(path) for path in self.paths] if cache else None
        for image in self._images or []:
            image.setflags(write=False)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Sample:
        """Read an image with its labels in pixels."""
        image = self._images[index] if self._images else read_image(self.paths[index])
        height, width, _ = image.shape
        labels = self.labels[index].in_pixels(width, height)
        return Sample(image, labels.boxes, labels.ids, labels.ignore)

    def successor(self, index: int) -> int | None:
        """Index of the next frame of the same video, or None."""
        return self._next[index]


class Repeated:
    """A data set whose images come several times in one epoch."""

    def __init__(self, data_set: DataSet, times: int) -> None:
        if times < 1:
            raise ConfigError(f"repeat {times}: expected 1 or more; or leave the data set out")
        self.identities = data_set.identities
        self.data_set = data_set
        self._times = times

    def __len__(self) -> int:
        return len(self.data_set) * self._times

    def __getitem__(self, index: int) -> Sample:
        """The sample of the image."""
        return self.data_set[self._inner(index)[1]]

    def successor(self, index: int) -> int | None:
        """Index of the next frame in the same round."""
        start, inner = self._inner(index)
        following = self.data_set.successor(inner)
        return None if following is None else start + following

    def _inner(self, index: int) -> tuple[int, int]:
        """First index of the round, and index in the data set."""
        inner = range(len(self))[index] % len(self.data_set)
        return range(len(self))[index] - inner, inner


class Mixture:
    """Data sets one after the other, as one.

    The identities of each follow those of the sets before it (reference utils/datasets.py).

    Raises:
        ConfigError: there is no data set.
    """

    def __init__(self, data_sets: Sequence[DataSet]) -> None:
        if not data_sets:
            raise ConfigError("no training data: name at least one data set")
        self.data_sets = list(data_sets)
        self._starts = np.cumsum([0, *map(len, data_sets)])
        self._first_ids = np.cumsum([0, *(one.identities for one in data_sets)])
        self.identities = int(self._first_ids[-1])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: int) -> Sample:
        """The sample, its ids shifted by the identities of the data sets before."""
        which, inner = self._inner(index)
        sample = self.data_sets[which][inner]
        shifted = np.where(sample.ids < 0, -1, sample.ids + self._first_ids[which])
        return replace(sample, ids=shifted)

    def successor(self, index: int) -> int | None:
        """Index of the next frame of the same sequence."""
        which, inner = self._inner(index)
        following = self.data_sets[which].successor(inner)
        return None if following is None else int(self._starts[which]) + following

    def _inner(self, index: int) -> tuple[int, int]:
        """Number of the data set, and index in it."""
        index = range(len(self))[index]
        which = int(np.searchsorted(self._starts, index, side="right")) - 1
        return which, index - int(self._starts[which])


def readable(
    data: DataSet,
    images: Account,
    indices: Iterable[int] | None = None,
    *,
    people: Account | None = None,
) -> Iterator[tuple[int, Sample]]:
    """Read the images of a data set one by one, but for those that cannot be read.

    Args:
        data: the images.
        images: counts them; its notes name the first that cannot be read.
        indices: of the images to read; by default all.
        people: account of the labels, from which the people of such images are taken out.

    Yields:
        Index and sample.

    Raises:
        DataError: not one of them can be read.
    """
    count = 0
    for index in range(len(data)) if indices is None else indices:
        sample = _unless_damaged(lambda index=index: data[index], images)  # type: ignore[misc]
        if sample is not None:
            images.take()
            count += len(sample.boxes)
            yield index, sample
    if images.lost and people is not None:
        people.leave_out("of images that cannot be read", people.taken - count)
        people.taken = count
    if images.lost and not images.taken:
        raise DataError(f"{images.warning()}; {images.notes[0]}")
    if images.lost:
        _LOG.warning("%s: %s", images.summary(), images.notes[0])


def labels_account(data: DataSet) -> Account:
    """Account of the labels of a data set, and of all in a mixture; rendered ones have none."""
    account = Account("person", "people")
    if isinstance(data, Mixture):
        for one in data.data_sets:
            account.add(labels_account(one))
    elif isinstance(data, Repeated):
        account.add(labels_account(data.data_set))
    elif isinstance(data, LabelledImages):
        account.add(data.account)
    return account


def open_data_set(
    path: str | Path,
    root: str | Path | None = None,
    *,
    min_visibility: float = 0.0,
    repeat: int = 1,
    cache: bool = False,
    alone: bool = False,
    label: LabelConfig | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> DataSet:
    """Open a data set; its labels are read now, its images on access.

    Args:
        path: a list, a folder or a pattern, see `jdetrt.training.data.paths.find`.
        root: folder that the paths in a list are relative to; default: the list's own.
        min_visibility: of MOT sequences; less visible people are ignored.
        repeat: times that each image comes in one epoch; identities stay as they are.
        cache: keep all images in memory, decoded.
        alone: people without an id become identities of their own, each in one image.
        label: the class to take in place of people.
        say: gets a line where boxes of other classes are left out, except those that are never
            taken, such as the cars of MOT Challenge.

    Raises:
        DataError: the data are missing, have no box of the class, or labels are malformed
            (``path:line``).
        ConfigError: ``repeat`` is below 1.
    """
    data_set = labelled_images(
        path, root, min_visibility=min_visibility, cache=cache, alone=alone, label=label, say=say
    )
    return data_set if repeat == 1 else Repeated(data_set, repeat)


def labelled_images(
    path: str | Path,
    root: str | Path | None = None,
    *,
    min_visibility: float = 0.0,
    cache: bool = False,
    alone: bool = False,
    label: LabelConfig | None = None,
    say: Callable[[str], None] = lambda _: None,
    images: Account | None = None,
) -> LabelledImages:
    """Open a data set as `open_data_set` does, without repetition, for its paths and labels.

    Images of a list or of YOLO's form that do not exist or whose label file is damaged are refused,
    but with ``images``, which counts them.
    """
    account = Account("box", "boxes") if label else Account("person", "people")
    sequences, is_video = read_data(find(path, root), min_visibility, label, account, images)
    if others := account.by_design[OTHERS]:
        say(f"{path}: {counted(others, 'box', 'boxes')} {OTHERS} left out")
    if (warning := account.warning()) is not None:
        _LOG.warning("%s: %s", path, warning)
    for doubt in account.doubts:
        _LOG.warning("%s", doubt)
    return LabelledImages(sequences, is_video=is_video, cache=cache, alone=alone, account=account)


def _yolo_class(folder: Path, label: LabelConfig | None) -> int:
    file, names = class_names(folder)
    return class_id(label, names, str(file))


def read_data(
    data: Data,
    min_visibility: float,
    label: LabelConfig | None,
    account: Account,
    images: Account | None = None,
) -> tuple[list[list[tuple[Path, Labels]]], bool]:
    """Read the labels of data in any form.

    Args:
        data: where they are.
        min_visibility: of MOT sequences; less visible people are ignored.
        label: the class to take in place of people.
        account: counts the boxes that are taken and those that are not.
        images: as in `labelled_images`.

    Returns:
        Images and labels of each sequence (separate images are one), and whether these are videos.

    Raises:
        DataError: as `open_data_set`.
    """
    classes: Counter[int] = Counter()
    if isinstance(data, MotSequences):
        number = PEDESTRIAN if label is None else label.id
        people = account if label is None else None
        sequences = [frames(one, min_visibility, people, number, classes) for one in data.folders]
        if label is not None:
            refuse_empty(data.folders[0], number, classes)
            _count(sequences, classes, number, account)
        return sequences, True
    if isinstance(data, CocoFile):
        labelled, number = read_coco(data.file, data.root, label, classes)
        refuse_empty(data.file, number, classes)
    elif isinstance(data, YoloImages):
        number = _yolo_class(data.folder, label)
        labelled = _each(
            data.images,
            lambda at: read_yolo(label_path(data.images[at], YOLO), number, classes),
            images,
        )
        if not classes:
            raise DataError(f"{data.folder}: no image has a label file with boxes")
        refuse_empty(data.folder, number, classes)
    else:
        chosen = None if label is None else label.id

        def listed(at: int) -> Labels:
            image = data.images[at]
            if not image.is_file():
                raise DataError(f"{data.named_in[at]}: {image} does not exist; is the root right?")
            return read_labels(label_path(image), chosen, classes)

        labelled = _each(data.images, listed, images)
        if label is not None:
            refuse_empty(data.folder or data.named_in[0], label.id, classes)
        number = chosen or 0
    _count([labelled], classes, number, account)
    _doubt_corners([labels for _, labels in labelled if labels.relative], account)
    return [labelled], False


def _unless_damaged(read: Callable[[], _T], images: Account) -> _T | None:
    """Read something of an image; where it is damaged, count the image and give None."""
    try:
        return read()
    except (DataError, SourceError) as err:
        images.leave_out("that cannot be read")
        if images.lost <= _NAMED:
            images.note(str(err))
        return None


def _each(
    paths: Sequence[Path], read: Callable[[int], Labels], images: Account | None
) -> list[tuple[Path, Labels]]:
    """Images and their labels; those with an account, but for what is damaged."""
    if images is None:
        return [(path, read(at)) for at, path in enumerate(paths)]
    labelled = []
    for at, path in enumerate(paths):
        labels = _unless_damaged(lambda at=at: read(at), images)  # type: ignore[misc]
        if labels is not None:
            labelled.append((path, labels))
    if images.lost and not labelled:
        raise DataError(f"{images.warning()}; {images.notes[0]}")
    return labelled


def _doubt_corners(labels: Sequence[Labels], account: Account) -> None:
    """Doubt labels in shares that look like left, top, right, bottom, not centre and size."""
    if not labels:
        return
    corners = np.concatenate([one.boxes for one in labels]).astype(np.float64)
    sides = corners[:, 2:] - corners[:, :2]
    centres = (corners[:, 2:] + corners[:, :2]) / 2
    rows = np.hstack([centres, sides])
    ends = (abs(corners - 0.5) > _BEYOND - 0.5).any(axis=1)
    if 4 * ends.sum() > len(rows) and suspect_corners(rows, (1, 1)) is not None:
        account.doubt(
            f"{ends.sum()} of {counted(len(rows), 'label')} reach far out of the image, and none "
            "would if x y w h were left, top, right, bottom; expected the centre and the size"
        )


def _count(
    sequences: Sequence[Sequence[tuple[Path, Labels]]],
    classes: Counter[int],
    number: int,
    account: Account,
) -> None:
    account.take(sum(len(labels.boxes) for sequence in sequences for _, labels in sequence))
    account.leave_out(OTHERS, classes.total() - classes[number], by_design=True)
