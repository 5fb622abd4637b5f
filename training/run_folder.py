"""Folder of a training run: its files, its recipe, and the state to resume from.

Earlier versions counted epochs from 0 in ``log.csv`` and wrote AP, TPR and coverage as fractions;
such a run can be resumed, and its tables are brought up to date.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch

from jdetrt import files
from jdetrt.documents import convert, decode_json, read_json
from jdetrt.errors import CheckpointError, ConfigError
from jdetrt.training.checkpoints.torch_file import read_torch
from jdetrt.training.data.datasets import DataSet
from jdetrt.training.progress import read_table
from jdetrt.training.recipe import Recipe

__all__ = [
    "BEST",
    "LAST",
    "LOG",
    "STATE",
    "VALIDATION",
    "check",
    "prepare",
    "read_recipe",
    "read_state",
    "upgrade_tables",
    "write_state",
]

LAST, BEST, STATE = "last.safetensors", "best.safetensors", "state.pt"
LOG, VALIDATION = "log.csv", "validation.csv"
_RECIPE = "recipe.json"
_FORMAT = "jdetrt-training-3"  # of the state
_FRACTIONS_FORMAT = "jdetrt-training-2"  # whose best score is a fraction
_RATES = ("ap50", "tpr", "coverage")  # fractions in tables of earlier versions


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


def read_recipe(folder: Path) -> Recipe:
    """Read the recipe of a run.

    Raises:
        ConfigError: it is missing or damaged.
    """
    remedy = "name the recipe that the run began with"
    return read_json(folder / _RECIPE, Recipe, ConfigError, "the recipe of a run", remedy)


def upgrade_tables(folder: Path) -> None:
    """Count epochs from 1 and give rates in percent in tables of an earlier version.

    Tables of this version stay as they are.

    Raises:
        DataError: a table cannot be read.
        OutputError: it cannot be written.
    """
    for name, old, new in ((LOG, _counted_from_0, _from_1), (VALIDATION, _has_step, _in_percent)):
        path = folder / name
        if not path.is_file():
            continue
        whole = read_table(path)[1]
        if whole and old(whole[0]):
            rows = [new(row) for row in whole]
            text = io.StringIO(newline="")
            writer = csv.DictWriter(text, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
            files.write_text(path, text.getvalue())


def _counted_from_0(row: Mapping[str, str]) -> bool:
    return row["epoch"] == "0"


def _from_1(row: Mapping[str, str]) -> dict[str, str]:
    return {**row, "epoch": str(int(row["epoch"]) + 1)}


def _has_step(row: Mapping[str, str]) -> bool:
    return "step" in row


def _in_percent(row: Mapping[str, str]) -> dict[str, str]:
    return {
        name: f"{100 * float(value):.6g}" if name in _RATES else value
        for name, value in row.items()
        if name != "step"
    }


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
    if not isinstance(state, dict) or state.get("format") not in (_FORMAT, _FRACTIONS_FORMAT):
        raise CheckpointError(f"{path}: is not the state of a training run of this version")
    try:
        before = decode_json(state["recipe"], Recipe)
        counts = convert(state["data"], dict[str, int])
        best = None if state["best"] is None else float(state["best"])
    except (KeyError, TypeError, ValueError, AttributeError) as err:
        raise CheckpointError(f"{path}: is damaged ({err}); start a new run") from err
    changes = [
        name for name in Recipe.__struct_fields__ if getattr(before, name) != getattr(recipe, name)
    ]
    if changes:
        raise ConfigError(
            f"{path}: was written with another {', '.join(changes)}; resume with the recipe that "
            "the run began with, which --resume without a recipe does, or start a new run"
        )
    if state["format"] == _FRACTIONS_FORMAT and best is not None:
        state["best"] = 100 * best
    for name, count in _counts(data_set).items():
        if (then := counts.get(name)) != count:
            raise ConfigError(
                f"{path}: was written with {then} {name.replace('pictures', 'images')}, "
                f"now there are {count}; resume with the data of that run, or start a new run"
            )
    return state


def _counts(data_set: DataSet) -> dict[str, int]:
    return {"pictures": len(data_set), "identities": data_set.identities}
