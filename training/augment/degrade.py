"""Degradation of images: blur, noise, loss of colour, compression."""

from __future__ import annotations

from dataclasses import replace
from statistics import NormalDist

import numpy as np

from jdetrt.runtime.opencv import load_cv2
from jdetrt.training.data.sample import Sample
from jdetrt.training.recipe import AugmentConfig

__all__ = ["degrade"]

_BLUR = (0.4, 1.5)  # standard deviation in pixels
_NOISE = (2.0, 12.0)  # standard deviation in grey levels
_QUALITY = (25, 85)  # of JPEG

# Equally likely values of a normal distribution: drawing one of them takes a byte.
_QUANTILES = np.array([NormalDist().inv_cdf((i + 0.5) / 256) for i in range(256)])


def degrade(sample: Sample, config: AugmentConfig, rng: np.random.Generator) -> Sample:
    """Blur, add noise, remove the colour or compress, each with its configured chance."""
    cv2 = load_cv2()
    image = sample.image
    blurred, noisy, grey, compressed = rng.random(4) < (
        config.blur,
        config.noise,
        config.grey,
        config.jpeg,
    )
    if blurred:
        image = cv2.GaussianBlur(image, (5, 5), rng.uniform(*_BLUR))
    if grey:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    if noisy:
        # Of the brightness alone, like most noise of cameras after their own processing.
        chosen = rng.integers(256, size=image.shape[:2], dtype=np.uint8)
        noise = np.rint(_QUANTILES * rng.uniform(*_NOISE))
        more, less = (
            cv2.LUT(chosen, np.clip(levels, 0, 255).astype(np.uint8)) for levels in (noise, -noise)
        )
        image = cv2.subtract(cv2.add(image, cv2.merge([more] * 3)), cv2.merge([less] * 3))
    if compressed:
        quality = int(rng.integers(_QUALITY[0], _QUALITY[1] + 1))
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return replace(sample, image=image)
