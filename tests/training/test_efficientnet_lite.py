from __future__ import annotations

import torch
from torch import nn

from jdetrt.training.efficientnet_lite import SHADES, EfficientNetLite0
from jdetrt.training.model import random_network


def test_maps_end_with_shades_of_the_early_ones_averaged() -> None:
    body = random_network(0, "nano", 32).body
    assert isinstance(body, EfficientNetLite0)
    images = torch.rand(1, 3, 64, 96)
    seen: list[torch.Tensor] = []
    for stage in body.stages:
        stage.register_forward_hook(lambda _module, _inputs, output: seen.append(output.clone()))
    with torch.no_grad():
        maps = body(images)
        fine, coarse = body.fine(seen[1]), body.coarse(seen[2])
    assert [tuple(m.shape) for m in maps] == [
        (1, 104, 8, 12),
        (1, 176, 4, 6),
        (1, 384, 2, 3),
    ]
    for found, late, own, block in zip(maps, (2, 4, 6), (40, 112, 320), (1, 2, 4), strict=True):
        assert torch.equal(found[:, :own], seen[late])
        quarter = fine.reshape(1, 32, 8 // block, 2 * block, 12 // block, 2 * block)
        eighth = coarse.reshape(1, 32, 8 // block, block, 12 // block, block)
        expected = torch.cat([quarter.mean((3, 5)), eighth.mean((3, 5))], dim=1)
        torch.testing.assert_close(found[:, own:], expected)


def test_embeddings_are_of_the_shades_alone() -> None:
    network = random_network(0, "nano", 32)
    sum(maps.embedding.square().sum() for maps in network(torch.rand(1, 3, 64, 96))).backward()
    learnt = {n for n, p in network.named_parameters() if p.grad is not None and p.grad.any()}
    early = ("body.stem.", "body.stages.0.", "body.stages.1.", "body.stages.2.")
    own = ("body.fine.", "body.coarse.", "embedding.")
    expected = {n for n, _ in network.named_parameters() if n.startswith((*early, *own))}
    assert learnt == expected


def test_levels_share_the_embedding() -> None:
    network = random_network(0, "nano", 32)
    body, shared = network.body, network.embedding
    assert shared is not None
    images = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        for maps, found in zip(reversed(body(images)), network(images), strict=True):
            torch.testing.assert_close(found.embedding, shared(maps[:, -SHADES:]))


def test_activations_suit_int8() -> None:
    kinds = {type(m) for m in random_network(0, "nano", 32).modules() if not list(m.children())}
    assert kinds == {nn.Conv2d, nn.BatchNorm2d, nn.ReLU6, nn.Identity}
