"""The training loop: from a recipe and data to checkpoints, resumable at any step.

A step depends on the recipe, the data and the state of weights and optimiser alone: the images of
a batch and their augmentation follow from the seed, the epoch and the position in it. So a resumed
run continues exactly, with any number of workers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jdetrt.progress import NO_PROGRESS, Progress
from jdetrt.training.data.datasets import DataSet
from jdetrt.training.distributed import Processes
from jdetrt.training.progress import Report
from jdetrt.training.recipe import Recipe
from jdetrt.training.run import Run, Validate
from jdetrt.training.run_folder import BEST, LAST

__all__ = ["Trained", "train"]


@dataclass(frozen=True, slots=True)
class Trained:
    """Result of a run.

    Attributes:
        epochs: trained.
        last: checkpoint after the last epoch.
        best: checkpoint with the best score; without validation, the last.
        score: of ``best``; None without validation.
    """

    epochs: int
    last: Path
    best: Path
    score: float | None


def train(
    recipe: Recipe,
    data_set: DataSet,
    output: str | Path,
    processes: Processes,
    *,
    workers: int = 2,
    resume: bool = False,
    validate: Validate | None = None,
    report: Callable[[Report], None] = lambda _: None,
    progress: Progress = NO_PROGRESS,
) -> Trained:
    """Train a network.

    ``output`` gets ``last.safetensors`` and ``best.safetensors`` (by the first score of
    ``validate``), ``state.pt`` to resume from, ``log.csv`` and ``validation.csv``, ``curves.html``
    to look at them, each whole or not at all; and TensorBoard events, where that is installed. With
    several processes only the first writes and validates. A run stopped by Ctrl-C or SIGTERM
    finishes its step and writes its state first.

    Args:
        recipe: everything that decides the result.
        data_set: the training set.
        output: a folder.
        processes: this process among the others.
        workers: processes that prepare batches.
        resume: continue from ``state.pt``.
        validate: scores a network; higher is better.
        report: called every few steps and after every validation.
        progress: gets a phase for each epoch.

    Raises:
        ConfigError: the recipe does not fit the data or the state.
        DataError: there are too few images, or one cannot be read.
        TrainingError: the loss is no longer a finite number.
        CheckpointError: the weights to start from cannot be used, or there is no state to resume.
        OutputError: the output cannot be written.
    """
    run = Run(recipe, data_set, Path(output), processes, workers, resume)
    try:
        while True:
            if processes.first and validate and run.to_validate:
                report(run.validate(validate))
                run.save()
            if run.epoch == recipe.schedule.epochs:
                break
            for one in run.train_epoch(progress):
                report(one)
            run.save()
    except KeyboardInterrupt:
        run.save()
        raise
    return Trained(run.epoch, run.output / LAST, run.output / BEST, run.best)
