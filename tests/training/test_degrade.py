from __future__ import annotations

import cv2
import msgspec
import numpy as np
import pytest

from jdetrt.training.augment.degrade import degrade
from jdetrt.training.data.sample import Sample
from jdetrt.training.recipe import AugmentConfig

SIZE = (96, 64)


def _sample(image: np.ndarray) -> Sample:
    return Sample(
        image,
        np.array([[10, 10, 40, 60]], np.float32),
        np.array([7]),
        np.array([[1, 2, 3, 4]], np.float32),
    )


def _texture() -> np.ndarray:
    image = np.random.default_rng(0).integers(0, 256, (SIZE[1] // 4, SIZE[0] // 4, 3), np.uint8)
    return cv2.resize(image, SIZE, interpolation=cv2.INTER_NEAREST)


@pytest.mark.parametrize("kind", ["blur", "noise", "grey", "jpeg"])
def test_labels_stay_and_pixels_change(kind: str) -> None:
    image = _texture()
    sample = _sample(image.copy())
    made = degrade(sample, msgspec.convert({kind: 1}, AugmentConfig), np.random.default_rng(0))
    assert made.image.shape == image.shape
    assert made.image.dtype == np.uint8
    assert (made.image != image).any()
    for name in ("boxes", "ids", "ignore"):
        np.testing.assert_array_equal(getattr(made, name), getattr(sample, name))
    np.testing.assert_array_equal(sample.image, image)


def test_off_is_off() -> None:
    made = degrade(_sample(_texture()), AugmentConfig(), np.random.default_rng(0))
    np.testing.assert_array_equal(made.image, _texture())


def test_chances_are_kept() -> None:
    sample, config = _sample(_texture()), AugmentConfig(grey=0.3)
    rng = np.random.default_rng(1)
    greys = 0
    for _ in range(400):
        channels = degrade(sample, config, rng).image.reshape(-1, 3)
        greys += bool((channels == channels[:, :1]).all())
    assert 0.22 < greys / 400 < 0.38


def test_noise_is_normal_grey_and_of_the_right_strength() -> None:
    flat = _sample(np.full((300, 400, 3), 100, np.uint8))
    spreads = []
    for seed in range(12):
        made = degrade(flat, AugmentConfig(noise=1), np.random.default_rng(seed)).image.astype(int)
        assert (made == made[..., :1]).all()
        noise = made[..., 0] - 100
        spread = noise.std()
        assert abs(noise.mean()) < 0.2
        assert (np.abs(noise) < spread).mean() == pytest.approx(0.68, abs=0.13)  # whole numbers
        assert (np.abs(noise) < 2 * spread).mean() == pytest.approx(0.954, abs=0.03)
        spreads.append(spread)
    assert min(spreads) > 1.9
    assert max(spreads) < 12.1
    assert max(spreads) > 2 * min(spreads)


def test_noise_does_not_wrap_around() -> None:
    ends = np.zeros((64, 96, 3), np.uint8)
    ends[:, 48:] = 255
    for seed in range(5):
        made = degrade(_sample(ends), AugmentConfig(noise=1), np.random.default_rng(seed)).image
        assert made[:, :48].max() < 60
        assert made[:, 48:].min() > 195


def test_grey_is_the_brightness() -> None:
    made = degrade(_sample(_texture()), AugmentConfig(grey=1), np.random.default_rng(0)).image
    brightness = _texture() @ np.array([0.114, 0.587, 0.299])  # BGR; ITU-R BT.601
    assert np.abs(made - brightness[..., None]).max() <= 0.51


def test_blur_smooths_and_keeps_the_mean() -> None:
    image = _texture()
    for seed in range(5):
        made = degrade(_sample(image), AugmentConfig(blur=1), np.random.default_rng(seed)).image
        assert made.mean() == pytest.approx(image.mean(), abs=2)
        assert np.abs(np.diff(made.astype(int), axis=1)).mean() < (
            np.abs(np.diff(image.astype(int), axis=1)).mean()
        )
