"""Decoding of the bodies that predict the distances of a box's edges from the middle of a cell."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from jdetrt.config import TOP_K_LIMIT
from jdetrt.errors import ExportError
from jdetrt.export.detected import Detected, float32, normalise
from jdetrt.training.network.anchors import grids
from jdetrt.training.network.box_embedding import BoxReader
from jdetrt.training.network.nanodet import DISTANCES, edge_boxes, largest_boxes
from jdetrt.training.network.pyramid import HeadMaps

__all__ = ["DistanceDecode"]


class DistanceDecode(nn.Module):
    """From raw head maps to the best k detections, in float32 whatever the maps are in.

    A cell is a candidate; its score is the sigmoid of its logit. Only the boxes of the best k are
    computed, and only these are read for embeddings.

    Args:
        size: network width and height.
        top_k: candidates kept.
        reader: of the network; it is copied, and stays in float32.

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
    levels: Tensor

    def __init__(self, size: tuple[int, int], top_k: int, reader: BoxReader) -> None:
        super().__init__()
        self.grids = grids(*size)
        self.cells_of_head = [columns * rows for columns, rows in self.grids]
        candidates = sum(self.cells_of_head)
        if not 1 <= top_k <= candidates:
            raise ExportError(
                f"top-k {top_k}: a network of {size[0]}x{size[1]} has {candidates} candidates; "
                "ask for no more than that, or for a larger network"
            )
        if top_k > TOP_K_LIMIT:
            raise ExportError(f"top-k {top_k}: TensorRT takes no more than {TOP_K_LIMIT}")
        self.top_k = top_k
        self.reader = copy.deepcopy(reader).float()
        self.embedding_dim = reader.output.out_features
        self.register_buffer("priors", largest_boxes(size), persistent=False)
        self.register_buffer("cells", torch.arange(candidates), persistent=False)
        counts = torch.tensor(self.cells_of_head)
        levels = torch.arange(len(counts)).repeat_interleave(counts)
        self.register_buffer("levels", levels, persistent=False)

    def forward(self, heads: Sequence[HeadMaps]) -> Detected:
        """Decode the maps of the levels /32, /16, /8."""
        predictions = self.predictions(heads)
        # Scores are ranked before the sigmoid, which makes all large logits equal.
        logits, chosen = torch.topk(predictions[:, 0], self.top_k, dim=1)

        index = chosen.unsqueeze(1).repeat(1, 4 * DISTANCES, 1)
        edges = torch.gather(predictions[:, 1:], 2, index).transpose(1, 2)
        boxes = edge_boxes(edges, self.priors[chosen], self.top_k)
        return Detected(boxes, torch.sigmoid(logits), self._embeddings(heads, boxes, chosen))

    def forward_all(self, heads: Sequence[HeadMaps]) -> Detected:
        """Decode every candidate, in their own order and without a choice; for comparison."""
        predictions = self.predictions(heads).transpose(1, 2)
        boxes = edge_boxes(predictions[..., 1:], self.priors, len(self.cells))
        scores = torch.sigmoid(predictions[..., 0])
        return Detected(boxes, scores, self._embeddings(heads, boxes, self.cells))

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

    def _embeddings(self, heads: Sequence[HeadMaps], boxes: Tensor, cells: Tensor) -> Tensor:
        maps = [head.embedding for head in heads]
        return normalise(self.reader(maps, boxes, self.levels[cells], self.grids))
