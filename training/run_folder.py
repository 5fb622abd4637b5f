"""Folder of a training run: its files, its recipe, and the state to resume from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import torch

from jdetrt import files
from jdetrt.errors import CheckpointError, ConfigError
from jdetrt.training.checkpoints.torch_file import read_torch
from jdetrt.training.data.datasets import DataSet
from jdetrt.training.recipe import Recipe

__all__ = [
    "BEST",
    "LAST",
    "LOG",
    "STATE",
    "VALIDATION",
    "check",
    "prepare",
    "read_state",
    "write_state",
]

LAST, BEST, STATE = "last.safetensors", "best.safetensors", "state.pt"
LOG, VALIDATION = "log.csv", "validation.csv"
_RECIPE = "recipe.json"
_FORMAT = "jdetrt-training-2"  # of the state


def check(folder: Path, *, resume: bool) -> None:
    """Refuse to start a run in a folder that holds one, or to resume where there is none.

    Raises:
        ConfigError: so it is.
    """
    exists = (folder / STATE).exists()
    if exists and not resume:
        raise ConfigError(
            f"{folder}: already holds a run; continue it with --resume, or name another folder"
        )
    if resume and not exists:
        raise ConfigError(f"{folder}: no run to resume; train without --resume")


def prepare(folder: Path, recipe: Recipe) -> None:
    """Write the recipe into the folder of a new run. Raises OutputError."""
    files.write_json(folder / _RECIPE, recipe)


def write_state(path: Path, state: dict[str, Any], recipe: Recipe, data_set: DataSet) -> None:
    """Write a state (tensors, numbers, lists and dicts of them), whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    with files.atomic_path(path) as temporary:
        torch.save(
            {
                "format": _FORMAT,
                "recipe": msgspec.json.encode(recipe).decode(),
                "data": _counts(data_set),
                **state,
            },
            temporary,
        )


def read_state(path: Path, recipe: Recipe, data_set: DataSet) -> dict[str, Any]:
    """Read a state of the same recipe and data.

    Raises:
        CheckpointError: there is none, or it is damaged or something else.
        ConfigError: it belongs to another recipe or other data; the differences are named.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no state to resume from; train without --resume")
    state = read_torch(path)
    if not isinstance(state, dict) or state.get("format") != _FORMAT:
        raise CheckpointError(f"{path}: is not the state of a training run of this version")
    before = msgspec.json.decode(state["recipe"])
    now = msgspec.json.decode(msgspec.json.encode(recipe))
    changes = [name for name in now if before.get(name) != now[name]]
    if changes:
        raise ConfigError(
            f"{path}: was written with another {', '.join(changes)}; resume with the recipe that "
            "the run began with, or start a new run"
        )
    for name, count in _counts(data_set).items():
        if (before := state["data"][name]) != count:
            raise ConfigError(
                f"{path}: was written with {before} {name.replace('pictures', 'images')}, "
                f"now there are {count}; resume with the data of that run, or start a new run"
            )
    return state


def _counts(data_set: DataSet) -> dict[str, int]:
    return {"pictures": len(data_set), "identities": data_set.identities}
