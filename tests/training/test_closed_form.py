"""A network fitted without steps: what it learns, what stays, and that it can be repeated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from walkers import NET, samples_of, true_session, walkers

from jdetrt.errors import ConfigError
from jdetrt.functions.training import train
from jdetrt.progress import NO_PROGRESS
from jdetrt.training.checkpoints import checkpoint
from jdetrt.training.closed_form import fit_network
from jdetrt.training.data.datasets import open_data_set
from jdetrt.training.network.model import JdeNetwork, random_network
from jdetrt.training.recipe import Recipe, open_recipe
from jdetrt.types import Detections, Session, Size

pytestmark = pytest.mark.usefixtures("one_thread")


def small_recipe() -> Recipe:
    nano = open_recipe("nano")
    return replace(
        nano,
        data=(),
        sizes=(),
        batch=2,
        network=replace(nano.network, size=NET),
        schedule=replace(nano.schedule, epochs=2),
        closed_form=(Size(*NET),),
    )


def fitted(folder: Path, sequence: Path) -> Path:
    """Fit to walkers, whom a session finds with scores that are right as often as they say."""
    random = np.random.default_rng(0)

    def change(index: int, seen: Detections) -> Detections:
        scores = random.uniform(0.2, 0.9, len(seen.boxes)).astype(np.float32)
        wrong = random.random(len(scores)) > scores
        return Detections(seen.boxes + np.float32(300) * wrong[:, None], scores)

    def opened(network: JdeNetwork, size: Size) -> Session:
        assert (size, network.training) == (NET, False)
        return true_session(samples_of(sequence), size=size, change=change)

    data = open_data_set(sequence)
    return fit_network(small_recipe(), data, folder, opened, workers=0, progress=NO_PROGRESS).best


def test_embeddings_and_scores_are_fitted_and_nothing_else(tmp_path: Path) -> None:
    sequence = walkers(tmp_path / "walkers", frames=30)
    first, second = fitted(tmp_path / "one", sequence), fitted(tmp_path / "two", sequence)
    assert first.read_bytes() == second.read_bytes()
    network, info = checkpoint.load(first)
    (scale,) = info.config.scores
    assert scale.size == NET
    assert scale.slope == pytest.approx(1.0, abs=0.6)  # of 90 boxes
    assert scale.offset == pytest.approx(0.0, abs=0.6)
    assert (info.identities, info.epoch) == (3, 2)
    assert info.config.tracker == open_recipe("nano").network.tracker
    before = random_network(small_recipe().seed, "nanodet-g", 64).state_dict()
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]) != name.startswith("embedding."), name


def test_such_a_run_is_neither_resumed_nor_validated(tmp_path: Path) -> None:
    sequence = walkers(tmp_path / "walkers")
    recipe = small_recipe()
    with pytest.raises(ConfigError, match=r"closed_form.*leave out"):
        train(recipe, tmp_path / "run", data=[sequence], validate=sequence, device="cpu")
    nameless = replace(recipe, network=replace(recipe.network, size=None))
    with pytest.raises(ConfigError, match=r"network\.size"):
        train(nameless, tmp_path / "run", data=[sequence], device="cpu")


def test_the_recipe_is_the_one_of_the_built_in_model() -> None:
    recipe = open_recipe("nano")
    assert [f"{size}" for size in recipe.closed_form] == ["576x320", "640x480", "864x480"]
    assert recipe.synthetic.clips == 0
    assert [one.path for one in recipe.data] == ["detection/coco128-person"]
