"""Losses of the embeddings: one person alike, other people apart (paper section 3.4).

Each is a module ``loss(embeddings, ids, pool, pool_ids)``: the embeddings ``[k, D]`` and ids
``[k]`` of one head, and those of all heads together, ``[m, D]`` and ``[m]``, which contain the
former. None of the ids is -1. It returns the mean over the embeddings that can be learnt from
(``loss.counted(ids, pool_ids)``); without any it is 0, with a gradient of 0.

The pool holds the images that one process computes at once: with several processes, or a batch
computed in parts (`Recipe.accumulate`), positives and negatives come from the same part only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from jdetrt.training.recipe import LossConfig

__all__ = [
    "IDENTITY_LOSSES",
    "ClassifierLoss",
    "IdentityLoss",
    "TripletLoss",
    "UpperBoundLoss",
    "classifier_scale",
]


def classifier_scale(identities: int) -> float:
    """Length of the classifier's input embeddings: ``sqrt(2) ln(identities - 1)``.

    As in the reference (models.py:135), but 1 with two identities, where the formula gives 0.

    >>> round(classifier_scale(14455), 6)
    13.546365
    """
    return math.sqrt(2) * math.log(identities - 1) if identities > 2 else 1.0


class IdentityLoss(nn.Module):
    """Base of the losses."""

    def counted(self, ids: Tensor, pool_ids: Tensor) -> Tensor:
        """Mask ``[k]`` of a head's embeddings to learn from: those with a positive."""
        return (ids[:, None] == pool_ids).sum(1) > 1  # each is in the pool itself


class ClassifierLoss(IdentityLoss):
    """Cross-entropy of a classifier over all identities (equation 4), shared by the heads.

    As in the reference (models.py:182, 234) the classifier has a bias, and takes unit embeddings
    times `classifier_scale`.
    """

    def __init__(self, embedding_dim: int, identities: int) -> None:
        super().__init__()
        self.scale = classifier_scale(identities)
        self.classifier = nn.Linear(embedding_dim, max(identities, 1))

    def counted(self, ids: Tensor, pool_ids: Tensor) -> Tensor:
        """All of them, ``[k]``."""
        return torch.ones_like(ids, dtype=torch.bool)

    def forward(self, embeddings: Tensor, ids: Tensor, pool: Tensor, pool_ids: Tensor) -> Tensor:
        """Mean cross-entropy of the head's embeddings; the pool has no part in it."""
        logits = self.classifier(self.scale * F.normalize(embeddings, dim=1))
        losses = F.cross_entropy(logits, ids, reduction="none")
        return _mean(losses, self.counted(ids, pool_ids))


class TripletLoss(IdentityLoss):
    """Equation 1: every negative against the hardest positive, for every embedding that has one.

    The negatives are added up, as in the equation; the mean is over the embeddings (the paper
    leaves it open). f is the unit embedding. The cosine of a negative must be below that of the
    hardest positive by ``margin``; without one, equal embeddings would be a minimum.
    """

    def __init__(self, margin: float) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, embeddings: Tensor, ids: Tensor, pool: Tensor, pool_ids: Tensor) -> Tensor:
        """Mean over the head's embeddings that have a positive in the pool."""
        excess = _excess(embeddings, ids, pool, pool_ids)
        losses = (excess + self.margin).clamp(min=0).sum(1)
        return _mean(losses, self.counted(ids, pool_ids))


class UpperBoundLoss(IdentityLoss):
    """Equations 2 and 3: a smooth bound from above on the hardest of the triplets.

    It is above ``max(0, f.f_i - f.f+)`` of every negative i, so above the largest of them; their
    sum, equation 1, can be larger. The mean over the embeddings that have a positive. The cosine
    is multiplied by ``scale`` (f by its root): with 1 the bound could hardly fall.
    """

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, embeddings: Tensor, ids: Tensor, pool: Tensor, pool_ids: Tensor) -> Tensor:
        """Mean over the head's embeddings that have a positive in the pool."""
        excess = _excess(embeddings, ids, pool, pool_ids)
        against = F.pad(self.scale * excess, (1, 0))  # the 1 in log(1 + ...) is exp(0)
        return _mean(torch.logsumexp(against, dim=1), self.counted(ids, pool_ids))


def _excess(embeddings: Tensor, ids: Tensor, pool: Tensor, pool_ids: Tensor) -> Tensor:
    """Cosines ``[k, m]`` less that of the hardest positive; -inf except for negatives."""
    cosines = F.normalize(embeddings, dim=1) @ F.normalize(pool, dim=1).T
    same = ids[:, None] == pool_ids
    # An embedding is its own easiest positive, so never the hardest where there is another.
    positives = F.pad(cosines.masked_fill(~same, math.inf), (0, 1), value=math.inf)
    positive = positives.amin(dim=1, keepdim=True)
    return (cosines - positive).masked_fill(same, -math.inf)


def _mean(losses: Tensor, counted: Tensor) -> Tensor:
    return losses[counted].sum() / counted.sum().clamp(min=1)


IDENTITY_LOSSES: Mapping[str, Callable[[LossConfig, int, int], IdentityLoss]] = {
    "cross-entropy": lambda _, embedding_dim, identities: ClassifierLoss(embedding_dim, identities),
    "triplet": lambda config, *_: TripletLoss(config.margin),
    "upper-bound": lambda config, *_: UpperBoundLoss(config.similarity_scale),
}
