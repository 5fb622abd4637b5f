import math

import pytest
import torch
from torch import Tensor, nn

from jdetrt.training.losses.balance import (
    BALANCES,
    TASKS,
    FixedBalance,
    LossNormBalance,
    UncertaintyBalance,
)
from jdetrt.training.recipe import LossConfig

LOSSES = torch.tensor([[0.3, 0.2, 5.0], [0.1, 0.4, 6.0], [0.02, 0.9, 3.0]])
ALL = torch.ones(3, 3, dtype=torch.bool)
SOME = torch.tensor([[True, False, False], [True, True, False], [True, True, True]])


def total(balance: nn.Module, losses: Tensor = LOSSES, present: Tensor = ALL) -> Tensor:
    out = balance(losses, present, ())
    assert isinstance(out, Tensor)
    assert out.shape == ()
    return out


def test_uncertainty_starts_as_the_reference() -> None:
    expected = sum(
        0.5 * (math.exp(-s) * loss + s)
        for row in LOSSES.tolist()
        for loss, s in zip(row, (-4.15, -4.85, -2.3), strict=True)
    )
    assert total(UncertaintyBalance()).item() == pytest.approx(expected)


def test_uncertainty_is_best_at_the_log_of_the_loss() -> None:
    balance = UncertaintyBalance()
    balance.log_variances.data = LOSSES.log()
    best = total(balance)
    torch.autograd.backward(best)
    assert balance.log_variances.grad is not None
    assert balance.log_variances.grad.abs().max() < 1e-6
    for step in (-0.1, 0.1):
        for k in range(9):
            moved = UncertaintyBalance()
            moved.log_variances.data = LOSSES.log()
            moved.log_variances.data.view(-1)[k] += step
            assert total(moved) > best


def test_uncertainty_weighs_a_loss_by_half_its_precision() -> None:
    balance = UncertaintyBalance()
    losses = LOSSES.clone().requires_grad_()
    (weights,) = torch.autograd.grad(total(balance, losses), losses)
    torch.testing.assert_close(weights, 0.5 * torch.exp(-balance.log_variances.detach()))


def test_uncertainty_of_an_absent_loss_stays() -> None:
    balance = UncertaintyBalance()
    torch.autograd.backward(total(balance, LOSSES * SOME, SOME))
    assert balance.log_variances.grad is not None
    assert (balance.log_variances.grad != 0).equal(SOME)


def test_uniform_and_fixed() -> None:
    uniform = BALANCES["uniform"](LossConfig())
    assert total(uniform).item() == pytest.approx(LOSSES.sum().item())
    fixed = FixedBalance([2.0, 3.0, 0.5])
    assert total(fixed).item() == pytest.approx(2 * 0.42 + 3 * 1.5 + 0.5 * 14)
    assert total(fixed, present=SOME).item() == pytest.approx(2 * 0.42 + 3 * 1.3 + 0.5 * 3)
    assert not fixed.state_dict()  # the recipe has them


def test_loss_norm_divides_by_the_moving_average() -> None:
    balance = LossNormBalance(0.9)
    assert total(balance).item() == pytest.approx(9)
    average = LOSSES
    for factor in (2.0, 0.5):
        average = 0.9 * average + 0.1 * factor * LOSSES
        expected = (factor * LOSSES / average).sum().item()
        assert total(balance, factor * LOSSES).item() == pytest.approx(expected)
    balance.eval()
    for _ in range(2):
        expected = (LOSSES / average).sum().item()
        assert total(balance).item() == pytest.approx(expected)


def test_loss_norm_slope_is_one_over_the_average() -> None:
    losses = LOSSES.clone().requires_grad_()
    (weights,) = torch.autograd.grad(total(LossNormBalance(0.9), losses), losses)
    torch.testing.assert_close(weights, 1 / LOSSES)


def test_loss_norm_of_absent_losses() -> None:
    balance = LossNormBalance(0.9)
    assert total(balance, LOSSES * SOME, SOME).item() == pytest.approx(6)
    assert (balance.average == 0).equal(~SOME)
    # Those seen now for the first time start here, the others go on.
    total(balance, 3 * LOSSES)
    torch.testing.assert_close(
        balance.average, torch.where(SOME, (0.9 + 0.1 * 3) * LOSSES, 3 * LOSSES)
    )
    before = balance.average
    total(balance, torch.zeros(3, 3), torch.zeros(3, 3, dtype=torch.bool))
    assert balance.average.equal(before)


def test_a_loss_of_nothing_is_harmless() -> None:
    losses = torch.zeros(3, 3, requires_grad=True)
    for name in ("uncertainty", "uniform", "fixed", "loss-norm"):
        (weights,) = torch.autograd.grad(total(BALANCES[name](LossConfig()), losses), losses)
        assert weights.isfinite().all()


@pytest.mark.parametrize("name", ["uncertainty", "uniform", "fixed", "loss-norm"])
def test_a_restored_balance_goes_on_as_before(name: str) -> None:
    config = LossConfig()
    first = BALANCES[name](config)
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(())), *first.parameters()], lr=0.1)
    for factor in (1.0, 4.0):
        loss = total(first, factor * LOSSES)
        if name == "uncertainty":
            torch.autograd.backward(loss)
        optimiser.step()
    second = BALANCES[name](config)
    second.load_state_dict(first.state_dict())
    assert total(second).item() == total(first).item()
    if name == "uncertainty":
        assert total(second).item() != total(BALANCES[name](config)).item()


def test_names() -> None:
    assert TASKS == ("confidence", "box", "identity")
    assert set(BALANCES) == {"uncertainty", "uniform", "fixed", "loss-norm", "mgda-ub"}
