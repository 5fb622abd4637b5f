"""Losses of one head's detection map: confidence and box.

All take the network's outputs of every anchor, or of every foreground anchor, and give one number;
with nothing to learn from it is 0 and has a gradient of 0.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from jdetrt.training.losses.targets import FOREGROUND, IGNORED

__all__ = ["cross_entropy", "focal", "giou", "smooth_l1"]

_LARGEST_LOG = 8.0  # no person is 3000 anchors wide, and areas stay finite in float32


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean 2-way cross-entropy of the anchors that are not ignored (paper section 3.3).

    Args:
        logits: ``[N, 2, ...]``, background and foreground.
        labels: ``[N, ...]`` int64, 1 foreground, 0 background, -1 ignored.
    """
    total = F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
    return total / (labels != IGNORED).sum().clamp(min=1)


def focal(logits: Tensor, labels: Tensor, gamma: float, alpha: float) -> Tensor:
    """Focal loss (Lin et al. 2017, equation 5): easy anchors count for little.

    Args:
        logits: ``[N, 2, ...]``, background and foreground.
        labels: ``[N, ...]`` int64, 1 foreground, 0 background, -1 ignored.
        gamma: exponent of the probability of the wrong answer, which weighs an anchor.
        alpha: weight of the foreground; the background has 1 - alpha.

    Returns:
        The sum over the anchors that are not ignored, divided by the number of foreground ones.
    """
    entropy = F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="none")
    foreground = labels == FOREGROUND
    wrong = -torch.expm1(-entropy)  # 1 less the probability of the right answer
    weight = torch.where(foreground, alpha, 1 - alpha) * wrong**gamma
    return (weight * entropy).sum() / foreground.sum().clamp(min=1)


def smooth_l1(deltas: Tensor, targets: Tensor) -> Tensor:
    """Mean smooth-L1 distance (beta 1) of the encoded boxes ``[P, 4]`` (paper section 3.3)."""
    total = F.smooth_l1_loss(deltas, targets, reduction="sum")
    return total / max(targets.numel(), 1)


def giou(deltas: Tensor, targets: Tensor) -> Tensor:
    """Mean of 1 - GIoU (Rezatofighi et al. 2019, algorithm 1) of the encoded boxes ``[P, 4]``.

    An encoded box is the box in units of its anchor, relative to the anchor's centre, and GIoU is
    the same in all units; so the anchors are not needed.
    """
    low, high = _corners(deltas)
    target_low, target_high = _corners(targets)
    area, target_area = (high - low).prod(1), (target_high - target_low).prod(1)
    inner = torch.minimum(high, target_high) - torch.maximum(low, target_low)
    outer = torch.maximum(high, target_high) - torch.minimum(low, target_low)
    overlap, hull = inner.clamp(min=0).prod(1), outer.prod(1)
    union = area + target_area - overlap
    gain = overlap / union - (hull - union) / hull
    return (1 - gain).sum() / max(len(targets), 1)


def _corners(deltas: Tensor) -> tuple[Tensor, Tensor]:
    half = deltas[:, 2:].clamp(max=_LARGEST_LOG).exp() / 2
    return deltas[:, :2] - half, deltas[:, :2] + half
