"""Exact top-k in groups, and rows of the best candidates.

TensorRT's TopK takes time by the length of its axis, whatever k is. So a long axis is cut into
groups, each gives its best k, and the best of these are taken. Groups are stretches of the axis and
ties go to the lower index in both steps, so numbers and indices are those of one TopK over the
whole axis, to the bit. A short axis is left whole: ONNX Runtime on a CPU is faster so.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from jdetrt.config import TOP_K_LIMIT
from jdetrt.errors import ExportError

__all__ = ["TopK", "groups_of", "take_rows"]

_MOST_GROUPS = 8
_LONG = 1 << 14  # candidates; nano has 3780 at 576x320, Darknet-53 54 264 at 1088x608


def groups_of(length: int) -> int:
    """Number of equal groups that an axis is cut into: the largest divisor up to 8; 1 if short.

    >>> groups_of(54264), groups_of(3780)
    (8, 1)
    """
    if length <= _LONG:
        return 1
    return next(count for count in range(_MOST_GROUPS, 0, -1) if length % count == 0)


class TopK(nn.Module):
    """The largest k of each row and where they are, the lower index first among equal ones.

    Args:
        length: of a row.
        k: asked for; of a shorter row, all are given.
        groups: by default `groups_of` the length.

    Attributes:
        k: given.

    Raises:
        ExportError: ``k`` is less than 1, or more than TensorRT takes.
    """

    def __init__(self, length: int, k: int, groups: int | None = None) -> None:
        super().__init__()
        if not 1 <= k <= TOP_K_LIMIT:
            raise ExportError(f"top-k {k}: expected 1 to {TOP_K_LIMIT}, as TensorRT takes no more")
        self.k = min(k, length)
        self.groups = groups_of(length) if groups is None else groups
        self._size = length // self.groups
        firsts = torch.arange(self.groups) * self._size
        self.register_buffer("firsts", firsts[:, None], persistent=False)

    firsts: Tensor

    def forward(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Values ``[N, k]``, descending, and indices ``[N, k]`` int64 of scores ``[N, length]``."""
        if self.groups == 1:
            values, indices = torch.topk(scores, self.k, dim=1)
            return values, indices
        grouped = scores.reshape(-1, self.groups, self._size)
        values, inner = torch.topk(grouped, min(self.k, self._size), dim=2)
        values, best = torch.topk(values.flatten(1), self.k, dim=1)
        return values, torch.gather((inner + self.firsts).flatten(1), 1, best)


def take_rows(rows: Tensor, chosen: Tensor) -> Tensor:
    """Rows ``[N, k, D]`` of each image's ``[N, length, D]`` by index ``[N, k]``: one Gather.

    GatherElements would need an index for every number.
    """
    firsts = torch.arange(rows.shape[0], device=rows.device) * rows.shape[1]
    return rows.flatten(0, 1)[chosen + firsts[:, None]]
