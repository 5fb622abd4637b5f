"""The network together with its losses: what is trained, and what of it stays as it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from jdetrt.errors import ConfigError
from jdetrt.training.losses.loss import JdeLoss, LossResult, Whole
from jdetrt.training.losses.mgda import head_inputs
from jdetrt.training.losses.targets import Targets
from jdetrt.training.network.model import JdeNetwork
from jdetrt.training.network.pyramid import BOX_AND_LOGITS
from jdetrt.training.recipe import OptimiserConfig, Recipe

__all__ = ["Trainee", "optimiser", "set_prior"]


class Trainee(nn.Module):
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
                "loss.balance: mgda-ub weighs what the tasks do to the inputs of their heads, "
                f"which the embeddings of the body '{network.body_name}' do not use; take another"
            )
        self.network = network
        self.loss = JdeLoss(recipe.loss, network.embedding_dim, identities, network.body.boxes)
        self.frozen_norms = recipe.frozen_norms
        for name, parameter in self.named_parameters():
            if _matches(name, recipe.frozen):
                parameter.requires_grad_(False)
        fixed = [
            norm
            for name, norm in network.named_modules(prefix="network")
            if isinstance(norm, nn.BatchNorm2d) and _matches(f"{name}.weight", recipe.frozen)
        ]
        if recipe.frozen_norms != "none":
            chosen = _norms(network.body if recipe.frozen_norms == "body" else network)
            for norm in chosen:
                norm.requires_grad_(False)
            if recipe.frozen_norms != "scales":
                fixed += chosen
        self._fixed_norms = fixed

    def train(self, mode: bool = True) -> Trainee:
        """Set the training mode, but for batch norms that are frozen: their statistics stay."""
        super().train(mode)
        for norm in self._fixed_norms:
            norm.eval()
        return self

    def synchronise_norms(self) -> None:
        """Have the statistics of batch norms, where they move, taken over all processes.

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
        """The loss of a batch, or of a part of one.

        Args:
            images: ``[N, 3, H, W]`` RGB from 0 to 1.
            targets: of the heads /32, /16, /8.
            half: the type of mixed precision; None for none. The loss is always float32.
            whole: the batch that this is a part of.
        """
        mixed = torch.autocast(images.device.type, half, enabled=half is not None)
        with head_inputs(self.network) as shared, mixed:
            maps = self.network(images)
        result: LossResult = self.loss(maps, targets, shared, whole)
        return result


def optimiser(trainee: Trainee, config: OptimiserConfig) -> torch.optim.Optimizer:
    """The optimiser of all that is not frozen; each group has its ``base`` learning rate."""
    shares = {
        "network.body.": config.body_rate,
        "loss.identity.": config.classifier_rate,
        "": 1.0,
    }
    parameters: dict[str, list[nn.Parameter]] = {prefix: [] for prefix in shares}
    for name, parameter in trainee.named_parameters():
        if parameter.requires_grad:
            parameters[next(prefix for prefix in shares if name.startswith(prefix))].append(
                parameter
            )
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


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _norms(module: nn.Module) -> list[nn.BatchNorm2d]:
    return [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
