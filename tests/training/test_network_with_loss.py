"""What is trained, what is frozen, and at which rate."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_runs import ALONE, SomePeople, learn_tiny_body, small_recipe
from tiny_network import EMBEDDING_DIM, SIZE
from torch import nn

from jdetrt.errors import ConfigError
from jdetrt.training.batches import batches
from jdetrt.training.learner import NetworkWithLoss, optimiser, set_prior
from jdetrt.training.losses.targets import assign
from jdetrt.training.network import model
from jdetrt.training.network.anchors import network_anchors
from jdetrt.training.recipe import LossConfig, OptimiserConfig, Recipe

BODY_NORMS, ALL_NORMS = 5, 5 + 3 * 7


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    learn_tiny_body(monkeypatch)


def with_loss(**settings: Any) -> NetworkWithLoss:
    network = model.random_network(0, "tiny", EMBEDDING_DIM)
    return NetworkWithLoss(network, small_recipe(**settings), 12).train()


def norms(module: nn.Module) -> list[nn.BatchNorm2d]:
    return [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]


@pytest.mark.parametrize("frozen", ["none", "scales", "body", "all"])
def test_frozen_norms(frozen: str) -> None:
    made = with_loss(frozen_norms=frozen)
    body, every = norms(made.network.body), norms(made.network)
    rest = [norm for norm in every if norm not in body]
    assert body
    assert rest
    for part, scales, statistics in (
        (body, frozen == "none", frozen in ("none", "scales")),
        (rest, frozen in ("none", "body"), frozen != "all"),
    ):
        for norm in part:
            assert norm.weight.requires_grad == norm.bias.requires_grad == scales
            assert norm.training == statistics
    assert not any(norm.training for norm in norms(made.eval()))
    assert any(norm.training for norm in norms(made.train())) == (frozen != "all")


@pytest.mark.parametrize("frozen", ["none", "scales", "body", "all"])
def test_norms_whose_statistics_move_are_synchronised(frozen: str) -> None:
    made = with_loss(frozen_norms=frozen)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    moving = {name for name, m in made.named_modules() if m in norms(made) and m.training}
    made.synchronise_norms()
    found = {name for name, m in made.named_modules() if isinstance(m, nn.SyncBatchNorm)}
    assert found == moving
    made.train()
    for name, module in made.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            assert module.training == (name in moving)
    assert made.state_dict().keys() == before.keys()
    assert all(torch.equal(made.state_dict()[name], value) for name, value in before.items())


def test_frozen_weights_by_patterns_of_their_names() -> None:
    made = with_loss(
        frozen=["network.body.first.[0-1].*", "*.bias", "loss.balance.*"], frozen_norms="none"
    )
    for name, parameter in made.named_parameters():
        frozen = name.startswith(("network.body.first.0.", "network.body.first.1.", "loss.balance"))
        assert parameter.requires_grad == (not (frozen or name.endswith(".bias"))), name
    assert made.network.body.get_parameter("first.2.conv.weight").requires_grad


def test_what_is_frozen_keeps_the_statistics_of_its_norms() -> None:
    made = with_loss(frozen=["network.body.*", "network.levels.0.*"], frozen_norms="none").train()
    for name, module in made.network.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.training == (not name.startswith(("body.", "levels.0."))), name


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_the_optimiser_has_all_that_is_not_frozen(name: str) -> None:
    made = with_loss(frozen=["network.body.second.*"], frozen_norms="none")
    config = OptimiserConfig(
        name=name,  # type: ignore[arg-type]
        learning_rate=0.02,
        body_rate=0.25,
        momentum=0.8,
        weight_decay=0.03,
    )
    found: dict[int, float] = {}
    for group in optimiser(made, config).param_groups:
        assert group["weight_decay"] == 0.03
        assert (group["momentum"] if name == "sgd" else group["betas"][0]) == 0.8
        found |= {id(parameter): group["base"] for parameter in group["params"]}
    for path, parameter in made.named_parameters():
        expected = 0.02 * 0.25 if path.startswith("network.body.") else 0.02
        if path.startswith("network.body.second."):
            assert id(parameter) not in found
        else:
            assert found[id(parameter)] == pytest.approx(expected)


def test_a_frozen_body_leaves_the_rest() -> None:
    made = with_loss(frozen=["network.body.*"])
    bases = [
        group["base"] for group in optimiser(made, OptimiserConfig(body_rate=0.1)).param_groups
    ]
    assert set(bases) == {0.01}


@pytest.mark.parametrize("body", ["tiny", "nano"])
def test_every_anchor_starts_with_the_prior(body: str) -> None:
    network = model.random_network(0, body, EMBEDDING_DIM)
    before = [level.get_submodule("detection") for level in network.levels]
    boxes = [list(m.children())[-1].get_parameter("bias").view(4, 6)[:, :4].clone() for m in before]
    set_prior(network, 0.01)
    for level, old in zip(network.levels, boxes, strict=True):
        bias = list(level.get_submodule("detection").children())[-1].get_parameter("bias")
        scores = bias.view(4, 6)[:, 4:].softmax(dim=1)[:, 1]
        torch.testing.assert_close(scores, torch.full((4,), 0.01))
        assert torch.equal(bias.view(4, 6)[:, :4], old)


def test_losses_are_single_precision_whatever_the_network_is() -> None:
    made = with_loss()
    recipe = small_recipe()
    batch = next(batches(SomePeople(16), recipe.augment, SIZE, 4, 0, 0, 0))
    targets = assign(batch, network_anchors(recipe.network), recipe.targets)
    single = made(batch.images, targets, None)
    half = made(batch.images, targets, torch.bfloat16)
    assert single.total.dtype == half.total.dtype == torch.float32
    assert single.total.item() != half.total.item()
    assert half.total.item() == pytest.approx(single.total.item(), rel=0.02)
    assert ALONE.first


def test_body_and_classifier_have_rates_of_their_own() -> None:
    config = OptimiserConfig(learning_rate=0.5, body_rate=0.25, classifier_rate=4.0)
    made = with_loss(frozen_norms="none")
    groups = optimiser(made, config).param_groups
    rates = {id(p): group["base"] for group in groups for p in group["params"]}
    expected = {
        "network.body": 0.125,
        "network.levels": 0.5,
        "loss.identity": 2.0,
        "loss.balance": 0.5,
    }
    seen = set()
    for name, parameter in made.named_parameters():
        part = ".".join(name.split(".")[:2])
        assert rates[id(parameter)] == expected[part], name
        seen.add(part)
    assert seen == set(expected)


def test_a_balance_of_shared_inputs_needs_tasks_that_share_them() -> None:
    recipe = Recipe(loss=LossConfig(balance="mgda-ub"))
    with pytest.raises(ConfigError, match=r"loss\.balance: mgda-ub .* of the body 'nano'"):
        NetworkWithLoss(model.random_network(0, "nano", 8), recipe, 3)
