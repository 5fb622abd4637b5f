"""Make a checkpoint of the body nanodet-g: its own detection, calibrated scores, embeddings.

usage: train_nanodet.py NANODET.onnx DATA OUT.safetensors. DATA is as in the recipe
nanodet-embedding, of which the images with `without_id` are used: COCO's.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from jdetrt.config import IouConfig
from jdetrt.training.batches import batches
from jdetrt.training.checkpoints import checkpoint
from jdetrt.training.checkpoints.nanodet_weights import read_nanodet
from jdetrt.training.colour_discriminant import fit, gather, join
from jdetrt.training.data.datasets import open_data_set
from jdetrt.training.network.model import random_network
from jdetrt.training.recipe import open_recipe
from jdetrt.training.score_calibration import calibrate_scores

VIEWS = 8  # of each image


def main(nanodet: Path, data: Path, output: Path) -> None:
    """Gather views, fit, save."""
    recipe = open_recipe("nanodet-embedding")
    network = random_network(0, "nanodet-g", recipe.network.embedding_dim)
    read_nanodet(network, nanodet)
    assert recipe.scores is not None
    calibrate_scores(network, *recipe.scores)
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
        tracker=IouConfig(),
        identities=views.identities,
        half=True,
    )


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
