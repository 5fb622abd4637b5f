"""A batch norm with fixed statistics is folded into its convolution, and nobody can tell."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from jdetrt.training.network.layers import ConvBlock, leaky_relu, relu, relu6


def block(kernel: int, stride: int, groups: int, activation: object) -> ConvBlock:
    torch.manual_seed(0)
    made = ConvBlock(6, 12, kernel, stride, groups, activation).double()  # type: ignore[arg-type]
    norm = made.norm
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.2, 3)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return made


def unfolded(made: ConvBlock, x: Tensor) -> Tensor:
    y: Tensor = made.act(made.norm(made.conv(x)))
    return y


@pytest.mark.parametrize("activation", [None, relu, relu6, leaky_relu])
@pytest.mark.parametrize(
    ("kernel", "stride", "groups"), [(1, 1, 1), (3, 1, 6), (3, 2, 1), (5, 2, 3)]
)
def test_folded_is_unfolded(kernel: int, stride: int, groups: int, activation: object) -> None:
    made = block(kernel, stride, groups, activation)
    made.train()
    made.norm.eval()
    x = torch.randn(2, 6, 9, 8, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(made(x), unfolded(made, x), rtol=1e-12, atol=1e-12)
    wanted = [x, *made.parameters()]
    weight = torch.randn(made(x).shape, dtype=torch.float64)
    folded = torch.autograd.grad((made(x) * weight).sum(), wanted)
    plain = torch.autograd.grad((unfolded(made, x) * weight).sum(), wanted)
    assert len(wanted) == 4
    for one, other in zip(folded, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_statistics_that_are_fixed_stay() -> None:
    made = block(3, 1, 1, relu)
    before = {name: value.clone() for name, value in made.norm.named_buffers()}
    made.train()
    made.norm.eval()
    made(torch.randn(2, 6, 9, 8, dtype=torch.float64))
    for name, value in made.norm.named_buffers():
        assert torch.equal(value, before[name])


def test_a_frozen_scale_has_no_gradient_and_the_convolution_has() -> None:
    made = block(3, 1, 1, relu)
    made.train()
    made.norm.eval().requires_grad_(False)
    torch.autograd.backward(made(torch.randn(2, 6, 9, 8, dtype=torch.float64)).sum())
    assert made.norm.get_parameter("weight").grad is None
    assert made.conv.weight.grad is not None
    assert made.conv.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("mode", [True, False])
def test_otherwise_it_is_the_batch_norm_itself(mode: bool) -> None:
    """In training mode with the batch's own statistics, which move; in evaluation mode exactly."""
    made, twin = block(3, 1, 1, relu6).train(mode), block(3, 1, 1, relu6).train(mode)
    x = torch.randn(2, 6, 9, 8, dtype=torch.float64)
    assert torch.equal(made(x), unfolded(twin, x))
    for name, value in made.norm.named_buffers():
        assert torch.equal(value, twin.norm.get_buffer(name))
    moved = block(3, 1, 1, relu6).norm.get_buffer("running_mean")
    assert torch.equal(moved, made.norm.get_buffer("running_mean")) != mode
