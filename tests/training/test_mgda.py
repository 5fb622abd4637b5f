import numpy as np
import numpy.typing as npt
import pytest
import scipy.optimize
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_network import EMBEDDING_DIM, SIZE, TinyBody
from torch import Tensor

from jdetrt.training.losses.balance import TASKS
from jdetrt.training.losses.loss import JdeLoss
from jdetrt.training.losses.mgda import MgdaUbBalance, head_inputs, min_norm_weights
from jdetrt.training.losses.targets import Targets
from jdetrt.training.network import model
from jdetrt.training.network.model import JdeNetwork
from jdetrt.training.network.pyramid import HeadMaps
from jdetrt.training.recipe import LossConfig

F64 = npt.NDArray[np.float64]


def slsqp(gram: F64) -> F64:
    """The same minimum by a general solver, from the vectors scaled to about 1."""
    scaled = gram / gram.diagonal().max()
    found = scipy.optimize.minimize(
        lambda w: w @ scaled @ w,
        np.full(len(gram), 1 / len(gram)),
        jac=lambda w: 2 * scaled @ w,
        bounds=[(0, 1)] * len(gram),
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    return np.asarray(found.x)


@given(st.integers(0, 10_000), st.floats(-2, 2), st.floats(-2, 2))
@settings(max_examples=50, deadline=None)
def test_two_vectors_in_closed_form(seed: int, first: float, second: float) -> None:
    """Sener and Koltun 2018, algorithm 1."""
    a, b = np.random.default_rng(seed).normal(size=(2, 4)) * [[10**first], [10**second]]
    weight = np.clip((b - a) @ b / ((a - b) @ (a - b)), 0, 1)
    vectors = np.stack([a, b])
    np.testing.assert_allclose(
        min_norm_weights(vectors @ vectors.T), [weight, 1 - weight], rtol=1e-4, atol=1e-6
    )


@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(1, 12), st.floats(0, 2))
@settings(max_examples=50, deadline=None)
def test_as_short_as_the_general_solvers(seed: int, count: int, dim: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(0.3, 1, (count, dim)) * 10 ** rng.uniform(0, spread, (count, 1))
    gram = vectors @ vectors.T
    weights = min_norm_weights(gram)
    assert (weights >= 0).all()
    assert weights.sum() == pytest.approx(1)
    other = slsqp(gram)
    length, expected = (float(w @ gram @ w) for w in (weights, other))
    assert length <= expected * (1 + 1e-3) + 1e-6 * gram.diagonal().max()


def test_shortest_sums_by_hand() -> None:
    assert min_norm_weights(np.empty((0, 0))).tolist() == []
    assert min_norm_weights(np.array([[7.0]])).tolist() == [1]
    assert min_norm_weights(np.ones((2, 2))).sum() == 1  # twice the same vector
    # At right angles: as one over the squared length.
    weights = min_norm_weights(np.diag([1.0, 2.0, 4.0]))
    np.testing.assert_allclose(weights, np.array([4, 2, 1]) / 7, atol=1e-4)
    # One and its opposite, and a third that is not needed.
    vectors = np.array([[1.0, 0, 0], [-2.0, 0, 0], [0, 0, 3.0]])
    np.testing.assert_allclose(min_norm_weights(vectors @ vectors.T), [2 / 3, 1 / 3, 0], atol=1e-6)
    # A vector between zero and the other takes all.
    vectors = np.array([[1.0, 1.0], [3.0, 4.0]])
    assert min_norm_weights(vectors @ vectors.T).tolist() == [1, 0]


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> JdeNetwork:
    monkeypatch.setattr(model, "BODIES", {**model.BODIES, "tiny": TinyBody})
    return model.random_network(3, "tiny", EMBEDDING_DIM)


def images() -> Tensor:
    return torch.rand(2, 3, SIZE[1], SIZE[0], generator=torch.Generator().manual_seed(1))


def some_targets(seed: int = 2) -> list[Targets]:
    """One anchor in seven is a person, in no place in particular."""
    generator = torch.Generator().manual_seed(seed)
    targets = []
    for stride in (32, 16, 8):
        shape = (2, 4, SIZE[1] // stride, SIZE[0] // stride)
        labels = (torch.rand(shape, generator=generator) < 1 / 7).long()
        people = torch.randint(0, 5, (shape[0], *shape[2:]), generator=generator)
        ids = torch.where(labels.amax(1) == 1, people, -1)
        deltas = torch.randn(int(labels.sum()), 4, generator=generator)
        targets.append(Targets(labels, deltas, ids))
    return targets


def test_head_inputs_are_what_the_heads_see(network: JdeNetwork) -> None:
    with head_inputs(network) as shared:
        maps = network(images())
    assert [tuple(feature.shape) for feature in shared] == [
        (2, 8, 3, 4),
        (2, 6, 6, 8),
        (2, 4, 12, 16),
    ]
    for level, feature, head in zip(network.levels, shared, maps, strict=True):
        torch.testing.assert_close(level.get_submodule("embedding")(feature), head.embedding)
        torch.testing.assert_close(level.get_submodule("detection")(feature), head.detection)
    network(images())
    assert len(shared) == 3  # the hooks are gone


def test_head_inputs_of_the_small_body() -> None:
    network = model.random_network(0, "nano", 8)
    with head_inputs(network) as shared, torch.no_grad():
        maps = network(images())
    for level, feature, head in zip(network.levels, shared, maps, strict=True):
        torch.testing.assert_close(level.get_submodule("detection")(feature), head.detection)


def test_weights_are_the_shortest_sum_of_all_nine_gradients(network: JdeNetwork) -> None:
    """Gradients taken from the heads alone, run again on copies of their inputs."""
    torch.manual_seed(0)
    loss = JdeLoss(LossConfig(balance="mgda-ub"), EMBEDDING_DIM, 5)
    assert isinstance(loss.balance, MgdaUbBalance)
    targets = some_targets()
    with head_inputs(network) as shared:
        maps = network(images())
    result = loss(maps, targets, shared)
    weights = loss.balance.weights.double()
    assert weights.sum().item() == pytest.approx(1)

    leaves = [feature.detach().requires_grad_() for feature in shared]
    again = [
        HeadMaps(level.get_submodule("detection")(z), level.get_submodule("embedding")(z))
        for level, z in zip(network.levels, leaves, strict=True)
    ]
    vectors, losses = [], []
    for head in range(3):
        for task in range(3):
            picked = JdeLoss(LossConfig(balance="uniform"), EMBEDDING_DIM, 5)
            picked.identity = loss.identity
            mask = torch.zeros(3, 3)
            mask[head, task] = 1
            picked.balance.register_buffer("weights", mask, persistent=False)
            losses.append(picked(again, targets).total)
            slopes = torch.autograd.grad(losses[-1], leaves, retain_graph=True, allow_unused=True)
            vectors.append(
                torch.cat(
                    [
                        (torch.zeros_like(z) if slope is None else slope).flatten()
                        for z, slope in zip(leaves, slopes, strict=True)
                    ]
                )
            )
    stacked = torch.stack(vectors).double()
    gram = (stacked @ stacked.T).numpy()
    flat = weights.flatten().numpy()
    best = slsqp(gram)
    assert flat @ gram @ flat <= best @ gram @ best * (1 + 1e-3)
    assert flat @ gram @ flat < 0.9 / 81 * gram.sum()  # and not just equal weights
    expected = (weights.flatten() * torch.stack(losses).double()).sum()
    assert result.total.item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_total_can_be_minimised(network: JdeNetwork) -> None:
    network.train()
    loss = JdeLoss(LossConfig(balance="mgda-ub"), EMBEDDING_DIM, 5)
    with head_inputs(network) as shared:
        maps = network(images())
    loss(maps, some_targets(), shared).total.backward()
    for parameter in network.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()


def toy(scales: list[list[float]]) -> tuple[Tensor, list[Tensor]]:
    """Losses ``scale * |shared|`` of heads whose tasks have inputs of their own."""
    shared = [torch.ones(3, requires_grad=True) for _ in scales]
    rows = [
        torch.stack([scale * z[task] for task, scale in enumerate(row)])
        for row, z in zip(scales, shared, strict=True)
    ]
    return torch.stack(rows), shared


def test_absent_and_flat_losses_get_no_weight() -> None:
    balance = MgdaUbBalance(3, len(TASKS))
    losses, shared = toy([[1.0, 2.0, 0.0], [1.0, 0.0, 1.0], [4.0, 1.0, 1.0]])
    present = torch.ones(3, 3, dtype=torch.bool)
    present[2] = False
    total = balance(losses, present, shared)
    expected = np.array([[1, 1 / 4, 0], [1, 0, 1], [0, 0, 0]])
    np.testing.assert_allclose(balance.weights.numpy(), expected / expected.sum(), atol=1e-3)
    torch.testing.assert_close(total, (balance.weights * losses).sum())


def test_nothing_present() -> None:
    balance = MgdaUbBalance(3, len(TASKS))
    losses, shared = toy([[1.0, 1.0, 1.0]] * 3)
    assert balance(losses, torch.zeros(3, 3, dtype=torch.bool), shared).item() == 0
    assert not balance.weights.any()


def test_evaluation_keeps_the_last_weights() -> None:
    balance = MgdaUbBalance(3, len(TASKS))
    present = torch.ones(3, 3, dtype=torch.bool)
    losses, shared = toy([[1.0, 2.0, 4.0]] * 3)
    balance(losses, present, shared)
    restored = MgdaUbBalance(3, len(TASKS)).eval()
    restored.load_state_dict(balance.state_dict())
    with torch.no_grad():
        assert restored(losses, present, ()) == balance.eval()(losses, present, ())


def test_inputs_of_the_heads_are_asked_for() -> None:
    with pytest.raises(ValueError, match="0 inputs of 3 heads"):
        MgdaUbBalance(3, 3)(torch.ones(3, 3), torch.ones(3, 3, dtype=torch.bool), ())
