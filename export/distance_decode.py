"""Decoding of the bodies that predict the distances of a box's edges from the middle of a cell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from jdetrt.config import STRIDES, TOP_K_LIMIT
from jdetrt.errors import ExportError
from jdetrt.export.detected import Detected, float32, normalise
from jdetrt.training.network.anchors import grids
from jdetrt.training.network.nanodet import DISTANCES
from jdetrt.training.network.pyramid import HeadMaps

__all__ = ["DistanceDecode"]


class DistanceDecode(nn.Module):
    """From raw head maps to the best k detections, in float32 whatever the maps are in.

    A cell is a candidate. Its score is the sigmoid of its logit; an edge of its box is as far from
    the cell's middle as the softmax over `DISTANCES` says on average, in strides (Li et al. 2020,
    arXiv 2006.04388, section 3.2). Only the boxes of the best k are computed.

    Args:
        size: network width and height.
        top_k: candidates kept.
        embedding_dim: channels of the embedding maps.

    Attributes:
        priors: ``[candidates, 4]`` float32, the largest box of each candidate: centre x, centre y
            of the cell, width, height.
        cells: ``[candidates]`` int64, 0 to one less: the cell of each candidate.

    Raises:
        ConfigError: width or height is not a multiple of 32.
        ExportError: ``top_k`` is more than there are candidates, or than TensorRT takes.
    """

    priors: Tensor
    cells: Tensor
    steps: Tensor

    def __init__(self, size: tuple[int, int], top_k: int, embedding_dim: int) -> None:
        super().__init__()
        self.cells_of_head = [columns * rows for columns, rows in grids(*size)]
        candidates = sum(self.cells_of_head)
        if not 1 <= top_k <= candidates:
            raise ExportError(
                f"top-k {top_k}: a network of {size[0]}x{size[1]} has {candidates} candidates; "
                "ask for no more than that, or for a larger network"
            )
        if top_k > TOP_K_LIMIT:
            raise ExportError(f"top-k {top_k}: TensorRT takes no more than {TOP_K_LIMIT}")
        self.top_k = top_k
        self.embedding_dim = embedding_dim
        self.register_buffer("priors", _priors(size), persistent=False)
        self.register_buffer("cells", torch.arange(candidates), persistent=False)
        steps = torch.arange(DISTANCES, dtype=torch.float32)
        self.register_buffer("steps", steps, persistent=False)

    def forward(self, heads: Sequence[HeadMaps]) -> Detected:
        """Decode the maps of the levels /32, /16, /8."""
        predictions = self.predictions(heads)
        # Scores are ranked before the sigmoid, which makes all large logits equal.
        logits, chosen = torch.topk(predictions[:, 0], self.top_k, dim=1)

        index = chosen.unsqueeze(1).repeat(1, 4 * DISTANCES, 1)
        edges = torch.gather(predictions[:, 1:], 2, index).transpose(1, 2)
        boxes = self.decode_boxes(edges, self.priors[chosen], self.top_k)

        index = chosen.unsqueeze(1).repeat(1, self.embedding_dim, 1)
        embeddings = torch.gather(self.embedding_maps(heads), 2, index).transpose(1, 2)
        return Detected(boxes, torch.sigmoid(logits), normalise(float32(embeddings)))

    def forward_all(self, heads: Sequence[HeadMaps]) -> Detected:
        """Decode every candidate, in their own order and without a choice; for comparison."""
        predictions = self.predictions(heads).transpose(1, 2)
        embeddings = self.embedding_maps(heads).transpose(1, 2)
        return Detected(
            self.decode_boxes(predictions[..., 1:], self.priors, len(self.cells)),
            torch.sigmoid(predictions[..., 0]),
            normalise(float32(embeddings)),
        )

    def predictions(self, heads: Sequence[HeadMaps]) -> Tensor:
        """Line up the detection maps: ``[N, 1 + 4 * DISTANCES, candidates]``."""
        return float32(
            torch.cat(
                [
                    head.detection.reshape(-1, 1 + 4 * DISTANCES, cells)
                    for head, cells in zip(heads, self.cells_of_head, strict=True)
                ],
                dim=2,
            )
        )

    def embedding_maps(self, heads: Sequence[HeadMaps]) -> Tensor:
        """Line up the embedding maps as they are: ``[N, D, cells]``."""
        return torch.cat(
            [
                head.embedding.reshape(-1, self.embedding_dim, cells)
                for head, cells in zip(heads, self.cells_of_head, strict=True)
            ],
            dim=2,
        )

    def decode_boxes(self, edges: Tensor, priors: Tensor, count: int) -> Tensor:
        """Boxes from the distributions of their edges.

        Args:
            edges: ``[N, k, 4 * DISTANCES]`` logits, left, top, right, bottom.
            priors: ``[N, k, 4]`` or ``[k, 4]``.
            count: k, a plain number: a shape would be operators in the exported graph.

        Returns:
            ``[N, k, 4]`` x1 y1 x2 y2 in network pixels.
        """
        shares = torch.softmax(edges.reshape(-1, count, 4, DISTANCES), dim=-1)
        distance = (shares * self.steps).sum(-1) * (priors[..., 2:3] / (2 * (DISTANCES - 1)))
        centre = priors[..., :2]
        return torch.cat([centre - distance[..., :2], centre + distance[..., 2:]], dim=-1)


def _priors(size: tuple[int, int]) -> Tensor:
    boxes = []
    for (columns, rows), stride in zip(grids(*size), STRIDES, strict=True):
        head = np.empty((rows, columns, 4), np.float32)
        head[..., 0] = (np.arange(columns) + 0.5) * stride
        head[..., 1] = (np.arange(rows)[:, None] + 0.5) * stride
        head[..., 2:] = 2 * (DISTANCES - 1) * stride
        boxes.append(head.reshape(-1, 4))
    return torch.from_numpy(np.concatenate(boxes))
