"""Outputs of a deployed graph, and the parts that all ways of decoding share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Detected", "float32", "map_rows", "normalise"]

NORM_EPS = 1e-12  # torch's default, which the reference uses


class Detected(NamedTuple):
    """The best k candidates of each picture, best first.

    Attributes:
        boxes: ``[N, k, 4]`` x1 y1 x2 y2 in network pixels.
        scores: ``[N, k]`` from 0 to 1, descending to rounding.
        embeddings: ``[N, k, D]`` of length 1.
    """

    boxes: Tensor
    scores: Tensor
    embeddings: Tensor


def normalise(embeddings: Tensor) -> Tensor:
    """Scale vectors along the last axis to length 1; a vector of zeros stays as it is."""
    length = torch.linalg.vector_norm(embeddings, dim=-1, keepdim=True)
    unit: Tensor = embeddings / length.clamp(min=NORM_EPS)
    return unit


def float32(tensor: Tensor) -> Tensor:
    """Convert, without leaving a Cast in the exported graph where there is nothing to convert."""
    return tensor if tensor.dtype == torch.float32 else tensor.float()


def map_rows(maps: Sequence[Tensor], channels: int, cells: Sequence[int]) -> Tensor:
    """Line up maps ``[N, channels, rows, columns]`` by cell: ``[N, cells, channels]``.

    Args:
        maps: of all levels.
        channels: of each, a plain number: a shape would be operators in the exported graph.
        cells: of each level, likewise.
    """
    lines = [
        one.reshape(-1, channels, count).transpose(1, 2)
        for one, count in zip(maps, cells, strict=True)
    ]
    return torch.cat(lines, dim=1)
