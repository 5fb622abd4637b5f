"""What two processes do together, for torchrun: ``two_processes.py FOLDER``, run by a test.

Each process writes what it found into ``FOLDER/RANK.json``, and the runs write their folders.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import learn_tiny_body, small_recipe, small_run
from torch import Tensor

from jdetrt.errors import JdetrtError, TrainingError
from jdetrt.training.distributed import Processes, mean, processes, total
from jdetrt.training.learner import Learner
from jdetrt.training.progress import Report

RECIPES: dict[str, dict[str, Any]] = {
    "paper": {},
    "parts": {"accumulate": 2, "optimiser": {"ema": 0.9}},
    "focal": {"loss": {"confidence": "focal", "box": "giou", "balance": "loss-norm"}},
    "mgda": {
        "loss": {"balance": "mgda-ub"},
        "optimiser": {"learning_rate": 0.05, "max_gradient": 0.5},
    },
}


def main(folder: Path) -> None:
    """Run all, and write it down."""
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    try:
        with processes("cpu") as process:
            _together(folder, process, found)
            if process.rank == 1:
                raise JdetrtError("this is enough")
            total(torch.ones(1))
    except JdetrtError as err:
        found["end"] = [type(err).__name__, str(err)]
    (folder / f"{process.rank}.json").write_text(json.dumps(found))


def _together(folder: Path, process: Processes, found: dict[str, Any]) -> None:
    found["process"] = [process.rank, process.world, process.first, str(process.device)]
    found["total"] = total(torch.tensor([1, process.rank])).tolist()
    found["mean"] = _mean(process)
    for name, settings in RECIPES.items():
        _, told = small_run(small_recipe(**settings), folder / name, process)
        found[name] = [dict(progress.losses) for progress in told]
    small_run(small_recipe(loss={"identity": "triplet"}), folder / "triplet", process)
    _stopped(folder / "stopped", process)
    found["poisoned"] = _poisoned(folder / "poisoned", process)


def _mean(process: Processes) -> list[list[float]]:
    values = torch.tensor([1.0, 3.0 * process.rank], requires_grad=True)
    mixed = mean(values)
    slopes: Tensor = torch.autograd.grad((mixed * mixed).sum(), values)[0]
    return [mixed.tolist(), slopes.tolist()]


def _stopped(folder: Path, process: Processes) -> None:
    """A run that is stopped in its second epoch, and goes on."""

    def stop(progress: Report) -> None:
        if (progress.epoch, progress.step) == (1, 2):
            raise KeyboardInterrupt

    recipe = small_recipe(**RECIPES["parts"])
    try:
        small_run(recipe, folder, process, report=stop)
    except KeyboardInterrupt:
        small_run(recipe, folder, process, resume=True)


def _poisoned(folder: Path, process: Processes) -> str:
    """The second process sees something in its third batch that is no number."""
    step, seen = Learner.step, 0

    def poisoned(self: Learner, *arguments: Any) -> dict[str, float]:
        nonlocal seen
        seen += 1
        if seen == 3 and process.rank == 1:
            bias = next(p for n, p in self.model.network.named_parameters() if n.endswith("bias"))
            bias.data.fill_(torch.nan)
        return step(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learner, "step", poisoned)
        try:
            small_run(small_recipe(), folder, process)
        except TrainingError as err:
            return str(err)
    return ""


if __name__ == "__main__":
    with pytest.MonkeyPatch.context() as patch:
        learn_tiny_body(patch)
        main(Path(sys.argv[1]))
    # The group was broken on purpose, and its threads outlive it: none of them may meet a Python
    # that is ending, which on 3.11 aborts the process.
    sys.stdout.flush()
    os._exit(0)
