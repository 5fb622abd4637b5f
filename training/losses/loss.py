"""All losses of a batch, and the one number that training minimises (paper equations 5 and 6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jdetrt.config import STRIDES
from jdetrt.training.distributed import mean, total
from jdetrt.training.losses import detection as detection_loss
from jdetrt.training.losses.balance import BALANCES, TASKS
from jdetrt.training.losses.distance import distance_detection
from jdetrt.training.losses.identity import IDENTITY_LOSSES
from jdetrt.training.losses.targets import FOREGROUND, IGNORED, Targets
from jdetrt.training.network.pyramid import BOX_AND_LOGITS, HeadMaps
from jdetrt.training.recipe import LossConfig

__all__ = ["PARTS", "JdeLoss", "LossResult", "Whole"]

PARTS = tuple(f"{task}/{stride}" for stride in STRIDES for task in TASKS)


@dataclass(frozen=True, slots=True)
class LossResult:
    """Loss of a batch, the same in all processes."""

    total: Tensor  # a scalar with gradient
    parts: dict[str, float]  # before weighting, by the names in PARTS; those with data alone


@dataclass(frozen=True, slots=True)
class Whole:
    """A batch that is computed in parts, one after the other and by several processes."""

    # [heads, tasks] int64, over all parts: anchors not ignored, foreground anchors, embeddings.
    counts: Tensor
    parts: int


class JdeLoss(nn.Module):
    """Losses of three heads and three tasks, weighted into one.

    Its parameters (the identity classifier's, the balance's) are trained together with the
    network's; 0 identities train detection only. Always computed in float32.

    With ``boxes`` ``"distances"`` (`jdetrt.training.network.pyramid.Body.boxes`) the losses of
    confidence and box are those of `jdetrt.training.losses.distance`, whatever ``config`` says.
    """

    def __init__(
        self, config: LossConfig, embedding_dim: int, identities: int, boxes: str = "anchors"
    ) -> None:
        super().__init__()
        self.config, self.boxes = config, boxes
        self.identity = IDENTITY_LOSSES[config.identity](config, embedding_dim, identities)
        self.balance = BALANCES[config.balance](config)

    def forward(
        self,
        maps: Sequence[HeadMaps],
        targets: Sequence[Targets],
        shared: Sequence[Tensor] = (),
        whole: Whole | None = None,
    ) -> LossResult:
        """Loss of a batch, or of a part of one.

        Each loss is a mean over the whole batch. That of a part is the part's sum divided by the
        average count of all parts, so that the mean over the parts is the loss of the whole, and
        the mean of their gradients its gradient. (The balances ``loss-norm`` and ``mgda-ub`` treat
        parts computed one after the other as batches of their own.)

        Args:
            maps: raw outputs of the heads /32, /16, /8.
            targets: for the same heads, from `jdetrt.training.losses.targets.assign`.
            shared: inputs of the heads (`mgda.head_inputs`), for the balance ``mgda-ub`` only.
            whole: the batch, from `whole`; default: this part of every process.
        """
        whole = whole or self.whole([targets])
        embeddings = [
            head.embedding.float().movedim(1, -1)[target.ids >= 0]
            for head, target in zip(maps, targets, strict=True)
        ]
        ids = _known(targets)
        pool, pool_ids = torch.cat(embeddings), torch.cat(ids)
        rows = []
        for head, target, f, y in zip(maps, targets, embeddings, ids, strict=True):
            confidence, box = self._detection(head, target)
            rows.append(torch.stack([confidence, box, self.identity(f, y, pool, pool_ids)]))
        own, average = self._divisors(self._counts(targets)), self._divisors(whole.counts)
        losses = mean(torch.stack(rows) * (own * whole.parts / average))
        present = whole.counts > 0
        return LossResult(self.balance(losses, present, shared), _named(losses, present))

    def whole(self, parts: Sequence[Sequence[Targets]]) -> Whole:
        """Count the targets of all parts of a batch, those of the other processes too."""
        counts = torch.stack([self._counts(targets) for targets in parts])
        numbers = total(torch.cat([counts.sum(0).flatten(), counts.new_tensor([len(parts)])]))
        return Whole(numbers[:-1].view(counts.shape[1:]), int(numbers[-1]))

    def _counts(self, targets: Sequence[Targets]) -> Tensor:
        ids = _known(targets)
        pool_ids = torch.cat(ids)
        rows = [
            torch.stack(
                [
                    (target.labels != IGNORED).sum(),
                    (target.labels == FOREGROUND).sum(),
                    self.identity.counted(y, pool_ids).sum(),
                ]
            )
            for target, y in zip(targets, ids, strict=True)
        ]
        return torch.stack(rows)

    def _divisors(self, counts: Tensor) -> Tensor:
        """Divisors of the sums that the losses are made of."""
        if self.config.confidence == "focal" or self.boxes == "distances":  # foreground anchors
            counts = counts[:, [1, 1, 2]]
        return counts.clamp(min=1)

    def _detection(self, head: HeadMaps, target: Targets) -> tuple[Tensor, Tensor]:
        if self.boxes == "distances":
            return distance_detection(head.detection.float(), target)
        images, anchors, rows, columns = target.labels.shape
        # Axis 2 is dx, dy, dw, dh, background, foreground.
        detection = head.detection.float().view(images, anchors, BOX_AND_LOGITS, rows, columns)
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


def _known(targets: Sequence[Targets]) -> list[Tensor]:
    """Ids of the cells with an identified person, in the order of the embeddings."""
    return [target.ids[target.ids >= 0] for target in targets]


def _named(losses: Tensor, present: Tensor) -> dict[str, float]:
    values = zip(PARTS, losses.flatten().tolist(), present.flatten().tolist(), strict=True)
    return {name: loss for name, loss, there in values if there}
