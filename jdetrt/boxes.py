"""Overlap of boxes, every one with every other; NumPy alone.

Loops over single pairs have the same arithmetic inline: suppression (`jdetrt.runtime.decode`) and
association (`jdetrt.runtime.tracking.costs`) by numba, and losses by torch, each in the form of box
that its network predicts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["box_iou", "covered"]

_F64 = npt.NDArray[np.float64]
_Boxes = npt.NDArray[np.floating[Any]]


def box_iou(boxes: _Boxes, others: _Boxes) -> _F64:
    """Compute the intersection over union of every box with every other, widths without +1.

    Args:
        boxes: ``(n, 4)`` left, top, right, bottom.
        others: ``(m, 4)`` likewise.

    Returns:
        ``(n, m)`` float64; 0 where neither has an area.

    >>> box_iou(np.array([[0.0, 0, 2, 2]]), np.array([[1.0, 0, 3, 2], [5, 5, 6, 6]])).round(3)
    array([[0.333, 0.   ]])
    """
    area, other_area, shared = _areas(boxes, others)
    union = area[:, None] + other_area - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def _areas(boxes: _Boxes, others: _Boxes) -> tuple[_F64, _F64, _F64]:
    """Compute areas of boxes ``(n,)``, others ``(m,)`` and their intersections ``(n, m)``."""
    a, b = boxes.astype(np.float64), others.astype(np.float64)
    low = np.maximum(a[:, None, :2], b[:, :2])
    high = np.minimum(a[:, None, 2:], b[:, 2:])
    shared = (high - low).clip(min=0.0).prod(axis=2)
    areas = [(one[:, 2:] - one[:, :2]).clip(min=0.0).prod(axis=1) for one in (a, b)]
    return areas[0], areas[1], shared


def covered(boxes: _Boxes, regions: _Boxes, share: float) -> npt.NDArray[np.bool_]:
    """Tell which of ``boxes`` have this share of their own area in one of ``regions``."""
    area, _, shared = _areas(boxes, regions)
    return np.asarray((shared >= share * area[:, None]).any(axis=1))
