"""The graph that is deployed: network, decoding, top-k, and only the embeddings of the top k.

One image at 1088x608 has 54 264 candidates of 518 numbers, 112 MB. This graph gives the best k:
boxes, scores and unit embeddings, half a MB for k = 256, with standard operators that ONNX Runtime
and every TensorRT run. Non-maximum suppression is left to the host.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from jdetrt.config import ANCHORS_PER_CELL
from jdetrt.export.detected import Detected, float32, map_rows, normalise
from jdetrt.export.distance_decode import DistanceDecode
from jdetrt.export.top_k import TopK, take_rows
from jdetrt.training.network.anchors import candidate_cells, candidate_priors, grids
from jdetrt.training.network.box_embedding import BoxEmbedding
from jdetrt.training.network.model import JdeNetwork
from jdetrt.training.network.pyramid import BOX_AND_LOGITS, HeadMaps

__all__ = ["Decode", "DeployGraph", "Detected", "fold_batch_norm", "normalise"]

# Boxes are at most e^10 = 22 026 times as wide and high as their anchor. The reference has no
# limit; with one, a runaway value stays a finite number, which suppression can compare.
MAX_LOG_SIZE = 10.0


class Decode(nn.Module):
    """From raw head maps to the best k detections, in float32 whatever the maps are in.

    In half precision coordinates beyond 512 would step by half a pixel, and squared embeddings
    could overflow; so the constants here stay float32 too (see `DeployGraph.half`).

    Args:
        size: network width and height.
        anchors: ``(3, 4, 2)`` anchor sizes in network pixels.
        top_k: candidates kept; all, where there are fewer.
        embedding_dim: channels of the embedding maps.

    Attributes:
        priors: ``[candidates, 4]`` float32 anchor boxes, centre x, centre y, width, height.
        cells: ``[candidates]`` int64, the cell of each candidate.

    Raises:
        ConfigError: width or height is not a multiple of 32.
        ExportError: ``top_k`` is less than 1, or more than TensorRT takes.
    """

    priors: Tensor
    cells: Tensor

    def __init__(
        self,
        size: tuple[int, int],
        anchors: npt.NDArray[np.float32],
        top_k: int,
        embedding_dim: int,
    ) -> None:
        super().__init__()
        priors = candidate_priors(*size, anchors)
        self.top_k = TopK(len(priors), top_k)
        self.embedding_dim = embedding_dim
        # Plain numbers, not shapes of tensors: these would be operators in the exported graph.
        self.cells_of_head = [columns * rows for columns, rows in grids(*size)]
        self.register_buffer("priors", torch.from_numpy(priors), persistent=False)
        self.register_buffer("cells", torch.from_numpy(candidate_cells(*size)), persistent=False)

    def forward(self, heads: Sequence[HeadMaps]) -> Detected:
        """Decode the maps of the levels /32, /16, /8."""
        predictions = self.predictions(heads)
        # Scores are ranked before the sigmoid, which makes all large margins equal.
        margin, chosen = self.top_k(predictions[..., 5] - predictions[..., 4])
        deltas = take_rows(predictions, chosen)[..., :4]
        embeddings = take_rows(self.embedding_rows(heads), self.cells[chosen])
        return Detected(
            decode_boxes(deltas, self.priors[chosen]),
            torch.sigmoid(margin),
            normalise(float32(embeddings)),
        )

    def forward_all(self, heads: Sequence[HeadMaps]) -> Detected:
        """Decode every candidate, in their own order and without a choice; for comparison.

        Embeddings are per cell here, ``[N, cells, D]``; ``cells`` says which candidate has which.
        """
        predictions = self.predictions(heads)
        return Detected(
            decode_boxes(predictions[..., :4], self.priors),
            torch.sigmoid(predictions[..., 5] - predictions[..., 4]),
            normalise(float32(self.embedding_rows(heads))),
        )

    def predictions(self, heads: Sequence[HeadMaps]) -> Tensor:
        """Line up the detection maps: ``[N, candidates, 6]``; anchor, row, column in a head."""
        lines = []
        for head, cells in zip(heads, self.cells_of_head, strict=True):
            grouped = head.detection.reshape(-1, ANCHORS_PER_CELL, BOX_AND_LOGITS, cells)
            line = grouped.transpose(2, 3).reshape(-1, ANCHORS_PER_CELL * cells, BOX_AND_LOGITS)
            lines.append(line)
        return float32(torch.cat(lines, dim=1))

    def embedding_rows(self, heads: Sequence[HeadMaps]) -> Tensor:
        """Line up the embedding maps as they are: ``[N, cells, D]``."""
        maps = [head.embedding for head in heads]
        return map_rows(maps, self.embedding_dim, self.cells_of_head)


def decode_boxes(deltas: Tensor, priors: Tensor) -> Tensor:
    """Apply predicted deltas to anchor boxes (reference utils/utils.py, decode_delta).

    Args:
        deltas: ``[..., 4]`` dx, dy in anchor sizes and dw, dh as logarithms.
        priors: ``[..., 4]`` centre x, centre y, width, height in network pixels.

    Returns:
        ``[..., 4]`` x1 y1 x2 y2 in network pixels.
    """
    centre = priors[..., :2] + priors[..., 2:] * deltas[..., :2]
    half = 0.5 * priors[..., 2:] * torch.exp(deltas[..., 2:].clamp(max=MAX_LOG_SIZE))
    return torch.cat([centre - half, centre + half], dim=-1)


class DeployGraph(nn.Module):
    """Images in, `Detected` out.

    Args:
        network: a network in evaluation mode; it is not changed.
        size: network width and height.
        anchors: ``(3, 4, 2)`` anchor sizes in network pixels; of no meaning where the network
            predicts distances.
        top_k: candidates kept; all, where there are fewer.

    Raises:
        ConfigError: width or height is not a multiple of 32.
        ExportError: ``top_k`` is less than 1, or more than TensorRT takes.
    """

    def __init__(
        self,
        network: JdeNetwork,
        size: tuple[int, int],
        anchors: npt.NDArray[np.float32],
        top_k: int,
    ) -> None:
        super().__init__()
        self.decode: Decode | DistanceDecode = (
            DistanceDecode(size, top_k, network.embedding.reader)
            if isinstance(network.embedding, BoxEmbedding)
            else Decode(size, anchors, top_k, network.embedding_dim)
        )
        self.network = fold_batch_norm(network)

    def forward(self, images: Tensor) -> Detected:
        """Detect.

        Args:
            images: ``[N, 3, H, W]`` float32 RGB from 0 to 1.
        """
        if next(self.network.parameters()).dtype == torch.float16:
            images = images.half()
        detected: Detected = self.decode(self.network(images))
        return detected

    def half(self) -> DeployGraph:
        """Convert the network to float16, and leave decoding in float32."""
        self.network.half()
        return self


def fold_batch_norm(network: JdeNetwork) -> JdeNetwork:
    """Copy a network with every batch norm folded into the convolution before it.

    A convolution and its batch norm stand one after the other in the module that has them.

    The exporter would fold them as well, but rename the weights; here they keep their names, which
    quantisation reports go by.
    """
    folded = copy.deepcopy(network).eval()
    for module in folded.modules():
        children = list(module.named_children())
        for (name, conv), (next_name, norm) in itertools.pairwise(children):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(conv, norm))
                setattr(module, next_name, nn.Identity())
    return folded
