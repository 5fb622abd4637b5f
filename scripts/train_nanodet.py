"""Make a checkpoint of the body nanodet-g: its own detection, calibrated scores, embeddings.

usage: train_nanodet.py NANODET.onnx DATA OUT.safetensors. DATA is as in the recipe
nanodet-embedding; what takes most of the time, the windows, is kept beside OUT and taken up again.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click
import torch

from jdetrt.config import IouConfig
from jdetrt.training.checkpoints import checkpoint
from jdetrt.training.checkpoints.nanodet_weights import read_nanodet
from jdetrt.training.data.batches import batches
from jdetrt.training.data.datasets import DataSet, open_data_set
from jdetrt.training.data.synthetic import SyntheticPictures
from jdetrt.training.network.model import random_network
from jdetrt.training.recipe import SyntheticConfig
from jdetrt.training.run_folder import open_recipe
from jdetrt.training.score_calibration import calibrate_scores
from jdetrt.training.window_embedding import Windows, gather, join, learn

VIEWS = {"coco": 3, "clips": 1, "rendered": 1}  # of each picture
STEPS = 900


def main(nanodet: Path, data: Path, output: Path) -> None:
    """Gather windows, learn, save."""
    recipe = open_recipe("nanodet-embedding")
    network = random_network(0, "nanodet-g", 128)
    read_nanodet(network, nanodet)
    assert recipe.scores is not None
    calibrate_scores(network, *recipe.scores)
    sets: dict[str, DataSet] = {
        "coco": open_data_set(data / "detection" / "coco128-person", alone=True),
        "clips": open_data_set(data / "clips" / "*"),
        "rendered": SyntheticPictures(SyntheticConfig(clips=30, frames=4, people=14)),
    }
    found, same = [], []
    for number, (name, data_set) in enumerate(sets.items()):
        for epoch in range(VIEWS[name]):
            kept = output.with_name(f"{output.stem}-{name}-{epoch}.pt")
            if not kept.is_file():
                loaded = batches(data_set, recipe.augment, (448, 256), 4, 1, epoch, 1)
                windows = gather(network, loaded, data_set.identities)
                torch.save((windows.maps, windows.ids, windows.identities), kept)
            found.append(Windows(*torch.load(kept)))
            same.append(number)
            click.echo(f"{name} {epoch}: {len(found[-1].ids)} windows")
    everything = join(found, same)
    learn(network, everything, STEPS, report=lambda step, loss: click.echo(f"{step}: {loss:.3f}"))
    checkpoint.save(
        output,
        network.eval(),
        size=recipe.network.size,
        tracker=IouConfig(),
        identities=everything.identities,
        half=True,
    )


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
