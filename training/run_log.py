"""Log of a training run: tables, curves and TensorBoard events in its folder."""

from __future__ import annotations

import time
from pathlib import Path

from jdetrt.training.curves import write_curves
from jdetrt.training.losses.loss import PARTS
from jdetrt.training.progress import Report, Table
from jdetrt.training.recipe import Recipe
from jdetrt.training.run_folder import LOG, VALIDATION, upgrade_tables
from jdetrt.training.tensorboard import Events, open_events
from jdetrt.types import Size

__all__ = ["RunLog"]

_COLUMNS = ("epoch", "step", "rate", "speed", "total", *PARTS)
_OPTIMISERS = {"sgd": "SGD", "adamw": "AdamW"}
_DRAW_EVERY = 30.0  # seconds, within an epoch


class RunLog:
    """Write down what a run reports.

    Args:
        folder: of the run.
        recipe: of the run.
        images: in an epoch.
        identities: in the data.
        resume: epoch (from 1) and step to go on after, and the last epoch that was validated; None
            starts afresh.

    Raises:
        OutputError: a file cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        recipe: Recipe,
        images: int,
        identities: int,
        resume: tuple[int, int, int] | None,
    ) -> None:
        if resume is not None:
            upgrade_tables(folder)
        self._folder, self._recipe = folder, recipe
        optimiser = recipe.optimiser
        self._facts = (
            f"{images} images an epoch, identities: {identities}, batch of {recipe.batch}, "
            f"{_OPTIMISERS[optimiser.name]}, learning rate {optimiser.learning_rate:g}"
        )
        self._log = Table(folder / LOG, _COLUMNS, resume and resume[:2])
        self._scores = Table(folder / VALIDATION, resume=resume and (resume[2], 0))
        self._events: Events | None = None
        self._opened = False
        self._drawn_at = 0.0

    def add(self, report: Report) -> None:
        """Write losses or scores."""
        if report.losses:
            place = {"epoch": report.epoch, "step": report.step}
            self._log.add({**place, "rate": report.rate, "speed": report.speed, **report.losses})
        if report.scores:
            self._scores.add({"epoch": report.epoch, **report.scores})
        if not self._opened:
            self._events, self._opened = open_events(self._folder, report), True
        if self._events is not None:
            self._events.add(report)
        now = time.monotonic()
        if report.scores or report.step == report.steps or now - self._drawn_at > _DRAW_EVERY:
            self._drawn_at = now
            self._draw(report)

    def _draw(self, report: Report) -> None:
        network = self._recipe.network
        size = "" if network.size is None else f" at {Size(*network.size)}"
        write_curves(
            self._folder / LOG,
            self._folder / VALIDATION,
            f"Training of {network.body}{size}",
            self._facts,
            report.steps,
            report.epochs,
        )
