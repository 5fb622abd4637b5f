from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from coloured_people import GROUND, ColouredPeople, identities, paint
from hypothesis import given
from hypothesis import strategies as st

from jdetrt.training.augment.occlude import copy_paste, erase
from jdetrt.training.data.sample import Sample
from jdetrt.training.recipe import AugmentConfig

CONFIG = AugmentConfig(copy_paste=1, paste_people=3, erase=1, min_seen=0.3)
SEEDS = st.integers(0, 2**32 - 1)
NOWHERE = np.zeros((0, 4), np.float32)


def _sample(boxes: list[list[float]], first: int, size: tuple[int, int] = (200, 120)) -> Sample:
    array = np.array(boxes, np.float32).reshape(-1, 4)
    ids = np.arange(first, first + len(boxes))
    return Sample(paint(size, array, ids.tolist()), array, ids, NOWHERE)


def _visible(image: np.ndarray, box: np.ndarray, identity: int) -> float:
    """The share of a box's pixels that have the person's colour."""
    left, top, right, bottom = np.rint(box).astype(int)
    pixels = identities(image)[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    return float((pixels == identity).mean())


# ---- copy and paste ------------------------------------------------------------------------


@given(seed=SEEDS)
def test_copies_keep_their_id_and_lie_in_their_box(seed: int) -> None:
    rng = np.random.default_rng(seed)
    people = ColouredPeople(30)
    sample, donor = people[seed % 15], people[15 + seed % 15]
    made = copy_paste(sample, donor, CONFIG, rng)
    assert made.boxes.dtype == made.ignore.dtype == np.float32
    assert made.ids.dtype == np.int64
    assert made.boxes.shape == (len(made.ids), 4)
    assert set(made.ids.tolist()) <= {*sample.ids.tolist(), *donor.ids.tolist()}
    copies = [i for i, identity in enumerate(made.ids) if identity in donor.ids]
    assert len(copies) <= 3
    for i in copies[-1:]:  # covered by nothing
        assert _visible(made.image, made.boxes[i], made.ids[i]) > 0.6


@given(seed=SEEDS)
def test_who_is_hardly_seen_is_ignored_and_nobody_else(seed: int) -> None:
    rng = np.random.default_rng(seed)
    people = ColouredPeople(30)
    sample, donor = people[seed % 15], people[15 + seed % 15]
    made = copy_paste(sample, donor, CONFIG, rng)
    open_ = np.ones(sample.image.shape[:2], bool)
    own = {tuple(box) for box in sample.boxes.tolist()}
    for box in [*made.boxes, *made.ignore]:
        if tuple(box.tolist()) not in own:
            left, top, right, bottom = np.maximum(np.rint(box).astype(int), 0)
            open_[top:bottom, left:right] = False
    for box, identity in zip(sample.boxes, sample.ids, strict=True):
        left, top, right, bottom = box.astype(int)
        share = open_[top:bottom, left:right].mean()
        assert (identity in made.ids) == (share >= 0.3)
        assert (made.ignore == box).all(axis=1).any() == (share < 0.3)
        assert _visible(made.image, box, int(identity)) <= share + 0.1  # faint corners
    assert len(made.boxes) + len(made.ignore) <= len(sample.boxes) + 3


def test_a_copy_is_as_tall_as_somebody_there_and_level_with_them() -> None:
    sample = _sample([[20, 30, 50, 110]], 0)
    donor = _sample([[60, 30, 88, 100]], 5)
    placed = []
    for seed in range(40):
        made = copy_paste(sample, donor, CONFIG, np.random.default_rng(seed))
        assert made.ids[-1] == 5
        left, top, right, bottom = made.boxes[-1]
        assert 0.85 * 80 - 1.5 <= bottom - top <= 1.15 * 80 + 1.5
        assert (top + bottom) / 2 == pytest.approx(70, abs=1.5)
        assert (right - left) / (bottom - top) == pytest.approx(28 / 70, rel=0.05)
        # The person's colour fills the box; around it, it fades.
        rows, columns = np.nonzero(identities(made.image) == 5)
        extent = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        np.testing.assert_allclose(extent, made.boxes[-1], atol=3)
        assert _visible(made.image, made.boxes[-1], 5) > 0.6
        placed.append(left)
    assert min(placed) < 40
    assert max(placed) > 120


def test_without_people_a_copy_keeps_its_place_in_the_picture() -> None:
    empty = _sample([], 0, (320, 240))
    donor = _sample([[60, 40, 85, 100]], 5, (200, 160))
    made = copy_paste(empty, donor, CONFIG, np.random.default_rng(0))
    assert made.ids.tolist() == [5]
    np.testing.assert_allclose(made.boxes[0, [1, 3]], [60, 150], atol=1.5)


@pytest.mark.parametrize(
    "boxes",
    [
        [[60, 40, 75, 71]],  # small
        [[-3, 40, 30, 110]],  # cut off by the image's edge
        [[40, 20, 80, 110], [60, 20, 100, 110]],  # in front of each other
    ],
)
def test_only_whole_people_are_copied(boxes: list[list[float]]) -> None:
    sample = _sample([[20, 30, 50, 110]], 0)
    made = copy_paste(sample, _sample(boxes, 5), CONFIG, np.random.default_rng(0))
    assert made.ids.tolist() == [0]
    np.testing.assert_array_equal(made.image, sample.image)


def test_nobody_is_copied_out_of_an_ignored_region() -> None:
    sample, donor = _sample([[20, 30, 50, 110]], 0), _sample([[60, 40, 85, 100]], 5)
    crowd = replace(donor, ignore=np.array([[0, 0, 200, 120]], np.float32))
    assert copy_paste(sample, crowd, CONFIG, np.random.default_rng(0)).ids.tolist() == [0]
    assert copy_paste(sample, donor, CONFIG, np.random.default_rng(0)).ids.tolist() == [0, 5]


def test_a_copy_behind_a_later_copy_is_ignored() -> None:
    # An image hardly wider than a copy: they all stand in one place.
    sample = _sample([], 0, (32, 120))
    donor = _sample([[10, 20, 40, 100], [60, 20, 90, 100], [110, 20, 140, 100]], 5)
    hidden = 0
    for seed in range(10):
        made = copy_paste(sample, donor, CONFIG, np.random.default_rng(seed))
        assert len(made.ids) == 1
        assert _visible(made.image, made.boxes[0], int(made.ids[0])) > 0.6
        hidden += len(made.ignore)
    assert hidden > 0


def test_a_copy_is_not_blown_up() -> None:
    sample, donor = _sample([[20, 5, 70, 115]], 0), _sample([[60, 40, 75, 80]], 5)
    for seed in range(10):
        assert copy_paste(sample, donor, CONFIG, np.random.default_rng(seed)).ids.tolist() == [0]


def test_pictures_without_people_give_none() -> None:
    sample, empty = _sample([[20, 30, 50, 110]], 0), _sample([], 0)
    rng = np.random.default_rng(0)
    assert copy_paste(sample, empty, CONFIG, rng).ids.tolist() == [0]
    assert copy_paste(empty, empty, CONFIG, rng).boxes.shape == (0, 4)


# ---- erase ---------------------------------------------------------------------------------


def test_erasing_hides_a_part_of_everybody_and_of_the_others_nothing() -> None:
    sample = _sample([[10, 10, 50, 110], [80, 20, 110, 100], [150, 5, 190, 60]], 0)
    for seed in range(20):
        made = erase(sample, CONFIG, np.random.default_rng(seed))
        np.testing.assert_array_equal(made.boxes, sample.boxes)
        np.testing.assert_array_equal(made.ids, sample.ids)
        changed = (made.image != sample.image).any(axis=2)
        for box in sample.boxes.astype(int):
            part = changed[box[1] : box[3], box[0] : box[2]]
            assert part.mean() <= 0.5
            part[:] = False
        assert not changed.any()


def test_who_disappears_behind_it_is_ignored() -> None:
    # A small person inside of the box of a tall one, in front.
    sample = _sample([[10, 0, 110, 120], [55, 55, 63, 67]], 0)
    hidden = 0
    for seed in range(60):
        made = erase(sample, CONFIG, np.random.default_rng(seed))
        share = _visible(made.image, sample.boxes[1], 1)
        if 1 in made.ids:
            assert share >= 0.3 - 1e-6 or (made.image[60, 59] == made.image[0, 0]).all()
        else:
            hidden += 1
            assert share < 0.3
            assert made.ignore.tolist() == [[55, 55, 63, 67]]
    assert 0 < hidden < 60


def test_the_chance_is_each_persons_own() -> None:
    boxes = [[10.0 + 30 * k, 10, 34 + 30 * k, 100] for k in range(6)]
    sample = _sample(boxes, 0)
    config = AugmentConfig(erase=0.5)
    rng = np.random.default_rng(0)
    changed = 0
    for _ in range(100):
        made = erase(sample, config, rng)
        for box in np.array(boxes, int):
            here = np.s_[box[1] : box[3], box[0] : box[2]]
            changed += bool((made.image[here] != sample.image[here]).any())
    # The colour is taken from the image: about one in ten is the person's own.
    assert 0.35 < changed / 600 < 0.5
    off = erase(sample, AugmentConfig(), rng)
    np.testing.assert_array_equal(off.image, sample.image)
    assert (off.image[0, 0] == GROUND).all()


def test_the_input_is_not_changed() -> None:
    people = ColouredPeople(2)
    sample, donor = people[0], people[1]
    before = sample.image.copy(), sample.boxes.copy()
    copy_paste(sample, donor, CONFIG, np.random.default_rng(3))
    erase(sample, CONFIG, np.random.default_rng(3))
    np.testing.assert_array_equal(sample.image, before[0])
    np.testing.assert_array_equal(sample.boxes, before[1])
    np.testing.assert_array_equal(donor.image, people[1].image)
