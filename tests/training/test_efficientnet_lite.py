from __future__ import annotations

import torch
from torch import nn

from jdetrt.training.efficientnet_lite import EfficientNetLite0
from jdetrt.training.model import random_network


def test_maps_end_with_the_early_ones_averaged() -> None:
    body = random_network(0, "nano", 32).body
    assert isinstance(body, EfficientNetLite0)
    images = torch.rand(1, 3, 64, 96)
    seen: list[torch.Tensor] = []
    for stage in body.stages:
        stage.register_forward_hook(lambda _module, _inputs, output: seen.append(output.clone()))
    with torch.no_grad():
        maps = body(images)
    assert [tuple(m.shape) for m in maps] == [
        (1, 64, 8, 12),
        (1, 176, 4, 6),
        (1, 384, 2, 3),
    ]
    for found, late, own, block in zip(maps, (2, 4, 6), (40, 112, 320), (1, 2, 4), strict=True):
        assert torch.equal(found[:, :own], seen[late])
        rest = found[:, own:] if late > 2 else torch.cat([seen[2], found[:, own:]], dim=1)
        quarter = seen[1].reshape(1, 24, 8 // block, 2 * block, 12 // block, 2 * block)
        eighth = seen[2].reshape(1, 40, 8 // block, block, 12 // block, block)
        expected = torch.cat([eighth.mean((3, 5)), quarter.mean((3, 5))], dim=1)
        torch.testing.assert_close(rest, expected)


def test_activations_suit_int8() -> None:
    kinds = {type(m) for m in random_network(0, "nano", 32).modules() if not list(m.children())}
    assert kinds == {nn.Conv2d, nn.BatchNorm2d, nn.ReLU6, nn.Identity}
