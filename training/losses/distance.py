"""Detection losses of heads that predict the distances of a box's edges as distributions.

Quality focal loss and distribution focal loss: Li et al. 2020, "Generalized Focal Loss",
arXiv 2006.04388, equations 5 and 6; generalised IoU: Rezatofighi et al. 2019, arXiv 1902.09630.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from jdetrt.training.losses.targets import FOREGROUND, IGNORED, Targets
from jdetrt.training.network.nanodet import DISTANCES

__all__ = ["distance_detection", "distribution", "overlaps", "quality"]

_BETA = 2.0  # of the quality focal loss; arXiv 2006.04388, section 4
_DISTRIBUTION = 0.25  # weight of the distribution's loss beside the IoU's; the same section


def distance_detection(detection: Tensor, target: Targets) -> tuple[Tensor, Tensor]:
    """Losses of scores and of boxes of one head, each as a mean over its foreground cells.

    Args:
        detection: ``[N, 1 + 4 * DISTANCES, rows, columns]`` float32, as `DistanceLevel` gives it.
        target: from `jdetrt.training.losses.distance_targets.assign_distances`.

    Returns:
        Two scalars; the second one is 0, with a gradient of 0, where there is no foreground.
    """
    labels = target.labels[:, 0]
    where = labels == FOREGROUND
    count = where.sum().clamp(min=1)
    edges = detection[:, 1:].movedim(1, -1)[where].view(-1, 4, DISTANCES)
    steps = torch.arange(DISTANCES, dtype=edges.dtype, device=edges.device)
    distances = (torch.softmax(edges, dim=-1) * steps).sum(-1)
    iou, giou = overlaps(distances, target.deltas)
    wanted = torch.zeros_like(detection[:, 0])
    wanted[where] = iou.detach()
    scores = quality(detection[:, 0], wanted)[labels != IGNORED].sum() / count
    boxes = (1 - giou).sum() + _DISTRIBUTION * distribution(edges, target.deltas).sum()
    return scores, boxes / count


def quality(logits: Tensor, wanted: Tensor) -> Tensor:
    """Quality focal loss of each element (equation 5).

    Args:
        logits: of any shape.
        wanted: of the same shape, 0 to 1: how well the box fits, 0 for the background.
    """
    missing = (wanted - torch.sigmoid(logits)).abs() ** _BETA
    return missing * F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")


def distribution(edges: Tensor, wanted: Tensor) -> Tensor:
    """Distribution focal loss (equation 6), the mean over the four edges: ``[P]``.

    Args:
        edges: ``[P, 4, DISTANCES]`` logits.
        wanted: ``[P, 4]`` distances, 0 to below ``DISTANCES - 1``.
    """
    below = wanted.floor().long()
    share = wanted - below
    logs = F.log_softmax(edges, dim=-1)
    low = logs.gather(2, below[..., None])[..., 0]
    high = logs.gather(2, below[..., None] + 1)[..., 0]
    return -((1 - share) * low + share * high).mean(-1)


def overlaps(found: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU of boxes around one point.

    Args:
        found: ``[P, 4]`` distances from the point to left, top, right, bottom, 0 or more.
        wanted: likewise; a box far to one side of the point has distances cut off at 0.

    Returns:
        ``[P]`` each.
    """
    tiny = torch.finfo(found.dtype).eps

    def area(distances: Tensor) -> Tensor:
        return (distances[:, 0] + distances[:, 2]) * (distances[:, 1] + distances[:, 3])

    both = area(torch.minimum(found, wanted))
    union = (area(found) + area(wanted) - both).clamp(min=tiny)
    around = area(torch.maximum(found, wanted)).clamp(min=tiny)
    iou = both / union
    return iou, iou - (around - union) / around
