"""The training loop: from a recipe and data to checkpoints, resumable at any step.

A step depends on the recipe, the data and the state of weights and optimiser, and on nothing else:
the pictures of a batch and how they are varied follow from the seed, the epoch and their place in
it. So a run that is resumed continues exactly, whatever the number of workers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jdetrt.training.data.datasets import DataSet
from jdetrt.training.distributed import Processes
from jdetrt.training.progress import Progress
from jdetrt.training.recipe import Recipe
from jdetrt.training.run import Run, Validate
from jdetrt.training.run_folder import BEST, LAST

__all__ = ["Trained", "train"]


@dataclass(frozen=True, slots=True)
class Trained:
    """What a run left.

    Attributes:
        epochs: trained.
        last: checkpoint after the last epoch.
        best: checkpoint with the best score, or the last where nothing was validated.
        score: of ``best``; None where nothing was validated.
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
    report: Callable[[Progress], None] = lambda _: None,
) -> Trained:
    """Train a network.

    ``output`` gets ``last.safetensors`` and ``best.safetensors`` (by the first score of
    ``validate``), ``state.pt`` to resume from, ``log.csv`` and ``validation.csv``; each whole or
    not at all. With several processes only the first writes and validates. A run that is stopped by
    Ctrl-C or SIGTERM ends the step that it is in and writes its state first.

    Args:
        recipe: everything that decides the result.
        data_set: the training set.
        output: a folder.
        processes: this process among the others.
        workers: processes that prepare batches.
        resume: go on from ``state.pt``.
        validate: scores a network; higher is better.
        report: is told every few steps and after every validation.

    Raises:
        ConfigError: the recipe does not fit the data or the state.
        DataError: there are too few pictures, or one cannot be read.
        TrainingError: the loss is no longer a finite number.
        CheckpointError: the weights to start from cannot be used, or there is no state to resume.
        SinkError: the output cannot be written.
    """
    run = Run(recipe, data_set, Path(output), processes, workers, resume)
    try:
        while True:
            if processes.first and validate and run.to_validate:
                report(run.validate(validate))
                run.save()
            if run.epoch == recipe.schedule.epochs:
                break
            for progress in run.train_epoch():
                report(progress)
            run.save()
    except KeyboardInterrupt:
        run.save()
        raise
    return Trained(run.epoch, run.output / LAST, run.output / BEST, run.best)
