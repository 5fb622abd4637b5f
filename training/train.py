"""The training loop: from a recipe and data to checkpoints, resumable at any step.

A step depends on the recipe, the data and the state of weights and optimiser, and on nothing else:
the pictures of a batch and how they are varied follow from the seed, the epoch and their place in
it. So a run that is resumed continues exactly, whatever the number of workers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from jdetrt.errors import ConfigError, TrainingError
from jdetrt.training import checkpoint
from jdetrt.training.anchors import grids, network_anchors
from jdetrt.training.batches import batch_count, batches
from jdetrt.training.data import DataSet
from jdetrt.training.model import JdeNetwork, initialise
from jdetrt.training.pretrained import start_from
from jdetrt.training.processes import Processes
from jdetrt.training.progress import Progress, Table
from jdetrt.training.recipe import Recipe
from jdetrt.training.resume import read_state, write_state
from jdetrt.training.sample import Batch
from jdetrt.training.schedule import rate
from jdetrt.training.targets import assign
from jdetrt.training.trainee import Trainee, optimiser, set_prior

__all__ = ["Trained", "Validate", "train"]

Validate = Callable[[JdeNetwork], Mapping[str, float]]

LAST, BEST, STATE = "last.safetensors", "best.safetensors", "state.pt"
_REPORT_EVERY = 20  # steps
_SAVE_EVERY = 600.0  # seconds


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
    not at all. With several processes only the first writes and validates.

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
        TrainingError: the loss is no longer a finite number.
        CheckpointError: the weights to start from cannot be used, or there is no state to resume.
        SinkError: the output cannot be written.
    """
    run = _Run(recipe, data_set, Path(output), processes, workers, resume)
    while run.epoch < recipe.schedule.epochs:
        for progress in run.train_epoch():
            report(progress)
        last = run.epoch == recipe.schedule.epochs
        if processes.first and validate and (last or run.epoch % recipe.validate_every == 0):
            report(run.validate(validate))
        run.save()
    return Trained(run.epoch, run.output / LAST, run.output / BEST, run.best)


