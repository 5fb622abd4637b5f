"""The decoding of edge distances, against a version written out number by number."""

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch

from jdetrt.errors import ConfigError, ExportError
from jdetrt.export.distance_decode import DistanceDecode
from jdetrt.training.network.box_embedding import COLOURS, POINTS, BoxReader
from jdetrt.training.network.pyramid import HeadMaps

SIZE = (96, 64)  # heads of 3x2, 6x4 and 12x8 cells: 126 candidates
DIM = 8
Floats = npt.NDArray[np.float64]


def random_maps(seed: int = 0, pictures: int = 2) -> list[HeadMaps]:
    generator = torch.Generator().manual_seed(seed)
    return [
        HeadMaps(
            3 * torch.randn(pictures, 45, rows, columns, generator=generator),
            torch.randn(pictures, COLOURS, rows, columns, generator=generator),
        )
        for columns, rows in ((3, 2), (6, 4), (12, 8))
    ]


@pytest.fixture(scope="module")
def reader() -> BoxReader:
    torch.manual_seed(0)
    return BoxReader(DIM)


def slow_embedding(
    reader: BoxReader, head: HeadMaps, picture: int, stride: int, box: Floats
) -> Floats:
    """The colours at eight points down the middle of a box, each between four cells of a map."""
    colours = head.embedding[picture].double().numpy()
    last_row, last_column = colours.shape[1] - 1, colours.shape[2] - 1
    inputs: list[float] = []
    for point in range(POINTS):
        x = min(max((box[0] + box[2]) / 2 / stride - 0.5, 0.0), last_column)
        y = (box[1] + (box[3] - box[1]) * (point + 0.5) / POINTS) / stride - 0.5
        y = min(max(y, 0.0), last_row)
        colour = np.zeros(COLOURS)
        for row in (math.floor(y), math.floor(y) + 1):
            for column in (math.floor(x), math.floor(x) + 1):
                share = (1 - abs(y - row)) * (1 - abs(x - column))
                if share > 0:
                    colour += share * colours[:, row, column]
        inputs += [max(value, 0.0) for value in colour] + [max(-value, 0.0) for value in colour]
    weight, bias = (p.detach().double().numpy() for p in reader.output.parameters())
    vector = weight @ np.array(inputs) + bias
    found: Floats = vector / math.sqrt(sum(v * v for v in vector))
    return found


def slow_decode(
    reader: BoxReader,
    heads: list[HeadMaps],
    picture: int,
) -> tuple[Floats, Floats, Floats]:
    """Boxes, scores and embeddings of every cell: the mean of each edge's distribution."""
    boxes, scores, embeddings = [], [], []
    for head, stride in zip(heads, (32, 16, 8), strict=True):
        detection = head.detection[picture].double().numpy()
        for row in range(detection.shape[1]):
            for column in range(detection.shape[2]):
                numbers = detection[:, row, column]
                scores.append(1 / (1 + math.exp(-numbers[0])))
                mean = []
                for edge in range(4):
                    shares = [math.exp(v) for v in numbers[1 + 11 * edge : 12 + 11 * edge]]
                    whole = sum(shares)
                    mean.append(sum(i * share / whole for i, share in enumerate(shares)) * stride)
                x, y = (column + 0.5) * stride, (row + 0.5) * stride
                boxes.append([x - mean[0], y - mean[1], x + mean[2], y + mean[3]])
                box = np.array(boxes[-1])
                embeddings.append(slow_embedding(reader, head, picture, stride, box))
    return np.array(boxes), np.array(scores), np.array(embeddings)


@pytest.mark.parametrize("top_k", [1, 50, 126, 127])
def test_top_k_is_the_written_out_version(reader: BoxReader, top_k: int) -> None:
    heads = random_maps()
    found = DistanceDecode(SIZE, top_k, reader)(heads)
    top_k = min(top_k, 126)
    assert [tuple(t.shape) for t in found] == [(2, top_k, 4), (2, top_k), (2, top_k, DIM)]
    for picture in range(2):
        boxes, scores, embeddings = slow_decode(reader, heads, picture)
        best = np.argsort(-scores, kind="stable")[:top_k]
        np.testing.assert_allclose(found.scores[picture], scores[best], rtol=1e-5)
        np.testing.assert_allclose(found.boxes[picture], boxes[best], rtol=1e-5, atol=1e-3)
        np.testing.assert_allclose(found.embeddings[picture].detach(), embeddings[best], atol=1e-4)


def test_all_candidates_are_the_written_out_version(reader: BoxReader) -> None:
    heads = random_maps(1, pictures=1)
    module = DistanceDecode(SIZE, 10, reader)
    found = module.forward_all(heads)
    boxes, scores, embeddings = slow_decode(reader, heads, 0)
    np.testing.assert_allclose(found.scores[0], scores, rtol=1e-5)
    np.testing.assert_allclose(found.boxes[0], boxes, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(found.embeddings[0].detach(), embeddings, atol=1e-4)


def test_priors_are_the_largest_boxes(reader: BoxReader) -> None:
    heads = random_maps(2, pictures=1)
    for head in heads:
        head.detection[:, 11::11] = 1000.0  # every edge ten strides away
    module = DistanceDecode(SIZE, 10, reader)
    boxes = module.forward_all(heads).boxes[0]
    low, high = boxes[:, :2], boxes[:, 2:]
    torch.testing.assert_close(torch.cat([(low + high) / 2, high - low], dim=1), module.priors)


def test_large_logits_keep_their_order(reader: BoxReader) -> None:
    heads = random_maps(3, pictures=1)
    heads[0].detection[0, 0] = torch.tensor([[200.0, 400.0, 300.0], [0.0, 0.0, 0.0]])
    found = DistanceDecode(SIZE, 3, reader)(heads)
    every = DistanceDecode(SIZE, 3, reader).forward_all(heads)
    assert found.scores[0].tolist() == [1.0, 1.0, 1.0]
    torch.testing.assert_close(found.boxes[0], every.boxes[0, [1, 2, 0]])


def test_what_cannot_be_exported(reader: BoxReader) -> None:
    with pytest.raises(ExportError, match="top-k 3841: expected 1 to 3840"):
        DistanceDecode((1088, 608), 3841, reader)
    with pytest.raises(ConfigError, match="multiples of 32"):
        DistanceDecode((100, 64), 1, reader)
