"""The folder of a training run, and the recipe that stands in it."""

from __future__ import annotations

from pathlib import Path

from jdetrt import files
from jdetrt.config import load
from jdetrt.errors import ConfigError
from jdetrt.training.recipe import Recipe

__all__ = [
    "BEST",
    "LAST",
    "LOG",
    "RECIPES",
    "STATE",
    "VALIDATION",
    "check",
    "open_recipe",
    "prepare",
]

LAST, BEST, STATE = "last.safetensors", "best.safetensors", "state.pt"
LOG, VALIDATION = "log.csv", "validation.csv"
_RECIPE = "recipe.json"

_SHIPPED = Path(__file__).parent / "recipes"
RECIPES = tuple(sorted(path.stem for path in _SHIPPED.glob("*.toml")))


def open_recipe(name: str | Path) -> Recipe:
    """Read a recipe: one of `RECIPES` by its name, or a TOML file.

    Raises:
        ConfigError: there is no such recipe or file, or it has an unknown or wrong key.
    """
    if str(name) in RECIPES:
        return load(_SHIPPED / f"{name}.toml", Recipe)
    if not Path(name).exists():
        raise ConfigError(f"{name}: no such file; recipes of jdetrt: {', '.join(RECIPES)}")
    return load(name, Recipe)


def check(folder: Path, *, resume: bool) -> None:
    """Refuse a folder that a run cannot begin in, or that there is none in to resume.

    Raises:
        ConfigError: another run is in there, and shall not be resumed; or there is none to resume.
    """
    there = (folder / STATE).exists()
    if there and not resume:
        raise ConfigError(
            f"{folder}: holds a run already; go on with it by --resume, or name another folder"
        )
    if resume and not there:
        raise ConfigError(f"{folder}: there is no run to resume; train without --resume")


def prepare(folder: Path, recipe: Recipe) -> None:
    """Write the recipe into the folder of a new run, so that the run explains itself.

    Raises:
        SinkError: the folder cannot be written.
    """
    files.write_json(folder / _RECIPE, recipe)
