"""Training runs of a moment: the tiny body, and rectangles in place of people."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import safetensors.torch
import torch
from coloured_people import ColouredPeople
from tiny_network import EMBEDDING_DIM, SIZE, TinyBody
from torch import Tensor

from jdetrt.training import run, run_log
from jdetrt.training.data.sample import Sample
from jdetrt.training.distributed import Processes
from jdetrt.training.network import model
from jdetrt.training.progress import Report
from jdetrt.training.recipe import Recipe
from jdetrt.training.train import Trained, train

ALONE = Processes(0, 1, torch.device("cpu"))


class SomePeople(ColouredPeople):
    """Of each three images the first has nobody in it, and the second nobody known by name."""

    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(index)
        if index % 3 == 0:
            return replace(sample, boxes=sample.boxes[:0], ids=sample.ids[:0])
        if index % 3 == 1:
            return replace(sample, ids=np.full_like(sample.ids, -1))
        return sample


def small_recipe(**settings: Any) -> Recipe:
    """Exact from any number of processes: nothing is halved, and no batch norm looks at a batch."""
    base: dict[str, Any] = {
        "network": {"body": "tiny", "size": SIZE, "embedding_dim": EMBEDDING_DIM},
        "batch": 4,
        "mixed_precision": False,
        "frozen_norms": "all",
        "targets": {"force_best": True},
        "schedule": {"epochs": 2, "burn_in": 2},
        "optimiser": {"learning_rate": 1e-3},
    }
    for name, value in settings.items():
        known = base.get(name)
        base[name] = {**known, **value} if isinstance(known, dict) else value
    return msgspec.convert(base, Recipe)


def learn_tiny_body(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the body known, and have every step reported, but not to TensorBoard."""
    monkeypatch.setattr(model, "BODIES", {**model.BODIES, "tiny": TinyBody})
    monkeypatch.setattr(run, "_REPORT_EVERY", 1)
    monkeypatch.setattr(run_log, "open_events", lambda *_: None)  # tests/training/test_run_log.py


def small_run(
    recipe: Recipe, output: Path, processes: Processes = ALONE, **settings: Any
) -> tuple[Trained, list[Report]]:
    """Train on 16 images, without workers unless told otherwise; with what was reported."""
    told: list[Report] = []
    data = settings.pop("data", None) or SomePeople(16)
    settings = {"workers": 0, "report": told.append, **settings}
    trained = train(recipe, data, output, processes, **settings)
    return trained, told


def start() -> dict[str, Tensor]:
    """The weights that a small run begins with."""
    return model.random_network(0, "tiny", EMBEDDING_DIM).state_dict()


def weights(path: Path) -> dict[str, Tensor]:
    """The weights in a checkpoint."""
    return safetensors.torch.load_file(path)


def rows(path: Path) -> list[Mapping[str, str]]:
    """The lines of a table but for the speed, which is another each time."""
    with path.open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "speed"} for row in csv.DictReader(file)]
