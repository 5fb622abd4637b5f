"""MGDA-UB: task weights that minimise the conflict of the tasks' gradients.

Sener and Koltun 2018 ("Multi-Task Learning as Multi-Objective Optimization"): of all weighted sums
of the tasks' gradients with respect to their shared features, the shortest (their equation 5);
where it is not zero, a step against it improves every task. The shared features are the inputs of
the heads: the feature map of each level of the pyramid.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from jdetrt.training.distributed import total
from jdetrt.training.network.model import JdeNetwork

__all__ = ["MgdaUbBalance", "head_inputs", "min_norm_weights"]

_STEPS = 4000
_TOLERANCE = 1e-4  # of the squared length of the sum; it is then as close to the shortest


@contextmanager
def head_inputs(network: JdeNetwork) -> Iterator[list[Tensor]]:
    """Collect the inputs of the heads /32, /16, /8 during one forward pass in the block."""
    features: list[Tensor] = []

    def keep(_module: nn.Module, _arguments: Any, output: tuple[Tensor, Any]) -> None:
        features.append(output[0])

    hooks = [level.register_forward_hook(keep) for level in network.levels]
    try:
        yield features
    finally:
        for hook in hooks:
            hook.remove()


class MgdaUbBalance(nn.Module):
    """Weights of each head and task, anew for each batch; their sum is 1.

    A loss counts through the input of its own head. One that is not present, or has no gradient
    (it would be the shortest sum by itself, and training would stop), gets the weight 0. In
    evaluation mode the weights are those of the last batch in training mode.
    """

    weights: Tensor

    def __init__(self, heads: int, tasks: int) -> None:
        super().__init__()
        self.register_buffer("weights", torch.full((heads, tasks), 1 / (heads * tasks)))

    def forward(self, losses: Tensor, present: Tensor, shared: Sequence[Tensor]) -> Tensor:
        """Weighted sum of the losses. Raises ValueError if ``shared`` is not one tensor a head."""
        if self.training:
            if len(shared) != len(losses):
                raise ValueError(
                    f"{len(shared)} inputs of {len(losses)} heads: the balance 'mgda-ub' needs "
                    "those that jdetrt.training.losses.mgda.head_inputs collects"
                )
            self.weights = _weights(losses, present, shared)
        return (self.weights * losses * present).sum()


def _weights(losses: Tensor, present: Tensor, shared: Sequence[Tensor]) -> Tensor:
    # Gradients with respect to the inputs of different heads are at right angles.
    gram = losses.new_zeros(*losses.shape, *losses.shape, dtype=torch.float64)
    for head, (row, feature) in enumerate(zip(losses, shared, strict=True)):
        gradients = torch.stack(
            [torch.autograd.grad(loss, feature, retain_graph=True)[0].flatten() for loss in row]
        ).double()
        gram[head, :, head] = gradients @ gradients.T
    # Nor do processes share an input: the products of the whole batch are the sums of theirs.
    products = total(gram).cpu().flatten(2).flatten(0, 1)
    counts = present.flatten().cpu() & (products.diagonal() > 0)
    weights = torch.zeros(losses.numel(), dtype=torch.float64)
    chosen = products[counts][:, counts]
    weights[counts] = torch.from_numpy(min_norm_weights(chosen.numpy()))
    return weights.view_as(losses).to(losses)


def min_norm_weights(gram: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Weights of the shortest weighted mean of some vectors.

    Frank-Wolfe as in Sener and Koltun 2018 (algorithm 2) with pairwise steps (Lacoste-Julien and
    Jaggi 2015, algorithm 3): weight moves from the worst vector that has any to the best, as long
    as the sum gets shorter.

    Args:
        gram: ``(k, k)``, inner products of the vectors.

    Returns:
        ``(k,)`` weights, not negative, sum 1.

    >>> min_norm_weights(np.array([[1.0, 0.0], [0.0, 3.0]])).round(6).tolist()
    [0.75, 0.25]
    """
    if not len(gram):
        return np.empty(0)
    weights = np.full(len(gram), 1 / len(gram))
    rounding = np.finfo(np.float64).eps * gram.max()
    for _ in range(_STEPS):
        slope = gram @ weights
        best = int(slope.argmin())
        worst = int(np.where(weights > 0, slope, -np.inf).argmax())
        gain = slope[worst] - slope[best]
        if gain <= max(_TOLERANCE * (weights @ slope), rounding):
            break
        curvature = gram[best, best] - 2 * gram[best, worst] + gram[worst, worst]
        step = min(gain / max(curvature, rounding), weights[worst])
        weights[best] += step
        weights[worst] -= step
    return weights
