"""A network in training: its losses, optimiser, learning rate and averaged weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from jdetrt.errors import ConfigError
from jdetrt.training.data.sample import Batch
from jdetrt.training.distributed import Processes
from jdetrt.training.losses.distance_targets import assign_distances
from jdetrt.training.losses.loss import JdeLoss, LossResult, Whole
from jdetrt.training.losses.mgda import head_inputs
from jdetrt.training.losses.targets import Targets, assign
from jdetrt.training.network.anchors import network_anchors
from jdetrt.training.network.box_embedding import BoxEmbedding
from jdetrt.training.network.model import JdeNetwork
from jdetrt.training.network.nanodet import embed_cells
from jdetrt.training.network.pyramid import BOX_AND_LOGITS
from jdetrt.training.recipe import OptimiserConfig, Recipe, ScheduleConfig

__all__ = ["Learner", "NetworkWithLoss", "burn_in_steps", "optimiser", "rate", "set_prior"]

_BURN_IN_POWER = 4  # reference train.py
_DROP = 0.1  # paper section 4.2


class NetworkWithLoss(nn.Module):
    """A network and its loss as one module, so that one state dict and one wrapper hold both.

    Args:
        network: it is trained in place.
        recipe: the loss, and what is frozen.
        identities: of the training set.

    Raises:
        ConfigError: the balance needs what the network does not have.
    """

    def __init__(self, network: JdeNetwork, recipe: Recipe, identities: int) -> None:
        super().__init__()
        if network.embedding is not None and recipe.loss.balance == "mgda-ub":
            raise ConfigError(
                "loss.balance: mgda-ub weighs the tasks by their gradients at the inputs of the "
                f"heads, which the embeddings of the body '{network.body_name}' do not use; choose "
                "another balance"
            )
        self.network = network
        self.loss = JdeLoss(recipe.loss, network.embedding_dim, identities, network.body.boxes)
        self.frozen_norms = recipe.frozen_norms

        def is_frozen(name: str) -> bool:
            return any(fnmatchcase(name, pattern) for pattern in recipe.frozen)

        for name, parameter in self.named_parameters():
            if is_frozen(name):
                parameter.requires_grad_(False)
        norms = {n: m for n, m in self.named_modules() if isinstance(m, nn.BatchNorm2d)}
        self._fixed_norms = [norm for name, norm in norms.items() if is_frozen(f"{name}.weight")]
        if self.frozen_norms != "none":
            prefix = "network.body." if self.frozen_norms == "body" else ""
            chosen = [norm for name, norm in norms.items() if name.startswith(prefix)]
            for norm in chosen:
                norm.requires_grad_(False)
            if self.frozen_norms != "scales":
                self._fixed_norms += chosen

    def train(self, mode: bool = True) -> NetworkWithLoss:
        """Set the training mode; frozen batch norms keep their statistics."""
        super().train(mode)
        for norm in self._fixed_norms:
            norm.eval()
        return self

    def synchronise_norms(self) -> None:
        """Take the statistics of batch norms over all processes, where they change.

        For GPUs only: torch has no such batch norm for CPUs.
        """
        convert: Callable[[nn.Module], nn.Module] = nn.SyncBatchNorm.convert_sync_batchnorm
        if self.frozen_norms != "all":
            convert(self.network.levels if self.frozen_norms == "body" else self.network)

    def forward(
        self,
        images: Tensor,
        targets: Sequence[Targets],
        half: torch.dtype | None,
        whole: Whole | None = None,
    ) -> LossResult:
        """Loss of a batch, or of a part of one.

        Args:
            images: ``[N, 3, H, W]`` RGB from 0 to 1.
            targets: of the heads /32, /16, /8.
            half: the type of mixed precision; None for none. The loss is always float32.
            whole: the batch that this is a part of.
        """
        mixed = torch.autocast(images.device.type, half, enabled=half is not None)
        with head_inputs(self.network) as shared, mixed:
            maps = self.network(images)
            if isinstance(self.network.embedding, BoxEmbedding):
                maps = embed_cells(self.network.embedding.reader, maps)
        result: LossResult = self.loss(maps, targets, shared, whole)
        return result


class Learner:
    """Train a network step by step.

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
        self.model = NetworkWithLoss(network, recipe, identities).to(self.device)
        for parameter in self.model.parameters():
            if parameter.ndim == 4:  # fastest on CPUs and tensor cores
                parameter.data = parameter.data.clone(memory_format=torch.channels_last)
        self.optimiser = optimiser(self.model, recipe.optimiser)
        decay = recipe.optimiser.ema
        self.average = _average(network, decay) if decay and processes.first else None
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.half == torch.float16)
        self._parallel: nn.Module = self.model
        if processes.world > 1:
            on_gpu = self.device.type == "cuda"
            if on_gpu:
                self.model.synchronise_norms()
            self._parallel = nn.parallel.DistributedDataParallel(
                self.model, device_ids=[self.device] if on_gpu else None
            )

    @property
    def half(self) -> torch.dtype | None:
        """Type of mixed precision, None for none."""
        if not self.recipe.mixed_precision:
            return None
        if self.device.type == "cuda":
            return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        return torch.bfloat16 if torch.cpu.get_capabilities().get("avx512_bf16") else None

    @property
    def network(self) -> JdeNetwork:
        """Network to save: with averaged weights where the recipe asks for them."""
        network = self.model.network if self.average is None else self.average.module
        assert isinstance(network, JdeNetwork)
        return network

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
        whole = self.model.loss.whole(targets)
        losses: dict[str, float] = {}
        for part, target in zip(parts, targets, strict=True):
            images = part.images.to(memory_format=torch.channels_last)
            result = self._parallel(images, target, self.half, whole)
            values = {"total": float(result.total.detach()), **result.parts}
            if not math.isfinite(values["total"]):
                broken = ", ".join(f"{k} {v}" for k, v in values.items() if not math.isfinite(v))
                raise FloatingPointError(f"the loss ({broken})")
            self.scaler.scale(result.total / len(parts)).backward()
            for name, value in values.items():
                losses[name] = losses.get(name, 0.0) + value / len(parts)
        self._descend()
        if self.average is not None:
            self.average.update_parameters(self.model.network)
        return losses

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "trainee": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore a state for the same recipe and number of identities."""
        self.model.load_state_dict(state["trainee"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])

    def _targets(self, part: Batch) -> tuple[Targets, Targets, Targets]:
        if self.model.network.body.boxes == "distances":
            return assign_distances(part)
        height, width = part.images.shape[2:]
        anchors = network_anchors(self.recipe.network, (width, height))
        return assign(part, anchors, self.recipe.targets)

    def _descend(self) -> None:
        self.scaler.unscale_(self.optimiser)
        limit = self.recipe.optimiser.max_gradient or math.inf
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        # A scaler skips such a step and goes on with a smaller scale.
        if not self.scaler.is_enabled() and not torch.isfinite(norm):
            raise FloatingPointError(f"the gradient (its norm is {float(norm)})")
        self.scaler.step(self.optimiser)
        self.scaler.update()


def _average(network: JdeNetwork, decay: float) -> AveragedModel:
    """Exponential moving average of weights and statistics, short at first."""

    def move(averaged: Sequence[Tensor], current: Sequence[Tensor], count: Any) -> None:
        weight = min(decay, (1 + int(count)) / (10 + int(count)))
        for old, new in zip(averaged, current, strict=True):
            old.copy_(torch.lerp(new, old, weight) if old.is_floating_point() else new)

    return AveragedModel(network, multi_avg_fn=move, use_buffers=True)


def optimiser(model: NetworkWithLoss, config: OptimiserConfig) -> torch.optim.Optimizer:
    """Optimiser of all that is not frozen; each group has its ``base`` learning rate."""
    shares = {
        "network.body.": config.body_rate,
        "loss.identity.": config.classifier_rate,
        "": 1.0,
    }
    parameters: dict[str, list[nn.Parameter]] = {prefix: [] for prefix in shares}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            prefix = next(prefix for prefix in shares if name.startswith(prefix))
            parameters[prefix].append(parameter)
    groups = [
        {"params": parameters[prefix], "base": config.learning_rate * share}
        for prefix, share in shares.items()
        if parameters[prefix]
    ]
    if config.name == "adamw":
        return torch.optim.AdamW(
            groups, config.learning_rate, (config.momentum, 0.999), weight_decay=config.weight_decay
        )
    return torch.optim.SGD(
        groups, config.learning_rate, config.momentum, weight_decay=config.weight_decay
    )


def burn_in_steps(config: ScheduleConfig, steps_per_epoch: int) -> int:
    """Steps of the burn-in: it ends with the first epoch, as in the reference, or at half-time."""
    epochs = max(min(config.burn_in_epochs, config.epochs // 2), 1)
    return min(config.burn_in, epochs * steps_per_epoch)


def rate(config: ScheduleConfig, step: int, steps_per_epoch: int) -> float:
    """Share of the base learning rate for a step.

    Args:
        config: the schedule.
        step: from 0, over all epochs.
        steps_per_epoch: 1 or more.

    In the burn-in (`burn_in_steps`) the share is ``(step / burn_in) ** 4``. A fall in steps takes
    whole epochs; a cosine goes from 1 to ``config.final``, step by step.

    >>> config = ScheduleConfig(epochs=30, burn_in=0)
    >>> [round(rate(config, 10 * epoch, 10), 6) for epoch in (0, 14, 15, 21, 22, 29)]
    [1.0, 1.0, 0.1, 0.1, 0.01, 0.01]
    """
    epoch = step // steps_per_epoch
    burn_in = burn_in_steps(config, steps_per_epoch)
    start = (step / burn_in) ** _BURN_IN_POWER if step < burn_in else 1.0
    if config.fall == "cosine":
        done = step / (config.epochs * steps_per_epoch)
        share = config.final + (1 - config.final) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    else:
        # Never before the first epoch ends: a run of one epoch has no fall.
        drops = sum(epoch >= max(int(part * config.epochs), 1) for part in config.steps)
        share = _DROP**drops
    return start * share


@torch.no_grad()
def set_prior(network: JdeNetwork, score: float) -> None:
    """Have every anchor start with this score (Lin et al. 2017, section 4.1), in place.

    Raises:
        ConfigError: the network predicts no anchors.
    """
    if network.body.boxes != "anchors":
        raise ConfigError(f"prior: the body '{network.body_name}' has no anchors; leave it out")
    half = math.log(score / (1 - score)) / 2
    for level in network.levels:
        layers = level.get_submodule("detection")
        bias = list(layers.children())[-1].get_parameter("bias")
        background, foreground = bias.view(-1, BOX_AND_LOGITS)[:, 4:].unbind(1)
        background.fill_(-half)
        foreground.fill_(half)
