"""One step after the other: parts of a batch, gradients, averaged weights, precision."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from small_runs import ALONE, SomePeople, learn_tiny_body, small_recipe, start
from tiny_network import EMBEDDING_DIM, SIZE
from torch import Tensor

from jdetrt.training.batches import batches
from jdetrt.training.data.sample import Batch
from jdetrt.training.learner import Learner
from jdetrt.training.network import model
from jdetrt.training.recipe import Recipe

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    learn_tiny_body(monkeypatch)


def learner(**settings: Any) -> Learner:
    recipe = small_recipe(**settings)
    torch.manual_seed(recipe.seed)
    made = Learner(model.random_network(0, "tiny", EMBEDDING_DIM), recipe, 48, ALONE)
    made.model.train()
    return made


def parts(size: int, recipe: Recipe | None = None) -> list[Batch]:
    recipe = recipe or small_recipe()
    return list(batches(SomePeople(16), recipe.augment, SIZE, size, 0, 0, 0))


def moved(made: Learner) -> dict[str, Tensor]:
    before = start()
    return {k: v - before[k] for k, v in made.model.network.state_dict().items()}


BALANCES = [
    {"balance": "uncertainty"},
    {"balance": "uniform", "confidence": "focal", "box": "giou"},
    {"balance": "fixed", "confidence": "focal"},
]


@pytest.mark.parametrize("loss", BALANCES)
@pytest.mark.parametrize("count", [2, 4, 8])
def test_parts_are_the_batch(count: int, loss: dict[str, str]) -> None:
    """Though people, and people known by name, are in some of the parts only."""
    whole = learner(loss=loss)
    pieces = learner(loss=loss)
    size = 8 // count
    assert len({len(part.ids) for part in parts(size)}) > 1
    for step in range(2):
        one = whole.step(parts(8)[step : step + 1], 1.0)
        many = pieces.step(parts(size)[step * count : (step + 1) * count], 1.0)
        assert many == pytest.approx(one, rel=1e-4)
    found = moved(pieces)
    for name, value in moved(whole).items():
        far = float(value.abs().max())
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-3 * far + 1e-7)
    for own, other in zip(
        whole.model.loss.parameters(), pieces.model.loss.parameters(), strict=True
    ):
        torch.testing.assert_close(own, other, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("identity", ["cross-entropy", "triplet", "upper-bound"])
@pytest.mark.parametrize("balance", ["uncertainty", "loss-norm", "mgda-ub"])
def test_a_batch_without_anybody_known(identity: str, balance: str) -> None:
    made = learner(loss={"identity": identity, "balance": balance}, optimiser={"ema": 0.9})
    for part in parts(1):
        named = bool((part.ids >= 0).any())
        losses = made.step([part], 1.0)
        assert all(math.isfinite(value) for value in losses.values())
        assert named or not any(name.startswith("identity") for name in losses)
        assert len(part.ids) or not any(name.startswith("box") for name in losses)
    for value in made.model.state_dict().values():
        assert torch.isfinite(value).all()


def test_learning_rates_are_shares_of_their_base() -> None:
    made = learner(optimiser={"learning_rate": 0.5, "body_rate": 0.1})
    made.step(parts(4)[:1], 0.25)
    found = {group["lr"] for group in made.optimiser.param_groups}
    assert found == {0.5 * 0.1 * 0.25, 0.5 * 0.25}
    still = learner()
    still.step(parts(4)[:1], 0.0)
    assert not any(value.any() for value in moved(still).values())


def test_gradients_are_cut_to_a_norm() -> None:
    """Plain SGD: the way is the gradient, so its length is that of the norm."""
    plain = {"momentum": 0.0, "weight_decay": 0.0, "learning_rate": 1.0}
    for limit in (0.5, 1e-3):
        made = learner(optimiser={**plain, "max_gradient": limit})
        before = [p.detach().clone() for p in made.model.parameters()]
        made.step(parts(4)[:1], 1.0)
        way = [p.detach() - b for p, b in zip(made.model.parameters(), before, strict=True)]
        length = math.sqrt(sum(float(step.double().square().sum()) for step in way))
        assert length == pytest.approx(limit, rel=1e-3)


def test_what_is_not_finite_stops_before_the_weights_move() -> None:
    made = learner()
    bias = made.model.network.levels[1].get_submodule("detection")[-1].bias  # type: ignore[index]
    good = bias.data.clone()
    bias.data[4] = math.inf
    before = {k: v.clone() for k, v in made.model.state_dict().items()}
    batch = next(part for part in parts(4) if len(part.ids))
    with pytest.raises(FloatingPointError, match=r"the loss \(total nan, confidence/16 nan\)"):
        made.step([batch], 1.0)
    for name, value in made.model.state_dict().items():
        assert torch.equal(value, before[name])
    bias.data.copy_(good)
    assert math.isfinite(made.step([batch], 1.0)["total"])


def test_a_gradient_that_is_not_finite_stops_too() -> None:
    made = learner()
    kernel = made.model.network.body.get_parameter("third.conv.weight")
    register: Callable[[Callable[[Tensor], Tensor]], object] = kernel.register_hook
    register(lambda gradient: gradient * math.nan)
    before = {k: v.clone() for k, v in made.model.state_dict().items()}
    with pytest.raises(FloatingPointError, match=r"the gradient \(its norm is nan\)"):
        made.step(parts(4)[:1], 1.0)
    for name, value in made.model.state_dict().items():
        assert torch.equal(value, before[name])


def test_averaged_weights_by_hand() -> None:
    """The share of the old average is (1 + n) / (10 + n), at most the decay."""
    made = learner(optimiser={"ema": 0.3, "learning_rate": 0.01}, frozen_norms="none")
    expected: dict[str, Tensor] = {}
    for count, part in enumerate(parts(4)):
        made.step([part], 1.0)
        share = min(0.3, (1 + count) / (10 + count))
        for name, value in made.model.network.state_dict().items():
            new = value.clone().double()
            old = expected.get(name, new)
            counter = name.endswith("num_batches_tracked")
            expected[name] = new if counter else share * old + (1 - share) * new
    assert made.network is not made.model.network
    for name, value in made.network.state_dict().items():
        torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-7)
        if name.endswith("detection.1.weight"):
            assert not torch.equal(value, made.model.network.state_dict()[name])


def test_without_an_average_the_network_itself_is_kept() -> None:
    made = learner()
    assert made.network is made.model.network
    assert made.state()["average"] is None


def test_weights_of_convolutions_lie_channels_last() -> None:
    kernel = learner().model.network.body.get_parameter("third.conv.weight")
    assert kernel.is_contiguous(memory_format=torch.channels_last)
    assert not kernel.is_contiguous()


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_a_restored_learner_goes_on_as_before(name: str) -> None:
    settings = {
        "optimiser": {"name": name, "ema": 0.9},
        "frozen_norms": "none",
        "loss": {"balance": "loss-norm"},
    }
    first, second = learner(**settings), learner(seed=5, **settings)
    batches_ = parts(4)
    first.step(batches_[:1], 1.0)
    first.step(batches_[1:2], 1.0)
    second.load(copy.deepcopy(first.state()))
    for made in (first, second):
        made.step(batches_[2:3], 1.0)
    for one, other in (
        (first.model, second.model),
        (first.network, second.network),
    ):
        for key, value in one.state_dict().items():
            assert torch.equal(value, other.state_dict()[key])


@pytest.mark.parametrize(
    ("device", "mixed", "can", "expected"),
    [
        ("cpu", True, True, torch.bfloat16),
        ("cpu", True, False, None),
        ("cpu", False, True, None),
        ("cuda", True, True, torch.bfloat16),
        ("cuda", True, False, torch.float16),
        ("cuda", False, True, None),
    ],
)
def test_precision(
    device: str,
    mixed: bool,
    can: bool,
    expected: torch.dtype | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx512_bf16": can} if can else {})
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda: can)
    made = learner(mixed_precision=mixed)
    made.device = torch.device(device)
    assert made.half == expected


def test_half_precision_learns_about_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx512_bf16": True})
    whole, half = learner(), learner(mixed_precision=True)
    assert not half.scaler.is_enabled()
    batch = next(part for part in parts(4) if (part.ids >= 0).any())
    exact, rough = whole.step([batch], 1.0), half.step([batch], 1.0)
    assert rough != exact
    assert rough == pytest.approx(exact, rel=0.05)
    for value in half.model.parameters():
        assert value.dtype == torch.float32
