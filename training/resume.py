"""The state of a training run, to go on from."""

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

__all__ = ["read_state", "write_state"]

_FORMAT = "jdetrt-training-2"


def write_state(path: Path, state: dict[str, Any], recipe: Recipe, data_set: DataSet) -> None:
    """Write a state (tensors, numbers, lists and dicts of them), whole or not at all.

    Raises:
        SinkError: it cannot be written.
    """
    with files.atomic_path(path) as temporary:
        torch.save(
            {
                "format": _FORMAT,
                "recipe": msgspec.json.encode(recipe).decode(),
                "data": _data(data_set),
                **state,
            },
            temporary,
        )


def read_state(path: Path, recipe: Recipe, data_set: DataSet) -> dict[str, Any]:
    """Read a state of the same recipe and data.

    Raises:
        CheckpointError: there is none, or it is damaged or something else.
        ConfigError: it was made with another recipe or other data; what differs is named.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no state to resume from; train without --resume")
    state = read_torch(path)
    if not isinstance(state, dict) or state.get("format") != _FORMAT:
        raise CheckpointError(f"{path}: is not the state of a training run of this version")
    before = msgspec.json.decode(state["recipe"])
    now = msgspec.json.decode(msgspec.json.encode(recipe))
    changed = [name for name in now if before.get(name) != now[name]]
    if changed:
        raise ConfigError(
            f"{path}: was made with another {', '.join(changed)}; resume with the recipe that the "
            "run began with, or begin a new run"
        )
    for name, number in _data(data_set).items():
        if state["data"][name] != number:
            raise ConfigError(
                f"{path}: was made with {state['data'][name]} {name}, and now there are {number}; "
                "resume with the data that the run began with, or begin a new run"
            )
    return state


def _data(data_set: DataSet) -> dict[str, int]:
    return {"pictures": len(data_set), "identities": data_set.identities}
