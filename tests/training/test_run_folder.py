"""Recipes by name or file, and folders that a run may or may not begin in."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from jdetrt.errors import ConfigError, OutputError
from jdetrt.training.recipe import RECIPES, Recipe, open_recipe
from jdetrt.training.run_folder import STATE, check, prepare


def test_recipes_by_name_and_by_file(tmp_path: Path) -> None:
    former = {f"nano-efficientnet{step}" for step in ("", "-embedding", "-large")}
    dense = {"nano", "nano-research", "nanodet-detection", "nanodet-embedding"}
    assert set(RECIPES) == {"paper"} | dense | former
    assert {open_recipe(name).network.body for name in dense} == {"nanodet-g"}
    assert {open_recipe(name).network.body for name in former} == {"nano"}
    assert open_recipe("paper").network.body == "darknet53"
    file = tmp_path / "mine.toml"
    file.write_text('batch = 3\n[network]\nbody = "nano"\nsize = [64, 32]\n')
    assert open_recipe(file).batch == open_recipe(str(file)).batch == 3
    assert open_recipe(file).network.size == (64, 32)


def test_no_such_recipe() -> None:
    with pytest.raises(
        ConfigError, match=r"pico: no such file; .*: nano, nano-efficientnet, .*, paper"
    ):
        open_recipe("pico")


def test_a_recipe_that_is_written_reads_back(tmp_path: Path) -> None:
    for name in RECIPES:
        recipe = open_recipe(name)
        prepare(tmp_path / name, recipe)
        written = (tmp_path / name / "recipe.json").read_bytes()
        assert msgspec.json.decode(written, type=Recipe) == recipe
        assert written.endswith(b"}\n")
        assert len(written.splitlines()) > 50  # for people to read


def test_folders(tmp_path: Path) -> None:
    check(tmp_path / "new", resume=False)
    with pytest.raises(ConfigError, match=r"no run to resume; .* --resume"):
        check(tmp_path / "new", resume=True)
    prepare(tmp_path, Recipe())  # a run that ended before it had anything to keep
    check(tmp_path, resume=False)
    (tmp_path / STATE).touch()
    check(tmp_path, resume=True)
    with pytest.raises(ConfigError, match=r"already holds a run; .* --resume, or"):
        check(tmp_path, resume=False)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"recipe\.json: cannot be written"):
        prepare(tmp_path / "file", Recipe())
