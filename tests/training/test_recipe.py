"""Recipes: the paper's numbers, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from jdetrt.config import load
from jdetrt.errors import ConfigError
from jdetrt.training.network.anchors import network_anchors
from jdetrt.training.recipe import RECIPES, Recipe, open_recipe


def read(text: str, folder: Path) -> Recipe:
    file = folder / "recipe.toml"
    file.write_text(text)
    return load(file, Recipe)


def test_the_paper_s_numbers() -> None:
    """Paper sections 3.3 to 4.2; reference train.py and utils/datasets.py."""
    paper = open_recipe("paper")
    assert (paper.network.body, paper.network.size) == ("darknet53", (1088, 608))
    assert paper.network.embedding_dim == 512
    assert [one.path.split(".")[0] for one in paper.data] == [
        "mot17",
        "caltech",
        "citypersons",
        "cuhksysu",
        "prw",
        "eth",
    ]
    assert (paper.batch, paper.frozen_norms, paper.prior) == (32, "scales", None)
    optimiser = paper.optimiser
    assert (optimiser.name, optimiser.learning_rate, optimiser.momentum) == ("sgd", 0.01, 0.9)
    assert (optimiser.weight_decay, optimiser.ema, optimiser.max_gradient) == (1e-4, 0, 0)
    schedule = paper.schedule
    assert (schedule.epochs, schedule.burn_in, schedule.fall) == (30, 1000, "steps")
    assert [int(share * 30) for share in schedule.steps] == [15, 22]
    targets = paper.targets
    assert (targets.foreground_iou, targets.background_iou) == (0.5, 0.4)
    assert not targets.force_best
    loss = paper.loss
    assert (loss.confidence, loss.box, loss.identity) == (
        "cross-entropy",
        "smooth-l1",
        "cross-entropy",
    )
    assert loss.balance == "uncertainty"
    augment = paper.augment
    assert (augment.rotation, augment.scale, augment.shear) == (5, (0.5, 1.2), 2)
    assert (augment.saturation, augment.value, augment.translation) == (0.5, 0.5, 0.1)
    assert (augment.flip, augment.mosaic, augment.crop, augment.copy_paste) == (0.5, 0, 0, 0)


@pytest.mark.parametrize("name", RECIPES)
def test_the_recipes_of_jdetrt_can_be_trained(name: str) -> None:
    recipe = open_recipe(name)
    assert recipe.network.size is not None
    assert network_anchors(recipe.network).shape == (3, 4, 2)
    for side in {*recipe.network.size, *sum(recipe.sizes, ()), *(recipe.validation_size or ())}:
        assert side % 32 == 0
    assert recipe.batch % recipe.accumulate == 0
    assert recipe.data


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs = 3", "unknown field `epochs`"),
        ("[schedule]\nepoch = 3", r"schedule: .*unknown field `epoch`"),
        ("[[data]]\npath = 'a'\nrepeats = 2", r"data\[0\]: .*unknown field `repeats`"),
        ("[loss]\nbalance = 'mean'", r"loss\.balance: Invalid enum value 'mean'"),
        ("frozen_norms = 'some'", "frozen_norms: Invalid enum value 'some'"),
        ("batch = 0", r"batch: .*`int` >= 1"),
        ("batch = 2.5", r"batch: .*`int`"),
        ("[optimiser]\nlearning_rate = 0.0", r"optimiser\.learning_rate: .*> 0\.0"),
        ("[optimiser]\nema = 1.0", r"optimiser\.ema: .*< 1\.0"),
        ("[schedule]\nsteps = [1.5]", r"schedule\.steps\[0\]: .*<= 1\.0"),
        ("prior = 1.0", r"prior: .*< 1\.0"),
        ("[augment]\nscale = [1.2, 0.5]", r"scale: the lower end 1\.2 is above the upper end"),
        ("[targets]\nbackground_iou = 0.6", r"background_iou 0\.6 is above foreground_iou 0\.5"),
    ],
)
def test_what_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"recipe\.toml.*" + message):
        read(text, tmp_path)


def test_what_is_left_out_is_as_in_the_paper(tmp_path: Path) -> None:
    assert read("", tmp_path) == Recipe()
    assert read("batch = 8", tmp_path) == msgspec.structs.replace(Recipe(), batch=8)


def test_a_recipe_goes_through_json_unchanged() -> None:
    for name in RECIPES:
        text = msgspec.json.encode(open_recipe(name))
        assert msgspec.json.decode(text, type=Recipe) == open_recipe(name)


def test_a_recipe_cannot_be_changed() -> None:
    recipe: Any = Recipe()
    with pytest.raises(AttributeError):
        recipe.batch = 3


def test_a_recipe_builds_on_another(tmp_path: Path) -> None:
    """Tables are merged, the rest is replaced; a base is a name, or a path beside the file."""
    (tmp_path / "mine.toml").write_text(
        'base = "nano"\nbatch = 5\n[[data]]\npath = "a"\n[loss]\nbox = "smooth-l1"\n'
    )
    (tmp_path / "sub").mkdir()
    file = tmp_path / "sub" / "other.toml"
    file.write_text('base = "../mine.toml"\n[loss]\nfocal_gamma = 3.0\n')
    nano, other = open_recipe("nano"), open_recipe(file)
    assert (other.batch, [one.path for one in other.data]) == (5, ["a"])
    loss = msgspec.structs.replace(nano.loss, box="smooth-l1", focal_gamma=3.0)
    assert other == msgspec.structs.replace(nano, batch=5, data=other.data, loss=loss)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('base = "gone.toml"', r"gone\.toml: no such file"),
        ('base = "recipe.toml"', r"recipe\.toml: is its own base"),
        ("base = 3", r"recipe\.toml: base: expected .* got 3"),
        ('base = "nano"\n[loss]\ncolour = 1', r"recipe\.toml: .* unknown field `colour`"),
    ],
)
def test_a_base_that_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        open_recipe(tmp_path / "recipe.toml")
