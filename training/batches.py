"""An epoch of training batches: the same ones from any number of workers, and after resuming."""

from __future__ import annotations

import signal
import sys
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from jdetrt.errors import ConfigError, DataError, JdetrtError
from jdetrt.runtime.opencv import load_cv2
from jdetrt.runtime.signals import interrupt_held
from jdetrt.training.augment.geometry import flip
from jdetrt.training.augment.pipeline import view
from jdetrt.training.data.datasets import DataSet
from jdetrt.training.data.sample import Batch, Sample
from jdetrt.training.recipe import AugmentConfig

__all__ = ["batch_count", "batches", "collate"]

# Streams of random numbers: part of each one's seed, with the run's seed and the epoch. Not zero:
# NumPy takes (1, 2) and (1, 2, 0) for the same seed.
_ORDER, _SIZES, _VIEW, _FLIP = 1, 2, 3, 4


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples of one size: BGR to RGB, 0..255 to 0..1, boxes by their centre."""
    return _to_unit(_stack(samples))


def batches(
    data_set: DataSet,
    config: AugmentConfig,
    size: tuple[int, int],
    batch: int,
    seed: int,
    epoch: int,
    workers: int,
    pairs: bool = False,
    skip: int = 0,
    rank: int = 0,
    world: int = 1,
    sizes: Sequence[tuple[int, int]] = (),
) -> Generator[Batch, None, None]:
    """Give the batches of one epoch, shuffled and augmented at random.

    A batch depends on the seed, the epoch and its position in the epoch alone, not on the workers
    or on where the epoch was resumed. The last images, too few for a batch, are left out; another
    epoch leaves out others. Closing the generator ends the workers.

    Args:
        data_set: the images; workers pickle it.
        config: of the augmentation.
        size: width and height of the network's input.
        batch: images in a batch, of all ranks together.
        seed: 0 or more.
        epoch: 0 or more.
        workers: processes that prepare batches; 0 prepares them in this one.
        pairs: make batches of pairs of consecutive frames (paper section 4.3, for the triplet
            losses), mirrored both or neither; no image comes twice in an epoch, and images
            without a next frame are not used.
        skip: batches to leave out at the start.
        rank: of this process in distributed training, from 0. It gets its share of each batch, a
            run of ``batch / world`` images.
        world: number of processes in distributed training.
        sizes: draw the size of each batch from these in place of ``size``.

    Raises:
        ConfigError: ``batch`` cannot be divided as asked.
        DataError: there are not enough images or pairs for one batch, or one cannot be read.
    """
    unit = 2 * world if pairs else world
    if batch < 1 or batch % unit:
        raise ConfigError(
            f"batch: {batch} images cannot be divided into "
            f"{'pairs for ' if pairs else ''}{world} process{'es' * (world > 1)}; "
            f"take a multiple of {unit}"
        )
    load_cv2()  # fail here rather than in a worker
    order = _ordered(data_set, batch, seed, epoch, pairs)
    choices = np.random.default_rng((_SIZES, seed, epoch)).integers(
        max(len(sizes), 1), size=len(order)
    )
    share = batch // world
    plan = [
        [
            _Request(index, leader, (sizes or (size,))[choice])
            for index, leader in images[rank * share : (rank + 1) * share]
        ]
        for images, choice in zip(order[skip:], choices[skip:], strict=True)
    ]
    loader: DataLoader[Any] = DataLoader(
        _Views(data_set, config, seed, epoch),
        batch_sampler=plan,
        collate_fn=_packed,
        num_workers=workers,
        worker_init_fn=_worker,
        generator=torch.Generator(),  # so that torch's own random state stays as it is
    )
    return _delivered(loader)


def batch_count(data_set: DataSet, batch: int, seed: int, epoch: int, pairs: bool = False) -> int:
    """Count the batches that ``batches`` gives for the same arguments. Raises DataError as well."""
    return len(_ordered(data_set, batch, seed, epoch, pairs))


def _delivered(loader: Iterable[Batch | JdetrtError]) -> Generator[Batch, None, None]:
    loaded = _started(loader)
    try:
        for batch in loaded:
            if isinstance(batch, JdetrtError):
                raise batch
            yield _to_unit(batch)
    finally:
        with interrupt_held():  # lost in the destructor, which ends the workers
            del loaded


def _started(loader: Iterable[Batch | JdetrtError]) -> Iterator[Batch | JdetrtError]:
    """Start the workers with the signals that stop the program blocked.

    Ctrl-C and ``timeout`` send them to all processes. Workers end with the program, without
    tracebacks of their own; one that was killed would stop the program with an error.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        return iter(loader)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@dataclass(frozen=True, slots=True)
