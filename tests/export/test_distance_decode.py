"""The decoding of edge distances, against a version written out number by number."""

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch

from jdetrt.errors import ConfigError, ExportError
from jdetrt.export.distance_decode import DistanceDecode
from jdetrt.training.network.pyramid import HeadMaps

SIZE = (96, 64)  # heads of 3x2, 6x4 and 12x8 cells: 126 candidates
DIM = 8
Floats = npt.NDArray[np.float64]


def random_maps(seed: int = 0, pictures: int = 2) -> list[HeadMaps]:
    generator = torch.Generator().manual_seed(seed)
    return [
        HeadMaps(
            3 * torch.randn(pictures, 45, rows, columns, generator=generator),
            torch.randn(pictures, DIM, rows, columns, generator=generator),
        )
        for columns, rows in ((3, 2), (6, 4), (12, 8))
    ]


def slow_decode(heads: list[HeadMaps], picture: int) -> tuple[Floats, Floats, Floats]:
    """Boxes, scores and embeddings of every cell: the mean of each edge's distribution."""
    boxes, scores, embeddings = [], [], []
    for head, stride in zip(heads, (32, 16, 8), strict=True):
        detection = head.detection[picture].double().numpy()
        embedding = head.embedding[picture].double().numpy()
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
                vector = embedding[:, row, column]
                embeddings.append(vector / math.sqrt(sum(v * v for v in vector)))
    return np.array(boxes), np.array(scores), np.array(embeddings)


@pytest.mark.parametrize("top_k", [1, 50, 126])
def test_top_k_is_the_written_out_version(top_k: int) -> None:
    heads = random_maps()
    found = DistanceDecode(SIZE, top_k, DIM)(heads)
    assert [tuple(t.shape) for t in found] == [(2, top_k, 4), (2, top_k), (2, top_k, DIM)]
    for picture in range(2):
        boxes, scores, embeddings = slow_decode(heads, picture)
        best = np.argsort(-scores, kind="stable")[:top_k]
        np.testing.assert_allclose(found.scores[picture], scores[best], rtol=1e-5)
        np.testing.assert_allclose(found.boxes[picture], boxes[best], rtol=1e-5, atol=1e-3)
        np.testing.assert_allclose(found.embeddings[picture], embeddings[best], atol=1e-5)


def test_all_candidates_are_the_written_out_version() -> None:
    heads = random_maps(1, pictures=1)
    module = DistanceDecode(SIZE, 10, DIM)
    found = module.forward_all(heads)
    boxes, scores, embeddings = slow_decode(heads, 0)
    np.testing.assert_allclose(found.scores[0], scores, rtol=1e-5)
    np.testing.assert_allclose(found.boxes[0], boxes, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(found.embeddings[0][module.cells], embeddings, atol=1e-5)


def test_priors_are_the_largest_boxes() -> None:
    heads = random_maps(2, pictures=1)
    for head in heads:
        head.detection[:, 11::11] = 1000.0  # every edge ten strides away
    module = DistanceDecode(SIZE, 10, DIM)
    boxes = module.forward_all(heads).boxes[0]
    low, high = boxes[:, :2], boxes[:, 2:]
    torch.testing.assert_close(torch.cat([(low + high) / 2, high - low], dim=1), module.priors)


def test_large_logits_keep_their_order() -> None:
    heads = random_maps(3, pictures=1)
    heads[0].detection[0, 0] = torch.tensor([[200.0, 400.0, 300.0], [0.0, 0.0, 0.0]])
    found = DistanceDecode(SIZE, 3, DIM)(heads)
    every = DistanceDecode(SIZE, 3, DIM).forward_all(heads)
    assert found.scores[0].tolist() == [1.0, 1.0, 1.0]
    torch.testing.assert_close(found.boxes[0], every.boxes[0, [1, 2, 0]])


def test_what_cannot_be_exported() -> None:
    with pytest.raises(ExportError, match="has 126 candidates"):
        DistanceDecode(SIZE, 127, DIM)
    with pytest.raises(ExportError, match="TensorRT takes no more than 3840"):
        DistanceDecode((1088, 608), 3841, DIM)
    with pytest.raises(ConfigError, match="multiples of 32"):
        DistanceDecode((100, 64), 1, DIM)
