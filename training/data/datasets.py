"""Data sets for training: JDE lists and folders, MOT sequences, mixtures of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np

from jdetrt.account import Account
from jdetrt.errors import ConfigError, DataError
from jdetrt.runtime.sources.images import read_image
from jdetrt.training.data.labels import Labels, label_path, read_labels
from jdetrt.training.data.mot_labels import frames
from jdetrt.training.data.next_frames import next_frames
from jdetrt.training.data.paths import MotSequences, find
from jdetrt.training.data.sample import Sample

__all__ = [
    "DataSet",
    "LabelledImages",
    "Mixture",
    "Repeated",
    "labelled_images",
    "open_data_set",
]

_LOG = logging.getLogger(__name__)


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
        self._data_set = data_set
        self._times = times

    def __len__(self) -> int:
        return len(self._data_set) * self._times

    def __getitem__(self, index: int) -> Sample:
        """The sample of the image."""
        return self._data_set[self._inner(index)[1]]

    def successor(self, index: int) -> int | None:
        """Index of the next frame in the same round."""
        start, inner = self._inner(index)
        following = self._data_set.successor(inner)
        return None if following is None else start + following

    def _inner(self, index: int) -> tuple[int, int]:
        """First index of the round, and index in the data set."""
        inner = range(len(self))[index] % len(self._data_set)
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
        self._data_sets = list(data_sets)
        self._starts = np.cumsum([0, *map(len, data_sets)])
        self._first_ids = np.cumsum([0, *(one.identities for one in data_sets)])
        self.identities = int(self._first_ids[-1])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: int) -> Sample:
        """The sample, its ids shifted by the identities of the data sets before."""
        which, inner = self._inner(index)
        sample = self._data_sets[which][inner]
        shifted = np.where(sample.ids < 0, -1, sample.ids + self._first_ids[which])
        return replace(sample, ids=shifted)

    def successor(self, index: int) -> int | None:
        """Index of the next frame of the same sequence."""
        which, inner = self._inner(index)
        following = self._data_sets[which].successor(inner)
        return None if following is None else int(self._starts[which]) + following

    def _inner(self, index: int) -> tuple[int, int]:
        """Number of the data set, and index in it."""
        index = range(len(self))[index]
        which = int(np.searchsorted(self._starts, index, side="right")) - 1
        return which, index - int(self._starts[which])


def open_data_set(
    path: str | Path,
    root: str | Path | None = None,
    *,
    min_visibility: float = 0.0,
    repeat: int = 1,
    cache: bool = False,
    alone: bool = False,
) -> DataSet:
    """Open a data set; its labels are read now, its images on access.

    Args:
        path: a list, a folder or a pattern, see `jdetrt.training.data.paths.find`.
        root: folder that the paths in a list are relative to; default: the list's own.
        min_visibility: of MOT sequences; less visible people are ignored.
        repeat: times that each image comes in one epoch; identities stay as they are.
        cache: keep all images in memory, decoded.
        alone: people without an id become identities of their own, each in one image.

    Raises:
        DataError: the data are missing, or labels are malformed (``path:line``).
        ConfigError: ``repeat`` is below 1.
    """
    data_set = labelled_images(path, root, min_visibility=min_visibility, cache=cache, alone=alone)
    return data_set if repeat == 1 else Repeated(data_set, repeat)


def labelled_images(
    path: str | Path,
    root: str | Path | None = None,
    *,
    min_visibility: float = 0.0,
    cache: bool = False,
    alone: bool = False,
) -> LabelledImages:
    """Open a data set as `open_data_set` does, without repetition, for its paths and labels."""
    data = find(path, root)
    account = Account("person", "people")
    if isinstance(data, MotSequences):
        sequences = [frames(folder, min_visibility, account) for folder in data.folders]
    else:
        labelled = []
        for image, named_in in zip(data.images, data.named_in, strict=True):
            if not image.is_file():
                raise DataError(f"{named_in}: {image} does not exist; is the root right?")
            labelled.append((image, read_labels(label_path(image))))
        account.take(sum(len(labels.boxes) for _, labels in labelled))
        sequences = [labelled]
    if (warning := account.warning()) is not None:
        _LOG.warning("%s: %s", path, warning)
    is_video = isinstance(data, MotSequences)
    return LabelledImages(sequences, is_video=is_video, cache=cache, alone=alone, account=account)
