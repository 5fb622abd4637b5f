"""Augmentation of one image for the network: all steps in order."""

from __future__ import annotations

import numpy as np

from jdetrt.runtime.preprocess import Letterbox
from jdetrt.training.augment.degrade import degrade
from jdetrt.training.augment.geometry import affine, hsv, letterbox_sample, mosaic, place, window
from jdetrt.training.augment.occlude import copy_paste, erase
from jdetrt.training.data.datasets import DataSet
from jdetrt.training.data.sample import Sample
from jdetrt.training.recipe import AugmentConfig
from jdetrt.types import Size

__all__ = ["view"]


def view(
    data_set: DataSet,
    index: int,
    size: tuple[int, int],
    config: AugmentConfig,
    rng: np.random.Generator,
) -> Sample:
    """Load and augment an image, in the reference's order: colour, letterbox, affine map.

    The flip, which comes last, is left to the caller: the two images of a pair share it.

    Args:
        data_set: source of the image, and of others for a mosaic or a paste.
        index: of the image.
        size: width and height of the network's input, and of the sample.
        config: of the augmentation.
        rng: source of all randomness.
    """

    def another() -> Sample:
        return data_set[int(rng.integers(len(data_set)))]

    sample = data_set[index]
    if rng.random() < config.copy_paste:
        sample = copy_paste(sample, another(), config, rng)
    if rng.random() < config.mosaic:
        sample = mosaic([sample, another(), another(), another()], size, config, rng)
    elif rng.random() < config.crop:
        gain = Letterbox.fit(Size.of(sample.image), size).gain * rng.uniform(*config.zoom)
        sample = hsv(window(sample, size, gain, config, rng), config, rng)
        sample = place(sample, size, rng)
    else:
        sample = letterbox_sample(hsv(sample, config, rng), size)
    sample = affine(sample, config, rng)
    return degrade(erase(sample, config, rng), config, rng)
