"""Balance of the losses of all heads and tasks (paper section 3.5 and table 3).

Each balance is a module ``balance(losses, present, shared)``: ``losses`` ``[heads, tasks]``;
``present`` of the same shape, True where a loss had anything to learn from in this batch (others
are 0 and are left out); ``shared``, the inputs of the heads, for MGDA-UB alone. Its memory is in
its state dict. The losses are those of all processes, so that it is the same in each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from jdetrt.config import LOSS_WEIGHT_INIT, STRIDES
from jdetrt.training.losses.mgda import MgdaUbBalance
from jdetrt.training.recipe import LossConfig

__all__ = ["BALANCES", "TASKS", "FixedBalance", "LossNormBalance", "UncertaintyBalance"]

TASKS = ("confidence", "box", "identity")


class UncertaintyBalance(nn.Module):
    """Equation 6: weights by a learnt log variance s of each head and task (Kendall et al. 2018).

    The total is the sum of ``0.5 * (exp(-s) * loss + s)``; for a steady loss L the best s is log L.
    The s of a loss that is not present stays. (The reference adds s then too; in heads that seldom
    see anybody, s would fall for ever and the weight grow.)
    """

    def __init__(self) -> None:
        super().__init__()
        start = [LOSS_WEIGHT_INIT[name] for name in ("s_c", "s_r", "s_id")]
        self.log_variances = nn.Parameter(torch.tensor([start] * len(STRIDES)))

    def forward(self, losses: Tensor, present: Tensor, shared: Sequence[Tensor]) -> Tensor:
        """Half the sum of the weighted losses and the log variances."""
        terms = 0.5 * (torch.exp(-self.log_variances) * losses + self.log_variances)
        return (terms * present).sum()


class FixedBalance(nn.Module):
    """Fixed weights of confidence, box and identity in every head ("App.Opt", "Uniform")."""

    weights: Tensor

    def __init__(self, weights: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("weights", torch.tensor(weights), persistent=False)

    def forward(self, losses: Tensor, present: Tensor, shared: Sequence[Tensor]) -> Tensor:
        """Weighted sum of the losses."""
        return (self.weights * losses * present).sum()


class LossNormBalance(nn.Module):
    """Each loss divided by the moving average of its size ("Loss.Norm" in table 3).

    The average starts at the first value, moves in training mode only, and keeps ``momentum`` of
    its old value in each step.
    """

    average: Tensor

    def __init__(self, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("average", torch.zeros(len(STRIDES), len(TASKS)))

    def forward(self, losses: Tensor, present: Tensor, shared: Sequence[Tensor]) -> Tensor:
        """Sum of the losses, each over its average, this value included."""
        if self.training:
            moved = torch.lerp(losses.detach(), self.average, self.momentum)
            moved = torch.where(self.average == 0, losses.detach(), moved)
            self.average = torch.where(present, moved, self.average)
        known = present & (self.average > 0)
        return (losses * known / torch.where(known, self.average, 1)).sum()


BALANCES: Mapping[str, Callable[[LossConfig], nn.Module]] = {
    "uncertainty": lambda _: UncertaintyBalance(),
    "uniform": lambda _: FixedBalance([1.0] * len(TASKS)),
    "fixed": lambda config: FixedBalance(config.fixed_weights),
    "loss-norm": lambda config: LossNormBalance(config.norm_momentum),
    "mgda-ub": lambda _: MgdaUbBalance(len(STRIDES), len(TASKS)),
}
