from __future__ import annotations

import multiprocessing
import os
import signal
from dataclasses import fields

import numpy as np
import pytest
import torch
from coloured_people import ColouredPeople

from jdetrt.errors import ConfigError, DataError, MissingDependencyError
from jdetrt.training.augment.geometry import flip, letterbox_sample
from jdetrt.training.batches import batch_count, batches, collate
from jdetrt.training.data.sample import Batch, Sample
from jdetrt.training.recipe import AugmentConfig

SIZE = (96, 64)
PAPER = AugmentConfig()
STILL = AugmentConfig(
    saturation=0, value=0, rotation=0, scale=(1, 1), translation=0, shear=0, flip=0
)
EXTRAS = AugmentConfig(hue=0.1, mosaic=0.3, crop=0.5, copy_paste=0.5, erase=0.3, noise=0.3)

# Workers are forked; newer Pythons warn where another test has left a thread.
forks = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


def _same(first: list[Batch], second: list[Batch]) -> bool:
    return len(first) == len(second) and all(
        torch.equal(getattr(a, f.name), getattr(b, f.name))
        for a, b in zip(first, second, strict=True)
        for f in fields(Batch)
    )


def _pictures(batch: Batch, people: int = 3) -> list[int]:
    """The index of each image of ``ColouredPeople``, from the ids in it."""
    count = len(batch.images)
    return [int(batch.ids[batch.image_index == i].min()) // people for i in range(count)]


# ---- one batch -----------------------------------------------------------------------------


def test_a_batch_is_what_its_samples_are() -> None:
    people = ColouredPeople(3)
    samples = [letterbox_sample(people[i], SIZE) for i in range(3)]
    nobody = Sample(samples[0].image, samples[0].boxes[:0], samples[0].ids[:0], samples[0].boxes)
    batch = collate([samples[0], nobody, *samples[1:]])
    assert batch.images.shape == (4, 3, SIZE[1], SIZE[0])
    assert batch.images.dtype == batch.boxes.dtype == batch.ignore.dtype == torch.float32
    assert (
        batch.ids.dtype == batch.image_index.dtype == batch.ignore_image_index.dtype == torch.int64
    )
    for i, sample in ((0, samples[0]), (2, samples[1]), (3, samples[2])):
        for channel in range(3):
            expected = sample.image[:, :, 2 - channel].astype(np.float32) / np.float32(255)
            np.testing.assert_array_equal(batch.images[i, channel].numpy(), expected)
        rows = batch.boxes[batch.image_index == i].tolist()
        for (x, y, w, h), (x1, y1, x2, y2) in zip(rows, sample.boxes.tolist(), strict=True):
            assert (x, y, w, h) == pytest.approx(((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1))
        assert batch.ids[batch.image_index == i].tolist() == sample.ids.tolist()
    assert batch.image_index.tolist() == [0] * 3 + [2] * 3 + [3] * 3
    assert batch.ignore_image_index.tolist() == [1] * 3
    np.testing.assert_array_equal(batch.ignore.numpy(), samples[0].boxes)


def test_a_batch_without_people_keeps_its_shapes() -> None:
    empty = np.zeros((0, 4), np.float32)
    image = np.zeros((64, 96, 3), np.uint8)
    batch = collate([Sample(image, empty, np.zeros(0, np.int64), empty)] * 2)
    assert batch.boxes.shape == batch.ignore.shape == (0, 4)
    assert batch.ids.shape == batch.image_index.shape == batch.ignore_image_index.shape == (0,)
    assert batch.image_index.dtype == torch.int64


# ---- an epoch ------------------------------------------------------------------------------


def test_an_epoch_has_every_picture_once_shuffled_and_in_whole_batches() -> None:
    people = ColouredPeople(26)
    orders = []
    for epoch in range(3):
        made = list(batches(people, STILL, SIZE, 4, 0, epoch, 0))
        assert len(made) == batch_count(people, 4, 0, epoch) == 6
        order = [index for batch in made for index in _pictures(batch)]
        assert len(order) == len(set(order)) == 24
        orders.append(order)
    assert orders[0] != sorted(orders[0])
    assert orders[0] != orders[1] != orders[2]
    other = [i for batch in batches(people, STILL, SIZE, 4, 1, 0, 0) for i in _pictures(batch)]
    assert other not in orders


def test_augmentation_differs_by_epoch_and_seed() -> None:
    people = ColouredPeople(4)
    seen = set()
    for seed, epoch in ((0, 0), (0, 1), (1, 0), (1, 1)):
        (batch,) = batches(people, PAPER, SIZE, 4, seed, epoch, 0)
        seen.add(tuple(sorted(batch.boxes[:, 2].tolist())))
    assert len(seen) == 4


def test_half_of_the_pictures_are_mirrored() -> None:
    class Alike(ColouredPeople):
        def __getitem__(self, index: int) -> Sample:
            return super().__getitem__(0)

    people = Alike(200)
    config = AugmentConfig(saturation=0, value=0, rotation=0, scale=(1, 1), translation=0, shear=0)
    plain = collate([letterbox_sample(people[0], SIZE)]).boxes
    mirrored = collate([flip(letterbox_sample(people[0], SIZE))]).boxes
    count = 0
    for batch in batches(people, config, SIZE, 1, 0, 0, 0):
        assert torch.equal(batch.boxes, plain) or torch.equal(batch.boxes, mirrored)
        count += torch.equal(batch.boxes, mirrored)
    assert 70 < count < 130


@forks
@pytest.mark.parametrize("pairs", [False, True])
def test_workers_and_resuming_change_nothing(pairs: bool) -> None:
    people = ColouredPeople(20)
    sizes = ((96, 64), (64, 64), (64, 96))

    def made(workers: int, skip: int = 0) -> list[Batch]:
        return list(
            batches(people, EXTRAS, SIZE, 4, 5, 2, workers, pairs=pairs, skip=skip, sizes=sizes)
        )

    whole = made(0)
    assert len(whole) == batch_count(people, 4, 5, 2, pairs) > 3
    assert _same(made(2), whole)
    assert _same(made(0, skip=2), whole[2:])
    assert _same(made(1, skip=1), whole[1:])
    assert made(0, skip=len(whole)) == []


@pytest.mark.parametrize("pairs", [False, True])
def test_shares_of_ranks_make_up_the_batch(pairs: bool) -> None:
    people = ColouredPeople(30)
    whole = list(batches(people, EXTRAS, SIZE, 8, 3, 1, 0, pairs=pairs))
    parts = [
        list(batches(people, EXTRAS, SIZE, 8, 3, 1, 0, pairs=pairs, rank=rank, world=2))
        for rank in range(2)
    ]
    for batch, first, second in zip(whole, *parts, strict=True):
        assert torch.equal(batch.images, torch.cat([first.images, second.images]))
        assert torch.equal(batch.boxes, torch.cat([first.boxes, second.boxes]))
        assert torch.equal(batch.ids, torch.cat([first.ids, second.ids]))
        assert torch.equal(
            batch.image_index, torch.cat([first.image_index, second.image_index + 4])
        )
        assert torch.equal(batch.ignore, torch.cat([first.ignore, second.ignore]))


def test_every_batch_has_one_of_the_sizes() -> None:
    people = ColouredPeople(40)
    sizes = ((96, 64), (128, 96), (64, 64))
    made = list(batches(people, PAPER, SIZE, 2, 0, 0, 0, sizes=sizes))
    seen = [(batch.images.shape[3], batch.images.shape[2]) for batch in made]
    assert set(seen) == set(sizes)
    only = {tuple(b.images.shape[2:]) for b in batches(people, PAPER, SIZE, 2, 0, 0, 0)}
    assert only == {(64, 96)}


# ---- pairs ---------------------------------------------------------------------------------


def test_pairs_are_consecutive_and_no_picture_comes_twice() -> None:
    people = ColouredPeople(60, frames=6)
    for epoch in range(3):
        order = []
        for batch in batches(people, STILL, SIZE, 6, 0, epoch, 0, pairs=True):
            indices = _pictures(batch)
            for first, second in zip(indices[::2], indices[1::2], strict=True):
                assert second == people.successor(first)
            order += indices
        assert len(order) == len(set(order)) > 40  # of 60; single frames are left between pairs
        assert order[::2] != sorted(order[::2])


def test_pairs_are_mirrored_together_and_coloured_apart() -> None:
    class Alike(ColouredPeople):
        def __getitem__(self, index: int) -> Sample:
            return super().__getitem__(0)

    people = Alike(100)
    config = AugmentConfig(rotation=0, scale=(1, 1), translation=0, shear=0)
    lefts = set()
    for batch in batches(people, config, SIZE, 2, 0, 0, 0, pairs=True):
        first, second = (batch.boxes[batch.image_index == i] for i in range(2))
        assert torch.equal(first, second)
        assert not torch.equal(batch.images[0], batch.images[1])
        lefts.add(first[0, 0].item())
    assert len(lefts) == 2


def test_pictures_without_a_next_frame_make_no_pairs() -> None:
    with pytest.raises(DataError, match=r"0 images with a next frame .* one batch of 2"):
        batches(ColouredPeople(9, frames=1), STILL, SIZE, 2, 0, 0, 0, pairs=True)


# ---- what is refused, and what stays untouched ---------------------------------------------


@pytest.mark.parametrize(
    ("batch", "world", "pairs", "message"),
    [
        (0, 1, False, "batch: 0 images cannot be divided into 1 process; .* multiple of 1"),
        (6, 4, False, "6 images cannot be divided into 4 processes; .* multiple of 4"),
        (3, 1, True, "3 images cannot be divided into pairs for 1 process; .* multiple of 2"),
        (6, 2, True, "pairs for 2 processes; .* multiple of 4"),
    ],
)
def test_batches_that_cannot_be_divided(batch: int, world: int, pairs: bool, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        batches(ColouredPeople(20), STILL, SIZE, batch, 0, 0, 0, pairs=pairs, world=world)


def test_too_few_pictures() -> None:
    with pytest.raises(DataError, match=r"data set: 3 images .* fewer than one batch of 4"):
        batches(ColouredPeople(3), STILL, SIZE, 4, 0, 0, 0)


class _Broken(ColouredPeople):
    def __getitem__(self, index: int) -> Sample:
        if index == 2:
            raise DataError("0003.jpg: is not an image")
        return super().__getitem__(index)


@forks
@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_in_a_worker_is_the_error_itself(workers: int) -> None:
    with pytest.raises(DataError) as caught:
        list(batches(_Broken(4), STILL, SIZE, 2, 0, 0, workers))
    assert str(caught.value) == "0003.jpg: is not an image"


def test_without_opencv_it_says_so_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise MissingDependencyError("opencv-python", "video", "Reading images")

    monkeypatch.setattr("jdetrt.training.batches.load_cv2", missing)
    with pytest.raises(MissingDependencyError):
        batches(ColouredPeople(4), STILL, SIZE, 2, 0, 0, 2)


def test_torchs_random_state_stays() -> None:
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    list(batches(ColouredPeople(4), PAPER, SIZE, 2, 0, 0, 0))
    assert torch.equal(torch.random.get_rng_state(), before)


@forks
def test_an_epoch_can_be_left_early() -> None:
    loaded = batches(ColouredPeople(20), PAPER, SIZE, 2, 0, 0, 2)
    next(loaded)
    assert len(multiprocessing.active_children()) == 2
    loaded.close()
    assert multiprocessing.active_children() == []


@forks
def test_signals_that_stop_the_program_do_not_reach_the_workers() -> None:
    """They would come with tracebacks, or an error that a worker was killed."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    loaded = batches(ColouredPeople(20), PAPER, SIZE, 2, 0, 0, 2)
    next(loaded)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == blocked
    for worker in multiprocessing.active_children():
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGTERM)
        os.kill(worker.pid, signal.SIGINT)
    assert len(list(loaded)) == 9
