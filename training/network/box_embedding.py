"""Embeddings of boxes: colours at points down the middle of each box.

The early map /4 of a pretrained body tells colours and textures. It is averaged over cells of 8, 16
and 32 pixels and over three cells in a row, about as wide as a person; a box is read on the scale
that found it, on which it is some eight cells high. So the same parts of a person are compared
whatever their size, hardly any background is seen, and only boxes that are detected cost anything.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from jdetrt.config import STRIDES

__all__ = ["COLOURS", "POINTS", "BoxEmbedding", "BoxReader", "cell_means", "read"]

POINTS = 8  # of a box
_EARLY = 64  # channels of the map /4
COLOURS = 24  # channels that are read at each point


class BoxReader(nn.Module):
    """From maps and boxes to the boxes' embeddings.

    Args:
        embedding_dim: numbers of an embedding.
    """

    def __init__(self, embedding_dim: int) -> None:
        super().__init__()
        self.output = nn.Linear(POINTS * 2 * COLOURS, embedding_dim)

    def forward(
        self,
        maps: Sequence[Tensor],
        boxes: Tensor,
        levels: Tensor,
        grids: Sequence[tuple[int, int]],
    ) -> Tensor:
        """Embeddings ``[N, k, D]`` float32, not normalised.

        Args:
            maps: ``[N, COLOURS, rows, columns]`` of the levels /32, /16, /8.
            boxes: ``[N, k, 4]`` float32 x1 y1 x2 y2 in network pixels.
            levels: ``[N, k]`` or ``[k]`` int64, the map that each box is read from.
            grids: columns and rows of the maps, plain numbers: shapes would be operators in the
                exported graph.
        """
        return self.embed(read(maps, boxes, levels, grids))

    def embed(self, colours: Tensor) -> Tensor:
        """Embeddings ``[..., D]`` of colours ``[..., POINTS, COLOURS]``."""
        halves = torch.cat([torch.relu(colours), torch.relu(-colours)], dim=-1)
        embedded: Tensor = self.output(halves.flatten(-2))
        return embedded


def read(
    maps: Sequence[Tensor], boxes: Tensor, levels: Tensor, grids: Sequence[tuple[int, int]]
) -> Tensor:
    """Colours ``[N, k, POINTS, channels]`` at the points of boxes, linear between cells.

    Args:
        maps: ``[N, channels, rows, columns]`` of the levels /32, /16, /8. Beyond the border of a
            map its outermost cells go on.
        boxes: as for `BoxReader.forward`.
        levels: likewise.
        grids: likewise.
    """
    counts = [columns * rows for columns, rows in grids]
    firsts = [sum(counts[:level]) for level in range(len(counts))]
    tables = [firsts, *zip(*grids, strict=True), STRIDES]
    first, columns, rows, strides = (
        levels.new_tensor(table)[levels].unsqueeze(-1) for table in tables
    )
    rows_of_maps = [
        one.reshape(-1, one.shape[1], count).transpose(1, 2)
        for one, count in zip(maps, counts, strict=True)
    ]
    lines = torch.cat(rows_of_maps, dim=1).flatten(0, 1)
    if lines.dtype != torch.float32:
        lines = lines.float()

    steps = (torch.arange(POINTS, device=boxes.device) + 0.5) / POINTS
    tall = boxes[..., 3:] - boxes[..., 1:2]
    x = (boxes[..., :1] + boxes[..., 2:3]) / 2 / strides - 0.5
    y = (boxes[..., 1:2] + tall * steps) / strides - 0.5
    x = torch.minimum(x.clamp(min=0), (columns - 1).to(x.dtype))
    y = torch.minimum(y.clamp(min=0), (rows - 1).to(y.dtype))
    left, above = x.long(), y.long()  # towards 0, which is down
    right, below = torch.minimum(left + 1, columns - 1), torch.minimum(above + 1, rows - 1)
    image = torch.arange(boxes.shape[0], device=boxes.device)[:, None, None] * sum(counts)
    across, down = (x - left).unsqueeze(-1), (y - above).unsqueeze(-1)

    def between(row: Tensor) -> Tensor:
        line = image + first + row * columns
        near = lines[line + left]
        return near + (lines[line + right] - near) * across

    upper = between(above)
    return upper + (between(below) - upper) * down


class BoxEmbedding(nn.Module):
    """The maps that boxes are read from, and the reader.

    Args:
        embedding_dim: numbers of an embedding.
    """

    def __init__(self, embedding_dim: int) -> None:
        super().__init__()
        self.colours = nn.Conv2d(_EARLY, COLOURS, 1)
        self.reader = BoxReader(embedding_dim)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Maps ``[N, COLOURS, rows, columns]`` of the levels /32, /16, /8 from the body's maps.

        Of these the first one, /4, is used alone.
        """
        return cell_means(self.colours(nn.functional.avg_pool2d(maps[0], 2)))


def cell_means(eighth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Means over cells and their neighbours to both sides, scales /32, /16, /8, of a map /8."""
    pool = nn.functional.avg_pool2d
    first, middle, last = (
        pool(one, (1, 3), 1, (0, 1), count_include_pad=False)
        for one in (eighth, pool(eighth, 2), pool(eighth, 4))
    )
    return last, middle, first