class _Run:
    """The state of a run: weights, optimiser, and where it is."""

    def __init__(
        self,
        recipe: Recipe,
        data_set: DataSet,
        output: Path,
        processes: Processes,
        workers: int,
        resume: bool,
    ) -> None:
        if recipe.network.size is None:
            raise ConfigError("network.size: is missing; name the network's width and height")
        for size in (recipe.network.size, *recipe.sizes):
            grids(*size)
        if recipe.batch % recipe.accumulate:
            raise ConfigError(
                f"accumulate: a batch of {recipe.batch} pictures cannot be computed in "
                f"{recipe.accumulate} equal parts"
            )
        if recipe.sizes and recipe.network.anchors is None:
            raise ConfigError(
                "sizes: anchors follow from one size; give network.anchors to train at several"
            )
        self.recipe, self.size = recipe, recipe.network.size
        self.data_set, self.output = data_set, output
        self.processes, self.workers = processes, workers
        self.epoch, self.step = 0, 0
        self.best: float | None = None
        torch.manual_seed(recipe.seed)

        network = JdeNetwork(recipe.network.body, recipe.network.embedding_dim)
        initialise(network, recipe.seed)
        if recipe.start is not None and not resume:
            start_from(network, recipe.start)
        if recipe.prior is not None and not resume:
            set_prior(network, recipe.prior)
        self.trainee = Trainee(network, recipe, data_set.identities)
        self.trainee.to(processes.device)
        _channels_last(self.trainee)
        self.optimiser = optimiser(self.trainee, recipe.optimiser)
        self.average = _average(network, recipe.optimiser.ema) if recipe.optimiser.ema else None
        self.scaler = torch.amp.GradScaler(
            processes.device.type, enabled=self.half == torch.float16
        )
        if resume:
            self._load()
        output.mkdir(parents=True, exist_ok=True)
        self.module = self._distributed()
        if processes.first:
            where = (self.epoch, self.step) if resume else None
            self.log = Table(output / "log.csv", where)
            self.scores = Table(output / "validation.csv", where)

    @property
    def half(self) -> torch.dtype | None:
        """The type of mixed precision, None for none."""
        if self.processes.device.type != "cuda" or not self.recipe.mixed_precision:
            return None
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16

    @property
    def network(self) -> JdeNetwork:
        """The weights to keep: averaged where the recipe says so."""
        kept = self.trainee.network if self.average is None else self.average.module
        assert isinstance(kept, JdeNetwork)
        return kept

    def train_epoch(self) -> Iterator[Progress]:
        """Train to the end of the epoch that the run is in."""
        recipe, processes = self.recipe, self.processes
        micro = recipe.batch // recipe.accumulate
        pairs = recipe.loss.identity != "cross-entropy"  # paper section 4.3
        count = batch_count(self.data_set, micro, recipe.seed, self.epoch, pairs)
        steps = count // recipe.accumulate
        if not steps:
            raise ConfigError(f"batch: the data have fewer than {recipe.batch} pictures")
        loaded = batches(
            self.data_set,
            recipe.augment,
            self.size,
            micro,
            recipe.seed,
            self.epoch,
            self.workers,
            pairs=pairs,
            skip=self.step * recipe.accumulate,
            rank=processes.rank,
            world=processes.world,
            sizes=recipe.sizes,
        )
        self.trainee.train()
        means, begun, saved = _Means(), time.monotonic(), time.monotonic()
        while self.step < steps:
            learning_rate = self._step(loaded, steps, means)
            self.step += 1
            if self.step % _REPORT_EVERY == 0 or self.step == steps:
                seconds, begun = time.monotonic() - begun, time.monotonic()
                speed = means.count * micro / max(seconds, 1e-9)
                progress = Progress(
                    self.epoch, self.step, steps, learning_rate, means.take(), speed, {}
                )
                if processes.first:
                    self.log.add(_row(progress))
                yield progress
            if time.monotonic() - saved > _SAVE_EVERY and self.step < steps:
                self.save()
                saved = time.monotonic()
        self.epoch, self.step = self.epoch + 1, 0

    def _step(self, loaded: Iterator[Batch], steps: int, means: _Means) -> float:
        recipe = self.recipe
        share = rate(recipe.schedule, self.epoch * steps + self.step, steps)
        for group in self.optimiser.param_groups:
            group["lr"] = group["base"] * share
        self.optimiser.zero_grad(set_to_none=True)
        for _ in range(recipe.accumulate):
            batch = next(loaded).to(self.processes.device)
            height, width = batch.images.shape[2:]
            targets = assign(
                batch, network_anchors(recipe.network, (width, height)), recipe.targets
            )
            images = batch.images.to(memory_format=torch.channels_last)
            result = self.module(images, targets, self.half)
            if not torch.isfinite(result.total):
                raise TrainingError(self._not_finite(result.parts))
            self.scaler.scale(result.total / recipe.accumulate).backward()
            means.add({"total": float(result.total.detach()), **result.parts})
        if recipe.optimiser.max_gradient:
            self.scaler.unscale_(self.optimiser)
            nn.utils.clip_grad_norm_(self.trainee.parameters(), recipe.optimiser.max_gradient)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        if self.average is not None:
            self.average.update_parameters(self.trainee.network)
        return recipe.optimiser.learning_rate * share

    def validate(self, validate: Validate) -> Progress:
        """Score the network, and keep it if it is the best so far."""
        scores = dict(validate(self.network.eval()))
        first = next(iter(scores.values()))
        if self.best is None or first > self.best:
            self.best = first
            self._write(self.output / BEST)
        progress = Progress(self.epoch, 0, 0, 0.0, {}, 0.0, scores)
        self.scores.add({"epoch": self.epoch, "step": 0, **scores})
        return progress

    def save(self) -> None:
        """Write the state, and the weights at the end of an epoch."""
        if not self.processes.first:
            return
        if self.step == 0:
            self._write(self.output / LAST)
            if self.best is None:
                self._write(self.output / BEST)
        write_state(self.output / STATE, self._state(), self.recipe)

    def _write(self, path: Path) -> None:
        checkpoint.save(
            path,
            self.network,
            size=self.size,
            anchors=self.recipe.network.anchors,
            identities=self.data_set.identities,
            epoch=self.epoch,
        )

    def _state(self) -> dict[str, Any]:
        return {
            "epoch": self.epoch,
            "step": self.step,
            "best": self.best,
            "trainee": self.trainee.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
        }

    def _load(self) -> None:
        state = read_state(self.output / STATE, self.recipe)
        self.epoch, self.step, self.best = state["epoch"], state["step"], state["best"]
        self.trainee.load_state_dict(state["trainee"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])

    def _distributed(self) -> nn.Module:
        if self.processes.world == 1:
            return self.trainee
        on_gpu = self.processes.device.type == "cuda"
        if on_gpu:
            convert: Callable[[Trainee], Trainee] = nn.SyncBatchNorm.convert_sync_batchnorm
            self.trainee = convert(self.trainee)
        return nn.parallel.DistributedDataParallel(
            self.trainee,
            device_ids=[self.processes.device] if on_gpu else None,
            find_unused_parameters=True,  # a batch may have no identity at all
        )

    def _not_finite(self, parts: Mapping[str, float]) -> str:
        wrong = ", ".join(f"{name} {value}" for name, value in parts.items() if not value < 1e30)
        return (
            f"the loss is no longer a finite number in epoch {self.epoch + 1}, step {self.step + 1}"
            f" ({wrong or 'the sum of its parts'}); a lower learning rate, a longer burn-in or "
            "gradients cut to a norm (optimiser.max_gradient) help; the state before is kept"
        )


def _average(network: JdeNetwork, decay: float) -> AveragedModel:
    """Exponential moving average of weights and statistics, short at first."""

    def move(averaged: Any, current: Any, count: Any) -> Any:
        weight = min(decay, (1 + int(count)) / (10 + int(count)))
        for old, new in zip(averaged, current, strict=True):
            old.copy_(torch.lerp(new, old, weight) if old.is_floating_point() else new)

    return AveragedModel(network, multi_avg_fn=move, use_buffers=True)


def _channels_last(module: nn.Module) -> None:
    """Lay out the weights of convolutions as CPUs and tensor cores like them best, in place."""
    for parameter in module.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


class _Means:
    """Running means of named numbers."""

    def __init__(self) -> None:
        self.count = 0
        self.sums: dict[str, list[float]] = {}

    def add(self, values: Mapping[str, float]) -> None:
        self.count += 1
        for name, value in values.items():
            self.sums.setdefault(name, []).append(value)

    def take(self) -> dict[str, float]:
        means = {name: sum(values) / len(values) for name, values in self.sums.items()}
        self.count, self.sums = 0, {}
        return means


def _row(progress: Progress) -> dict[str, float]:
    return {
        "epoch": progress.epoch,
        "step": progress.step,
        "rate": progress.rate,
        "speed": progress.speed,
        **progress.losses,
    }
