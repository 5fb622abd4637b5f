"""Make a checkpoint of the body nanodet-g: its own detection, calibrated scores, embeddings.

usage: train_nanodet.py NANODET.onnx DATA OUT.safetensors. DATA is as in the recipe
nanodet-embedding, of which the images with `without_id` are used: COCO's.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click
import numpy as np

from jdetrt.config import ScoreScale
from jdetrt.export.torch_session import TorchSession
from jdetrt.runtime.decode import detections
from jdetrt.runtime.preprocess import letterbox
from jdetrt.training.batches import batches
from jdetrt.training.checkpoints import checkpoint
from jdetrt.training.checkpoints.nanodet_weights import read_nanodet
from jdetrt.training.colour_discriminant import fit, gather, join
from jdetrt.training.data.datasets import DataSet, open_data_set
from jdetrt.training.network.model import JdeNetwork, random_network
from jdetrt.training.recipe import open_recipe
from jdetrt.training.score_calibration import fit_platt, right_boxes

VIEWS = 8  # of each image
SIZES = ((576, 320), (640, 480), (864, 480))
LEAST = 0.1  # scores that count in the calibration


def scale(network: JdeNetwork, images: DataSet, size: tuple[int, int]) -> ScoreScale:
    """Fit the scores at a network size: of the boxes with a score of s a share of s is right."""
    scores, right = [], []
    with TorchSession(network, size) as session:
        for at in range(len(images)):
            sample = images[at]
            blob, fit = letterbox(sample.image, size)
            found = detections(session.infer({"images": blob[None]}), fit, score_threshold=LEAST)
            judged = right_boxes(found.boxes, sample.boxes, sample.ignore)
            scores.append(found.scores[judged >= 0])
            right.append(judged[judged >= 0])
    slope, offset = fit_platt(np.concatenate(scores), np.concatenate(right))
    click.echo(f"scores at {size[0]}x{size[1]}: slope {slope:.2f}, offset {offset:.2f}")
    return ScoreScale(size, round(slope, 2), round(offset, 2))


def main(nanodet: Path, data: Path, output: Path) -> None:
    """Gather views, fit, save."""
    recipe = open_recipe("nanodet-embedding")
    network = random_network(0, "nanodet-g", recipe.network.embedding_dim)
    read_nanodet(network, nanodet)
    images = open_data_set(data / "detection" / "coco128-person", alone=True)
    sets = []
    for epoch in range(VIEWS):
        loaded = batches(images, recipe.augment, recipe.sizes[0], 4, 1, epoch, 1)
        sets.append(gather(network, loaded, images.identities, epoch))
        click.echo(f"epoch {epoch + 1} of {VIEWS}: {len(sets[-1].ids)} views")
    views = join(sets, [0] * VIEWS)
    fit(network, views)
    checkpoint.save(
        output,
        network.eval(),
        size=recipe.network.size,
        tracker=recipe.network.tracker,
        scores=tuple(scale(network, images, size) for size in SIZES),
        identities=views.identities,
        half=True,
    )


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
