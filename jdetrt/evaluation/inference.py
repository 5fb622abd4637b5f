"""Inference over labelled images, one by one or in batches, with reading beside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jdetrt.runtime.detector import network_size
from jdetrt.runtime.preprocess import Letterbox, letterbox
from jdetrt.types import Array, Session

if TYPE_CHECKING:
    from jdetrt.training.data.sample import Sample

__all__ = ["ImageOutputs", "infer"]


class ImageOutputs(NamedTuple):
    """A labelled image and the outputs of a model for it.

    Attributes:
        sample: the image and its labels.
        letterbox: of the image.
        outputs: of the model, each for this image alone: ``boxes (1, k, 4)`` and so on.
    """

    sample: Sample
    letterbox: Letterbox
    outputs: dict[str, Array]


def infer(
    session: Session,
    samples: Iterable[Sample],
    *,
    size: tuple[int, int] | None = None,
    batch: int = 1,
) -> Iterator[ImageOutputs]:
    """Run a model over images, in their order.

    While the network runs, the next images are read and letterboxed, and the caller works on the
    last.

    Args:
        session: a JDE model. It stays open.
        samples: labelled images; any iterable, read as needed.
        size: network width and height, for a model that leaves them free.
        batch: images at a time, where the model takes more than one.

    Raises:
        SessionError: the model has no size, or a run fails.
    """
    spec = session.inputs[0]
    size = size or network_size(session)
    batch = 1 if spec.shape[0] == 1 else batch
    rest = iter(samples)
    running: list[tuple[Sample, Letterbox]] = []
    while True:
        images, following = _prepare(list(islice(rest, batch)), size)
        outputs = session.wait() if running else {}
        done, running = running, following
        if running:
            session.submit({spec.name: images})
        for i, (sample, fit) in enumerate(done):
            yield ImageOutputs(
                sample, fit, {name: array[i : i + 1] for name, array in outputs.items()}
            )
        if not running:
            return


def _prepare(
    samples: Sequence[Sample], size: tuple[int, int]
) -> tuple[Array, list[tuple[Sample, Letterbox]]]:
    images = np.empty((len(samples), 3, size[1], size[0]), np.float32)
    fits = [letterbox(sample.image, size, out=images[i])[1] for i, sample in enumerate(samples)]
    return images, list(zip(samples, fits, strict=True))
