from __future__ import annotations

import torch
from torch import nn

from jdetrt.training.network.efficientnet_lite import EfficientNetLite0, SharedEmbedding
from jdetrt.training.network.model import random_network


def test_maps_are_those_of_the_stages() -> None:
    body = random_network(0, "nano", 32).body
    assert isinstance(body, EfficientNetLite0)
    seen: list[torch.Tensor] = []
    for stage in body.stages:
        stage.register_forward_hook(lambda _module, _inputs, output: seen.append(output.clone()))
    with torch.no_grad():
        maps = body(torch.rand(1, 3, 64, 96))
    assert [tuple(m.shape) for m in maps] == [
        (1, 24, 16, 24),
        (1, 40, 8, 12),
        (1, 112, 4, 6),
        (1, 320, 2, 3),
    ]
    for found, number in zip(maps, (1, 2, 4, 6), strict=True):
        assert torch.equal(found, seen[number])


def test_embeddings_are_of_early_maps_alone() -> None:
    network = random_network(0, "nano", 32)
    sum(maps.embedding.square().sum() for maps in network(torch.rand(1, 3, 64, 96))).backward()
    learnt = {name for name, p in network.named_parameters() if p.grad is not None}
    early = ("body.stem.", "body.stages.0.", "body.stages.1.", "body.stages.2.", "embedding.")
    assert learnt == {n for n, _ in network.named_parameters() if n.startswith(early)}


def test_levels_share_the_embedding_of_averaged_shades() -> None:
    network = random_network(0, "nano", 32)
    shared = network.embedding
    assert isinstance(shared, SharedEmbedding)
    images = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        quarter, eighth, *_ = network.body(images)
        fine, coarse = shared.fine(quarter), shared.coarse(eighth)
        for maps, block in zip(network(images), (4, 2, 1), strict=True):
            small = fine.reshape(1, 32, 8 // block, 2 * block, 12 // block, 2 * block)
            large = coarse.reshape(1, 32, 8 // block, block, 12 // block, block)
            shades = torch.cat([small.mean((3, 5)), large.mean((3, 5))], dim=1)
            expected = shared.output(shared.around(shared.look(shades)))
            torch.testing.assert_close(maps.embedding, expected)


def test_activations_suit_int8() -> None:
    kinds = {type(m) for m in random_network(0, "nano", 32).modules() if not list(m.children())}
    assert kinds == {nn.Conv2d, nn.BatchNorm2d, nn.ReLU6, nn.Identity}
