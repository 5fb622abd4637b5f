"""Fit a network without steps: its embeddings in closed form, and its scores.

The recipe ``nano`` makes the built-in model so. Its detection stays as it was published.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np

from jdetrt.config import ScoreScale
from jdetrt.errors import ConfigError
from jdetrt.progress import Progress
from jdetrt.runtime.decode import detections
from jdetrt.runtime.preprocess import letterbox
from jdetrt.training.batches import batch_count, batches
from jdetrt.training.checkpoints import checkpoint
from jdetrt.training.checkpoints.pretrained import start_from
from jdetrt.training.colour_discriminant import fit, gather, join
from jdetrt.training.data.datasets import DataSet
from jdetrt.training.network.model import JdeNetwork, random_network
from jdetrt.training.recipe import Recipe
from jdetrt.training.run_folder import BEST, LAST
from jdetrt.training.score_calibration import fit_platt, right_boxes
from jdetrt.training.train import Trained
from jdetrt.types import Session, Size

__all__ = ["fit_network"]

_LEAST = 0.1  # scores that count in a calibration


def fit_network(
    recipe: Recipe,
    data_set: DataSet,
    output: Path,
    opened: Callable[[JdeNetwork, Size], Session],
    *,
    workers: int,
    progress: Progress,
) -> Trained:
    """Fit embeddings to one view of each image an epoch, then the scores to the images as they are.

    Args:
        recipe: with sizes in ``closed_form``, at which the scores are calibrated.
        data_set: people with identities.
        output: folder; gets ``last.safetensors``, and the same as ``best.safetensors``.
        opened: opens a network at a size.
        workers: processes that prepare images.
        progress: gets a phase for each epoch and each size.

    Raises:
        ConfigError: the network is of another body than ``nanodet-g``, or the recipe has no size.
        DataError: nobody has an identity, or an image cannot be read.
        CheckpointError: the weights to start from cannot be used.
        OutputError: the output cannot be written.
    """
    if recipe.network.size is None:
        raise ConfigError("network.size: is missing; give the network's width and height")
    network = random_network(recipe.seed, recipe.network.body, recipe.network.embedding_dim)
    if recipe.start is not None:
        start_from(network, recipe.start)
    size, epochs = Size(*recipe.network.size), recipe.schedule.epochs
    views = []
    for epoch in range(epochs):
        phase = f"epoch {epoch + 1} of {epochs}"
        progress.start(phase, batch_count(data_set, recipe.batch, recipe.seed, epoch))
        loaded = batches(
            data_set,
            recipe.augment,
            size,
            recipe.batch,
            recipe.seed,
            epoch,
            workers,
            sizes=recipe.sizes,
        )
        with closing(loaded):
            views.append(gather(network, loaded, data_set.identities, epoch))
        progress.finish(phase)
    fit(network, join(views, [0] * len(views)))
    network.eval()
    scales = []
    for one in recipe.closed_form:
        phase = f"scores at {one}"
        progress.start(phase)
        with opened(network, one) as session:
            scales.append(_scale(session, data_set, one))
        progress.finish(phase)
    for name in (LAST, BEST):
        checkpoint.save(
            output / name,
            network,
            size=size,
            tracker=recipe.network.tracker,
            label=recipe.network.label,
            scores=tuple(scales),
            identities=data_set.identities,
            epoch=epochs,
        )
    return Trained(epochs, output / LAST, output / BEST, None)


def _scale(session: Session, images: DataSet, size: Size) -> ScoreScale:
    """Scores at a network size of which a share s is right where they are s."""
    scores, right = [], []
    for at in range(len(images)):
        sample = images[at]
        blob, place = letterbox(sample.image, size)
        seen = detections(session.infer({"images": blob[None]}), place, score_threshold=_LEAST)
        judged = right_boxes(seen.boxes, sample.boxes, sample.ignore)
        scores.append(seen.scores[judged >= 0])
        right.append(judged[judged >= 0])
    slope, offset = fit_platt(np.concatenate(scores), np.concatenate(right))
    return ScoreScale(size, round(slope, 2), round(offset, 2))
