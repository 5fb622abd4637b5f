"""Decoding of the bodies that predict the distances of a box's edges from the middle of a cell."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from jdetrt.export.detected import Detected, float32, map_rows, normalise
from jdetrt.export.top_k import TopK, take_rows
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
        top_k: candidates kept; all, where there are fewer.
        reader: of the network; it is copied, and stays in float32.

    Attributes:
        priors: ``[candidates, 4]`` float32, the largest box of each candidate: centre x, centre y
            of the cell, width, height.
        cells: ``[candidates]`` int64, 0 to one less: the cell of each candidate.

    Raises:
        ConfigError: width or height is not a multiple of 32.
        ExportError: ``top_k`` is less than 1, or more than TensorRT takes.
    """

    priors: Tensor
    cells: Tensor
    levels: Tensor

    def __init__(self, size: tuple[int, int], top_k: int, reader: BoxReader) -> None:
        super().__init__()
        self.grids = grids(*size)
        self.cells_of_head = [columns * rows for columns, rows in self.grids]
        candidates = sum(self.cells_of_head)
        self.top_k = TopK(candidates, top_k)
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
        logits, chosen = self.top_k(predictions[..., 0])
        edges = take_rows(predictions, chosen)[..., 1:]
        boxes = edge_boxes(edges, self.priors[chosen], self.top_k.k)
        return Detected(boxes, torch.sigmoid(logits), self._embeddings(heads, boxes, chosen))

    def forward_all(self, heads: Sequence[HeadMaps]) -> Detected:
        """Decode every candidate, in their own order and without a choice; for comparison."""
        predictions = self.predictions(heads)
        boxes = edge_boxes(predictions[..., 1:], self.priors, len(self.cells))
        scores = torch.sigmoid(predictions[..., 0])
        return Detected(boxes, scores, self._embeddings(heads, boxes, self.cells))

    def predictions(self, heads: Sequence[HeadMaps]) -> Tensor:
        """Line up the detection maps: ``[N, candidates, 1 + 4 * DISTANCES]``."""
        maps = [head.detection for head in heads]
        return float32(map_rows(maps, 1 + 4 * DISTANCES, self.cells_of_head))

    def _embeddings(self, heads: Sequence[HeadMaps], boxes: Tensor, cells: Tensor) -> Tensor:
        maps = [head.embedding for head in heads]
        return normalise(self.reader(maps, boxes, self.levels[cells], self.grids))
