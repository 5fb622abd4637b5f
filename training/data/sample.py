"""Labelled images, single and in batches."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["Batch", "Sample"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image.

    Attributes:
        image: ``(H, W, 3)`` uint8 BGR.
        boxes: ``(n, 4)`` float32, left, top, right, bottom in pixels of the image; a box may
            reach outside of it.
        ids: ``(n,)`` int64, from 0 over all data sets together; -1 for unknown people.
        ignore: ``(m, 4)`` float32, regions in which neither a detection nor a miss counts: other
            classes, crowds, hardly visible people. Same form as ``boxes``.
    """

    image: npt.NDArray[np.uint8]
    boxes: npt.NDArray[np.float32]
    ids: npt.NDArray[np.int64]
    ignore: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Batch:
    """Images of one size with the boxes of all of them.

    Attributes:
        images: ``[N, 3, H, W]`` float32 RGB from 0 to 1.
        boxes: ``[n, 4]`` float32, centre x, centre y, width, height in network pixels.
        ids: ``[n]`` int64, -1 for unknown people.
        image_index: ``[n]`` int64, the image that each box belongs to.
        ignore: ``[m, 4]`` float32, left, top, right, bottom in network pixels.
        ignore_image_index: ``[m]`` int64, the image that each region belongs to.
    """

    images: Tensor
    boxes: Tensor
    ids: Tensor
    image_index: Tensor
    ignore: Tensor
    ignore_image_index: Tensor

    def to(self, device: torch.device | str) -> Batch:
        """Copy the batch to another device."""
        return Batch(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})
