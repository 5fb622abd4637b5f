"""All losses of a batch, and the one number that training minimises (paper equations 5 and 6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jdetrt.config import STRIDES
from jdetrt.training import detection_loss
from jdetrt.training.balance import BALANCES, TASKS
from jdetrt.training.identity_loss import IDENTITY_LOSSES
from jdetrt.training.pyramid import BOX_AND_LOGITS, HeadMaps
from jdetrt.training.recipe import LossConfig
from jdetrt.training.targets import FOREGROUND, IGNORED, Targets

__all__ = ["JdeLoss", "LossResult"]


@dataclass(frozen=True, slots=True)
class LossResult:
    """The loss of a batch.

    Attributes:
        total: a scalar with gradient.
        parts: the loss of each task and head before weighting, by ``task/stride``, for example
            ``identity/16``; only those that had anything to learn from.
    """

    total: Tensor
    parts: dict[str, float]


class JdeLoss(nn.Module):
    """Losses of three heads and three tasks, weighted into one.

    Its parameters (the identity classifier's, the balance's) are trained together with the
    network's. Computed in float32 whatever the network computes in.

    Args:
        config: which losses and which balance.
        embedding_dim: channels of the embedding maps.
        identities: number of people known by name in the training set; 0 trains detection only.
    """

    def __init__(self, config: LossConfig, embedding_dim: int, identities: int) -> None:
        super().__init__()
        self.config = config
        self.identity = IDENTITY_LOSSES[config.identity](config, embedding_dim, identities)
        self.balance = BALANCES[config.balance](config)

    def forward(
        self,
        maps: Sequence[HeadMaps],
        targets: Sequence[Targets],
        shared: Sequence[Tensor] = (),
    ) -> LossResult:
        """The loss of what a network gave for a batch.

        Args:
            maps: raw outputs of the heads /32, /16, /8.
            targets: for the same heads, from `jdetrt.training.targets.assign`.
            shared: the inputs of the heads, as `jdetrt.training.mgda.head_inputs` collects them;
                for the balance ``mgda-ub`` only.
        """
        embeddings = [
            head.embedding.float().movedim(1, -1)[target.ids >= 0]
            for head, target in zip(maps, targets, strict=True)
        ]
        ids = [target.ids[target.ids >= 0] for target in targets]
        pool, pool_ids = torch.cat(embeddings), torch.cat(ids)
        rows, counts = [], []
        for head, target, f, y in zip(maps, targets, embeddings, ids, strict=True):
            confidence, box = self._detection(head, target)
            identity, people = self.identity(f, y, pool, pool_ids)
            rows.append(torch.stack([confidence, box, identity]))
            foreground = (target.labels == FOREGROUND).sum()
            counts.append(torch.stack([(target.labels != IGNORED).sum(), foreground, people]))
        losses, present = torch.stack(rows), torch.stack(counts) > 0
        return LossResult(self.balance(losses, present, shared), _named(losses, present))

    def _detection(self, head: HeadMaps, target: Targets) -> tuple[Tensor, Tensor]:
        pictures, anchors, rows, columns = target.labels.shape
        # Axis 2 is dx, dy, dw, dh, background, foreground.
        detection = head.detection.float().view(pictures, anchors, BOX_AND_LOGITS, rows, columns)
        logits = detection[:, :, 4:].movedim(2, 1)
        deltas = detection[:, :, :4].movedim(2, -1)[target.labels == FOREGROUND]
        config = self.config
        if config.confidence == "focal":
            confidence = detection_loss.focal(
                logits, target.labels, config.focal_gamma, config.focal_alpha
            )
        else:
            confidence = detection_loss.cross_entropy(logits, target.labels)
        box = detection_loss.giou if config.box == "giou" else detection_loss.smooth_l1
        return confidence, box(deltas, target.deltas)


def _named(losses: Tensor, present: Tensor) -> dict[str, float]:
    return {
        f"{task}/{stride}": loss
        for stride, row, seen in zip(STRIDES, losses.tolist(), present.tolist(), strict=True)
        for task, loss, there in zip(TASKS, row, seen, strict=True)
        if there
    }
