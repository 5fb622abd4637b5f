"""One training run: its position, and the files in its folder."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import torch

from jdetrt.errors import CheckpointError, ConfigError, TrainingError
from jdetrt.progress import NO_PROGRESS, Progress
from jdetrt.runtime.signals import interrupt_held
from jdetrt.training.batches import batch_count, batches
from jdetrt.training.checkpoints import checkpoint
from jdetrt.training.checkpoints.pretrained import start_from
from jdetrt.training.data.datasets import DataSet
from jdetrt.training.data.sample import Batch
from jdetrt.training.distributed import Processes
from jdetrt.training.learner import Learner, burn_in_steps, rate, set_prior
from jdetrt.training.network.anchors import grids
from jdetrt.training.network.model import BODIES, JdeNetwork, initialise
from jdetrt.training.progress import Means, Report
from jdetrt.training.recipe import Recipe, ScheduleConfig
from jdetrt.training.run_folder import (
    BEST,
    LAST,
    STATE,
    read_state,
    write_state,
)
from jdetrt.training.run_log import RunLog
from jdetrt.types import Size

__all__ = ["Run", "Validate"]

Validate = Callable[[JdeNetwork], Mapping[str, float]]

_log = logging.getLogger(__name__)

_REPORT_EVERY = 20  # steps
_SAVE_EVERY = 600.0  # seconds


class Run:
    """Train epoch by epoch, score the network and write state, checkpoints and tables.

    Args: as for `jdetrt.training.train.train`.

    Attributes:
        epoch: the current one, from 0; at the end, their number.
        step: steps done in this epoch.
        validated: epochs done when the network was last scored.
        best: highest score so far; None before the first.

    Raises:
        ConfigError: the recipe does not fit the data or the state.
        CheckpointError: the weights to start from cannot be used, or there is no state to resume.
        OutputError: the folder cannot be written.
    """

    def __init__(
        self,
        recipe: Recipe,
        data_set: DataSet,
        output: Path,
        processes: Processes,
        workers: int,
        resume: bool,
    ) -> None:
        self._recipe, self._size = recipe, _size(recipe)
        self._data_set, self.output = data_set, output
        self._processes, self._workers = processes, workers
        self.epoch, self.step = 0, 0
        self.validated = 0
        self.best: float | None = None
        self._means = Means()
        self._between_steps = True
        torch.manual_seed(recipe.seed)

        network = JdeNetwork(recipe.network.body, recipe.network.embedding_dim)
        initialise(network, recipe.seed)
        if recipe.start is not None and not resume:
            start_from(network, recipe.start)
        if recipe.prior is not None and not resume:
            set_prior(network, recipe.prior)
        self._learner = Learner(network, recipe, data_set.identities, processes)
        if resume:
            self._load()
        self._saved, self._saved_at = self._position(), time.monotonic()
        self._steps = 0  # in an epoch, as far as it is known
        if processes.first:
            position = (self.epoch + 1, self.step, self.validated) if resume else None
            self._log = RunLog(output, recipe, len(data_set), data_set.identities, position)

    @property
    def to_validate(self) -> bool:
        """True if the epoch that has just ended is still to be validated."""
        due = self.epoch == self._recipe.schedule.epochs or (
            self.epoch % self._recipe.validate_every == 0
        )
        return due and self.step == 0 and self.validated < self.epoch

    def train_epoch(self, progress: Progress = NO_PROGRESS) -> Iterator[Report]:
        """Train to the end of the current epoch."""
        recipe, epoch = self._recipe, self.epoch
        micro = recipe.batch // recipe.accumulate
        pairs = recipe.loss.identity != "cross-entropy"  # paper section 4.3
        count = batch_count(self._data_set, micro, recipe.seed, epoch, pairs)
        steps = count // recipe.accumulate
        if not steps:
            raise ConfigError(f"batch: the data have fewer than {recipe.batch} images")
        self._steps = steps
        loaded = batches(
            self._data_set,
            recipe.augment,
            self._size,
            micro,
            recipe.seed,
            epoch,
            self._workers,
            pairs=pairs,
            skip=self.step * recipe.accumulate,
            rank=self._processes.rank,
            world=self._processes.world,
            sizes=recipe.sizes,
        )
        if epoch == 0 and not self.step and (note := _burn_in_note(recipe.schedule, steps)):
            progress.message(note)
        self._learner.model.train()
        phase = f"epoch {epoch + 1} of {recipe.schedule.epochs}"
        progress.start(phase, steps)
        begun, before = time.monotonic(), self.step
        with closing(loaded):
            while self.epoch == epoch:
                progress.advance(phase, self.step)
                parts = [next(loaded) for _ in range(recipe.accumulate)]
                with interrupt_held():
                    report = self._advance(parts, steps, begun, before)
                if report is not None:
                    begun, before = time.monotonic(), report.step
                    yield report
                if time.monotonic() - self._saved_at > _SAVE_EVERY:
                    self.save()
        progress.advance(phase, steps)
        progress.finish(phase)

    def _advance(
        self, parts: Sequence[Batch], steps: int, begun: float, before: int
    ) -> Report | None:
        """Take a step: all of its changes are made, or none.

        Args:
            parts: of the batch.
            steps: of an epoch.
            begun: time of the last report.
            before: steps at that time.
        """
        recipe, self._between_steps = self._recipe, False
        share = rate(recipe.schedule, self.epoch * steps + self.step, steps)
        try:
            self._means.add(self._learner.step(parts, share))
        except FloatingPointError as err:
            raise TrainingError(
                f"{err} is no longer finite in epoch {self.epoch + 1}, step {self.step + 1}; a "
                "lower learning rate, a longer burn-in or clipped gradients "
                "(optimiser.max_gradient) help; earlier checkpoints are kept"
            ) from err
        self.step += 1
        report = None
        if self.step % _REPORT_EVERY == 0 or self.step == steps:
            speed = (self.step - before) * recipe.batch / max(time.monotonic() - begun, 1e-9)
            learning_rate = recipe.optimiser.learning_rate * share
            losses = self._means.take()
            report = Report(
                self.epoch + 1,
                recipe.schedule.epochs,
                self.step,
                steps,
                learning_rate,
                losses,
                speed,
                {},
            )
            if self._processes.first:
                self._log.add(report)
        if self.step == steps:
            self.epoch, self.step = self.epoch + 1, 0
        self._between_steps = True
        return report

    def validate(self, validate: Validate) -> Report:
        """Score the network, and keep it if it is the best so far."""
        scores = dict(validate(self._learner.network.eval()))
        first = next(iter(scores.values()))
        with interrupt_held():
            if self.best is None or first > self.best:
                self._write(BEST)
                self.best = first
            epochs, steps = self._recipe.schedule.epochs, self._steps
            report = Report(self.epoch, epochs, 0, steps, 0.0, {}, 0.0, scores)
            self._log.add(report)
            self.validated = self.epoch
        return report

    def save(self) -> None:
        """Write the state, and the weights at the end of an epoch; nothing in the middle of a step.

        A step that fails because other processes have ended may have changed a part of the state.
        """
        if not self._processes.first or not self._between_steps or self._position() == self._saved:
            return
        if self.step == 0:
            self._write(LAST)
            if self.best is None:
                self._write(BEST)
        write_state(
            self.output / STATE,
            {
                "epoch": self.epoch,
                "step": self.step,
                "validated": self.validated,
                "best": self.best,
                "means": self._means.values,
                **self._learner.state(),
            },
            self._recipe,
            self._data_set,
        )
        self._saved, self._saved_at = self._position(), time.monotonic()

    def _position(self) -> tuple[int, int, int]:
        return self.epoch, self.step, self.validated

    def _write(self, name: str) -> None:
        checkpoint.save(
            self.output / name,
            self._learner.network,
            size=self._size,
            anchors=self._recipe.network.anchors,
            tracker=self._recipe.network.tracker,
            label=self._recipe.network.label,
            scores=self._recipe.network.scores,
            identities=self._data_set.identities,
            epoch=self.epoch,
        )

    def _load(self) -> None:
        path = self.output / STATE
        state = read_state(path, self._recipe, self._data_set)
        try:
            self.epoch, self.step, self.best = state["epoch"], state["step"], state["best"]
            self.validated, self._means.values = state["validated"], state["means"]
            self._learner.load(state)
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as err:
            why = " ".join(str(err).split())[:200]
            raise CheckpointError(f"{path}: is damaged ({why}); start a new run") from err


def _burn_in_note(schedule: ScheduleConfig, steps_per_epoch: int) -> str:
    """Warn where an epoch is too short for the burn-in; empty where it is not."""
    steps = burn_in_steps(schedule, steps_per_epoch)
    if steps == schedule.burn_in:
        return ""
    return (
        f"Warning: the burn-in has only {steps} of {schedule.burn_in} steps, because an epoch of "
        f"these data has {steps_per_epoch}, which may not protect the weights; lower the learning "
        "rate, raise schedule.burn_in_epochs and epochs, or add data"
    )


def _size(recipe: Recipe) -> Size:
    """Size of the network; raises ConfigError where settings of the recipe contradict."""
    if recipe.network.size is None:
        raise ConfigError("network.size: is missing; give the network's width and height")
    for size in (recipe.network.size, *recipe.sizes):
        grids(*size)
        if question := Size(*size).question():
            _log.warning("network size: %s", question)
    if recipe.batch % recipe.accumulate:
        raise ConfigError(
            f"accumulate: a batch of {recipe.batch} images cannot be computed in "
            f"{recipe.accumulate} equal parts"
        )
    body = BODIES.get(recipe.network.body)
    anchored = body is None or body.boxes == "anchors"
    if recipe.sizes and recipe.network.anchors is None and anchored:
        raise ConfigError(
            "sizes: anchors follow from one size; give network.anchors to train at several"
        )
    return Size(*recipe.network.size)
