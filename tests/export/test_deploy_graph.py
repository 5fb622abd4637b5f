"""The decoding inside the graph, against a version written out number by number."""

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from jdetrt.errors import ConfigError, ExportError
from jdetrt.export.deploy_graph import Decode, DeployGraph
from jdetrt.training.network.anchors import anchor_sizes
from jdetrt.training.network.model import random_network
from jdetrt.training.network.pyramid import HeadMaps

SIZE = (96, 64)  # heads of 3x2, 6x4 and 12x8 cells: 126 cells, 504 candidates
DIM = 8
Floats = npt.NDArray[np.float64]


def random_maps(seed: int = 0, pictures: int = 2) -> list[HeadMaps]:
    generator = torch.Generator().manual_seed(seed)
    return [
        HeadMaps(
            torch.randn(pictures, 24, rows, columns, generator=generator),
            torch.randn(pictures, DIM, rows, columns, generator=generator),
        )
        for columns, rows in ((3, 2), (6, 4), (12, 8))
    ]


def slow_decode(heads: list[HeadMaps], picture: int) -> tuple[Floats, Floats, Floats]:
    """Boxes, scores and embeddings of every candidate, as the reference defines them."""
    boxes, scores, embeddings = [], [], []
    for head, stride, anchors in zip(heads, (32, 16, 8), anchor_sizes(*SIZE), strict=True):
        detection = head.detection[picture].double().numpy()
        embedding = head.embedding[picture].double().numpy()
        for a, (width, height) in enumerate(anchors.astype(float)):
            for row in range(detection.shape[1]):
                for column in range(detection.shape[2]):
                    dx, dy, dw, dh, background, foreground = detection[
                        6 * a : 6 * a + 6, row, column
                    ]
                    x = (width / stride * dx + column) * stride
                    y = (height / stride * dy + row) * stride
                    w = width / stride * math.exp(dw) * stride
                    h = height / stride * math.exp(dh) * stride
                    boxes.append([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
                    both = math.exp(background) + math.exp(foreground)
                    scores.append(math.exp(foreground) / both)
                    vector = embedding[:, row, column]
                    embeddings.append(vector / math.sqrt(sum(v * v for v in vector)))
    return np.array(boxes), np.array(scores), np.array(embeddings)


def decode(top_k: int) -> Decode:
    return Decode(SIZE, anchor_sizes(*SIZE), top_k, DIM)


@pytest.mark.parametrize("top_k", [1, 100, 504])
def test_top_k_is_the_written_out_version(top_k: int) -> None:
    heads = random_maps()
    found = decode(top_k)(heads)
    assert [tuple(t.shape) for t in found] == [(2, top_k, 4), (2, top_k), (2, top_k, DIM)]
    for picture in range(2):
        boxes, scores, embeddings = slow_decode(heads, picture)
        best = np.argsort(-scores, kind="stable")[:top_k]
        np.testing.assert_allclose(found.scores[picture], scores[best], rtol=1e-5)
        np.testing.assert_allclose(found.boxes[picture], boxes[best], rtol=1e-5, atol=1e-3)
        np.testing.assert_allclose(found.embeddings[picture], embeddings[best], atol=1e-5)


def test_all_candidates_are_the_written_out_version() -> None:
    heads = random_maps(1, pictures=1)
    module = decode(10)
    found = module.forward_all(heads)
    boxes, scores, embeddings = slow_decode(heads, 0)
    np.testing.assert_allclose(found.scores[0], scores, rtol=1e-5)
    np.testing.assert_allclose(found.boxes[0], boxes, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(found.embeddings[0][module.cells], embeddings, atol=1e-5)


def test_golden_candidate() -> None:
    # Head /8 at 1088x608, anchor 1 (11x34), row 10, column 20: all else is far below it.
    heads = [
        HeadMaps(torch.zeros(1, 24, rows, columns), torch.zeros(1, DIM, rows, columns))
        for columns, rows in ((34, 19), (68, 38), (136, 76))
    ]
    heads[2].detection[0, 6:12, 10, 20] = torch.tensor([1.0, -0.5, 0.0, math.log(2), 0.0, 2.0])
    heads[2].embedding[0, :2, 10, 20] = torch.tensor([3.0, 4.0])
    size = (1088, 608)
    found = Decode(size, anchor_sizes(*size), 5, DIM)(heads)
    # Centre (20 * 8 + 11, 10 * 8 - 17), size (11, 68).
    assert found.boxes[0, 0].tolist() == pytest.approx([165.5, 29, 176.5, 97])
    assert float(found.scores[0, 0]) == pytest.approx(1 / (1 + math.exp(-2)))
    assert found.embeddings[0, 0].tolist() == pytest.approx([0.6, 0.8, 0, 0, 0, 0, 0, 0])
    assert found.embeddings[0, 1].tolist() == [0.0] * DIM  # nothing to scale: no NaN


def test_large_margins_keep_their_order() -> None:
    heads = random_maps(2, pictures=1)
    heads[0].detection[0, 5] += torch.tensor([[200.0, 400.0, 300.0], [0.0, 0.0, 0.0]])
    found = decode(3)(heads)
    assert found.scores[0].tolist() == [1.0, 1.0, 1.0]
    centres = found.boxes[0, :, ::2].mean(1) - heads[0].detection[0, 0, 0, [1, 2, 0]] * float(
        anchor_sizes(*SIZE)[0, 0, 0]
    )
    torch.testing.assert_close(centres, torch.tensor([32.0, 64.0, 0.0]), rtol=0, atol=1e-2)


def test_runaway_sizes_stay_finite() -> None:
    heads = random_maps(3, pictures=1)
    heads[1].detection[:, 2::6] = 1000.0
    found = decode(504)(heads)
    assert torch.isfinite(found.boxes).all()
    areas = (found.boxes[..., 2:] - found.boxes[..., :2]).prod(-1)
    assert torch.isfinite(areas).all()


def test_top_k_is_all_where_there_are_fewer() -> None:
    found = decode(505)(random_maps(4))
    assert [tuple(t.shape) for t in found] == [(2, 504, 4), (2, 504), (2, 504, DIM)]


def test_top_k_beyond_tensorrt() -> None:
    size = (576, 320)
    assert Decode(size, anchor_sizes(*size), 3840, DIM).top_k.k == 3840
    for top_k in (0, 3841):
        with pytest.raises(ExportError, match=rf"top-k {top_k}: expected 1 to 3840"):
            Decode(size, anchor_sizes(*size), top_k, DIM)


def test_size_not_a_multiple_of_32() -> None:
    with pytest.raises(ConfigError, match="multiples of 32"):
        Decode((100, 64), anchor_sizes(*SIZE), 5, DIM)


def test_batch_norms_are_folded_and_the_network_is_left_alone() -> None:
    torch.set_num_threads(1)
    network = random_network(1, embedding_dim=DIM)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.normal_(module.bias, std=0.1)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    graph = DeployGraph(network, SIZE, anchor_sizes(*SIZE), 50)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in graph.modules())
    assert len(before) == len(network.state_dict())
    assert all(torch.equal(before[name], t) for name, t in network.state_dict().items())
    images = torch.rand(2, 3, 64, 96)
    with torch.inference_mode():
        for folded, plain in zip(graph.network(images), network(images), strict=True):
            torch.testing.assert_close(folded, plain, rtol=1e-3, atol=1e-4)


def test_half_leaves_decoding_in_float32() -> None:
    torch.set_num_threads(1)
    graph = DeployGraph(random_network(1, embedding_dim=DIM), SIZE, anchor_sizes(*SIZE), 50)
    images = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        full = graph(images)
        half = graph.half()(images)
    assert {p.dtype for p in graph.parameters()} == {torch.float16}
    assert graph.decode.priors.dtype == torch.float32
    assert {t.dtype for t in half} == {torch.float32}
    torch.testing.assert_close(half.scores, full.scores, rtol=0, atol=2e-3)
    lengths = half.embeddings.norm(dim=-1)
    torch.testing.assert_close(lengths, torch.ones_like(lengths), rtol=0, atol=1e-6)
