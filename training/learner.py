"""What a step of training moves: the network and its loss, the optimiser, the averaged weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from jdetrt.training.data.sample import Batch
from jdetrt.training.distributed import Processes
from jdetrt.training.losses.distance_targets import assign_distances
from jdetrt.training.losses.targets import Targets, assign
from jdetrt.training.network.anchors import network_anchors
from jdetrt.training.network.model import JdeNetwork
from jdetrt.training.recipe import Recipe
from jdetrt.training.trainee import Trainee, optimiser

__all__ = ["Learner"]


class Learner:
    """A network in training.

    Args:
        network: it is trained in place, on the process's device.
        recipe: losses, optimiser, what is frozen, precision.
        identities: of the training set.
        processes: this process among the others. Only the first one averages weights.
    """

    def __init__(
        self, network: JdeNetwork, recipe: Recipe, identities: int, processes: Processes
    ) -> None:
        self.recipe, self.device = recipe, processes.device
        self.trainee = Trainee(network, recipe, identities).to(self.device)
        _channels_last(self.trainee)
        self.optimiser = optimiser(self.trainee, recipe.optimiser)
        decay = recipe.optimiser.ema
        self.average = _average(network, decay) if decay and processes.first else None
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.half == torch.float16)
        self.module: nn.Module = self.trainee
        if processes.world > 1:
            on_gpu = self.device.type == "cuda"
            if on_gpu:
                self.trainee.synchronise_norms()
            self.module = nn.parallel.DistributedDataParallel(
                self.trainee, device_ids=[self.device] if on_gpu else None
            )

    @property
    def half(self) -> torch.dtype | None:
        """The type of mixed precision, None for none."""
        if not self.recipe.mixed_precision:
            return None
        if self.device.type == "cuda":
            return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        return torch.bfloat16 if torch.cpu.get_capabilities().get("avx512_bf16") else None

    @property
    def network(self) -> JdeNetwork:
        """The weights to keep: averaged where the recipe says so."""
        kept = self.trainee.network if self.average is None else self.average.module
        assert isinstance(kept, JdeNetwork)
        return kept

    def step(self, parts: Sequence[Batch], share: float) -> dict[str, float]:
        """Learn from a batch.

        Args:
            parts: of the batch, computed one after the other; this process's share of each.
            share: of the base learning rates.

        Returns:
            The losses of the whole batch, over all processes: ``total`` and those of
            `jdetrt.training.losses.loss.PARTS` that had anything to learn from.

        Raises:
            FloatingPointError: the loss, or its gradient, is not finite; weights are as before.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = group["base"] * share
        self.optimiser.zero_grad(set_to_none=True)
        parts = [part.to(self.device) for part in parts]
        targets = [self._targets(part) for part in parts]
        whole = self.trainee.loss.whole(targets)
        losses: dict[str, float] = {}
        for part, wanted in zip(parts, targets, strict=True):
            images = part.images.to(memory_format=torch.channels_last)
            result = self.module(images, wanted, self.half, whole)
            found = {"total": float(result.total.detach()), **result.parts}
            if not math.isfinite(found["total"]):
                raise FloatingPointError(f"the loss ({_wrong(found)})")
            self.scaler.scale(result.total / len(parts)).backward()
            for name, value in found.items():
                losses[name] = losses.get(name, 0.0) + value / len(parts)
        self._descend()
        if self.average is not None:
            self.average.update_parameters(self.trainee.network)
        return losses

    def state(self) -> dict[str, Any]:
        """All that the next step depends on."""
        return {
            "trainee": self.trainee.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave, for the same recipe and number of identities."""
        self.trainee.load_state_dict(state["trainee"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])

    def _targets(self, part: Batch) -> tuple[Targets, Targets, Targets]:
        if self.trainee.network.body.boxes == "distances":
            return assign_distances(part)
        height, width = part.images.shape[2:]
        anchors = network_anchors(self.recipe.network, (width, height))
        return assign(part, anchors, self.recipe.targets)

    def _descend(self) -> None:
        self.scaler.unscale_(self.optimiser)
        limit = self.recipe.optimiser.max_gradient or math.inf
        norm = nn.utils.clip_grad_norm_(self.trainee.parameters(), limit)
        # A scaler leaves such a step out and goes on with a smaller scale.
        if not self.scaler.is_enabled() and not torch.isfinite(norm):
            raise FloatingPointError(f"the gradient (its norm is {float(norm)})")
        self.scaler.step(self.optimiser)
        self.scaler.update()


def _wrong(losses: Mapping[str, float]) -> str:
    return ", ".join(
        f"{name} {value}" for name, value in losses.items() if not math.isfinite(value)
    )


def _average(network: JdeNetwork, decay: float) -> AveragedModel:
    """Exponential moving average of weights and statistics, short at first."""

    def move(averaged: Sequence[Tensor], current: Sequence[Tensor], count: Any) -> None:
        weight = min(decay, (1 + int(count)) / (10 + int(count)))
        for old, new in zip(averaged, current, strict=True):
            old.copy_(torch.lerp(new, old, weight) if old.is_floating_point() else new)

    return AveragedModel(network, multi_avg_fn=move, use_buffers=True)


def _channels_last(module: nn.Module) -> None:
    """Lay out the weights of convolutions as CPUs and tensor cores like them best, in place."""
    for parameter in module.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.clone(memory_format=torch.channels_last)