class _Request:
    index: int
    leader: int  # image whose flip this one shares: itself, or the first of its pair
    size: tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Views(Dataset[Any]):
    """Augmented images for the data loader."""

    data_set: DataSet
    config: AugmentConfig
    seed: int
    epoch: int

    def __getitem__(self, request: _Request) -> Sample | JdetrtError:
        key = (self.seed, self.epoch)
        rng = np.random.default_rng((_VIEW, *key, request.index))
        try:
            sample = view(self.data_set, request.index, request.size, self.config, rng)
        except JdetrtError as err:
            return err  # raised by the loader it would come with a worker's traceback
        mirrored = np.random.default_rng((_FLIP, *key, request.leader)).random() < self.config.flip
        return flip(sample) if mirrored else sample


def _ordered(
    data_set: DataSet, batch: int, seed: int, epoch: int, pairs: bool
) -> list[list[tuple[int, int]]]:
    """Images of each batch: index, and index of the first image of its pair."""
    shuffled = np.random.default_rng((_ORDER, seed, epoch)).permutation(len(data_set)).tolist()
    order = _in_pairs(data_set, shuffled) if pairs else [(index, index) for index in shuffled]
    if len(order) < batch:
        kind = "with a next frame to pair with" if pairs else "to train on"
        raise DataError(
            f"data set: {len(order)} images {kind} are fewer than one batch of {batch}; "
            "take a smaller batch or more data"
        )
    return [order[i : i + batch] for i in range(0, len(order) - batch + 1, batch)]


def _in_pairs(data_set: DataSet, shuffled: list[int]) -> list[tuple[int, int]]:
    """Pairs of consecutive frames, each in one pair at most, in the order of the first."""
    used: set[int] = set()
    order = []
    for first in shuffled:
        second = data_set.successor(first)
        if second is not None and not used & {first, second}:
            used |= {first, second}
            order += [(first, first), (second, first)]
    return order


def _packed(items: Sequence[Sample | JdetrtError]) -> Batch | JdetrtError:
    """Batch of bytes, a quarter of the size of floats on the way from a worker; or an error."""
    error = next((item for item in items if isinstance(item, JdetrtError)), None)
    return error or _stack([item for item in items if isinstance(item, Sample)])


def _stack(samples: Sequence[Sample]) -> Batch:
    """Stack samples as ``collate`` does, with images uint8 from 0 to 255."""
    images = np.stack([sample.image[:, :, ::-1] for sample in samples])
    corners = np.concatenate([sample.boxes for sample in samples])
    low, high = corners[:, :2], corners[:, 2:]
    numbers = np.arange(len(samples))
    return Batch(
        images=torch.from_numpy(images).movedim(3, 1),  # channels last in memory
        boxes=torch.from_numpy(np.concatenate([(low + high) / 2, high - low], axis=1)),
        ids=torch.from_numpy(np.concatenate([sample.ids for sample in samples])),
        image_index=torch.from_numpy(numbers.repeat([len(sample.boxes) for sample in samples])),
        ignore=torch.from_numpy(np.concatenate([sample.ignore for sample in samples])),
        ignore_image_index=torch.from_numpy(
            numbers.repeat([len(sample.ignore) for sample in samples])
        ),
    )


def _to_unit(batch: Batch) -> Batch:
    return replace(batch, images=batch.images.float().div_(255))


def _worker(number: int) -> None:
    """Restrict OpenCV to one thread, and silence a worker at the end of the program.

    Python hands over a batch in a thread, which prints a traceback if the program ends meanwhile.
    """
    load_cv2().setNumThreads(0)
    sys.excepthook = lambda *_: None
