from __future__ import annotations

import cv2
import numpy as np
import pytest
from coloured_people import ColouredPeople, identities
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from jdetrt.training.augment.geometry import affine, hsv, letterbox_sample
from jdetrt.training.augment.pipeline import view
from jdetrt.training.data.sample import Sample
from jdetrt.training.recipe import AugmentConfig

SIZE = (160, 96)
SEEDS = st.integers(0, 2**32 - 1)
PLAIN = AugmentConfig(saturation=0, value=0)  # in their own colours
GEOMETRY = {
    "paper": PLAIN,
    "mosaic": replace(PLAIN, mosaic=1),
    "crop": replace(PLAIN, crop=1),
    "paste": replace(PLAIN, copy_paste=1),
    "all": replace(PLAIN, mosaic=0.4, crop=0.7, copy_paste=0.8),
}
EVERYTHING = AugmentConfig(
    hue=0.1,
    mosaic=0.4,
    crop=0.6,
    copy_paste=0.7,
    erase=0.5,
    blur=0.5,
    noise=0.5,
    grey=0.5,
    jpeg=0.5,
)


def _same(a: Sample, b: Sample) -> bool:
    return all(
        np.array_equal(getattr(a, name), getattr(b, name))
        for name in ("image", "boxes", "ids", "ignore")
    )


def test_the_papers_preset_is_colour_then_letterbox_then_affine_map() -> None:
    people, config = ColouredPeople(10), AugmentConfig()
    for index in range(10):
        rng = np.random.default_rng(index)
        made = view(people, index, SIZE, config, rng)
        rng = np.random.default_rng(index)
        rng.random(3)  # copy and paste, mosaic, crop: none of them
        expected = affine(letterbox_sample(hsv(people[index], config, rng), SIZE), config, rng)
        assert _same(made, expected)


@pytest.mark.parametrize("kind", GEOMETRY)
def test_ids_stay_with_their_people(kind: str) -> None:
    people, config = ColouredPeople(30), GEOMETRY[kind]
    checked = 0
    for seed in range(60):
        made = view(people, seed % 30, SIZE, config, np.random.default_rng(seed))
        shown = identities(made.image)
        centres = ((made.boxes[:, :2] + made.boxes[:, 2:]) / 2).astype(int)
        for i, ((x, y), identity) in enumerate(zip(centres, made.ids, strict=True)):
            others = np.concatenate([np.delete(made.boxes, i, axis=0), made.ignore])
            inside = (others[:, :2] <= (x + 2, y + 2)) & (others[:, 2:] >= (x - 2, y - 2))
            if not inside.all(axis=1).any():
                assert shown[y, x] == identity
                checked += 1
    assert checked > 60


@pytest.mark.parametrize("kind", GEOMETRY)
def test_everybody_who_can_be_seen_is_labelled_or_ignored(kind: str) -> None:
    people, config = ColouredPeople(30), GEOMETRY[kind]
    ignored = 0
    for seed in range(60):
        made = view(people, seed % 30, SIZE, config, np.random.default_rng(seed))
        shown = identities(made.image)
        for identity in np.unique(shown[shown >= 0]):
            # Eroded: what soft edges mix may look like somebody.
            body = cv2.erode((shown == identity).astype(np.uint8), np.ones((3, 3)))
            y, x = np.nonzero(body)
            regions = np.concatenate([made.boxes[made.ids == identity], made.ignore])
            low, high = regions[:, None, :2] - 1, regions[:, None, 2:] + 1
            points = np.stack([x, y], axis=1)[None] + 0.5
            covered = ((points >= low) & (points <= high)).all(axis=2).any(axis=0)
            assert covered.all()
        ignored += len(made.ignore)
    assert ignored > 0 or kind == "paper"  # in which nobody leaves this image


@settings(max_examples=40)
@given(seed=SEEDS, width=st.integers(1, 6), height=st.integers(1, 6))
def test_whatever_is_drawn_fits_the_network(seed: int, width: int, height: int) -> None:
    size = (32 * width, 32 * height)
    made = view(ColouredPeople(30), seed % 30, size, EVERYTHING, np.random.default_rng(seed))
    assert made.image.shape == (size[1], size[0], 3)
    assert made.image.dtype == np.uint8
    assert made.boxes.dtype == made.ignore.dtype == np.float32
    assert made.ids.dtype == np.int64
    assert made.boxes.shape == (len(made.ids), 4)
    for boxes, least in ((made.boxes, 4), (made.ignore, 1)):
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, 2:] <= size).all()
        assert (boxes[:, 2:] - boxes[:, :2] >= least).all()
    assert _same(
        made, view(ColouredPeople(30), seed % 30, size, EVERYTHING, np.random.default_rng(seed))
    )


@pytest.mark.parametrize("kind", ["erase", "noise"])
def test_people_are_hidden_and_pictures_spoilt_after_the_affine_map(kind: str) -> None:
    config = replace(PLAIN, **{kind: 1})
    for seed in range(5):
        plain = view(ColouredPeople(5), seed, SIZE, PLAIN, np.random.default_rng(seed))
        made = view(ColouredPeople(5), seed, SIZE, config, np.random.default_rng(seed))
        np.testing.assert_array_equal(made.boxes, plain.boxes)
        assert (made.image != plain.image).any()


def test_pictures_of_the_data_set_are_not_changed() -> None:
    people = [ColouredPeople(6)[i] for i in range(6)]

    for sample in people:
        sample.image.setflags(write=False)  # as a data set has it that keeps images in memory

    class Kept(ColouredPeople):
        def __getitem__(self, index: int) -> Sample:
            return people[index]

    for seed in range(40):
        view(Kept(6), seed % 6, SIZE, EVERYTHING, np.random.default_rng(seed))
    assert all(_same(sample, ColouredPeople(6)[i]) for i, sample in enumerate(people))
