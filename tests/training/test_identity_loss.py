import math

import pytest
import torch
from torch import Tensor, nn

from jdetrt.training.losses.identity import (
    ClassifierLoss,
    IdentityLoss,
    TripletLoss,
    UpperBoundLoss,
    classifier_scale,
)

IDS = torch.tensor([0, 0, 1, 1, 1, 2])  # of the pool; 2 has no positive
MINE = slice(1, 6)  # the head's part of the pool


def draw(dim: int = 5, count: int = len(IDS), seed: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dim, generator=generator, dtype=torch.float64)


def cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b / (a.norm() * b.norm()))


def differences(pool: Tensor, i: int) -> list[float]:
    """``f.f_j - f.f+`` of every negative j of the i-th embedding."""
    others = [j for j in range(len(pool)) if j != i]
    hardest = min(cosine(pool[i], pool[j]) for j in others if IDS[j] == IDS[i])
    return [cosine(pool[i], pool[j]) - hardest for j in others if IDS[j] != IDS[i]]


def losses() -> list[IdentityLoss]:
    torch.manual_seed(0)
    return [ClassifierLoss(5, 3).double(), TripletLoss(0.3), UpperBoundLoss(16.0)]


def mean_and_number(
    loss: IdentityLoss, f: Tensor, ids: Tensor, pool: Tensor, pool_ids: Tensor
) -> tuple[Tensor, int]:
    counted = loss.counted(ids, pool_ids)
    assert counted.shape == ids.shape
    return loss(f, ids, pool, pool_ids), int(counted.sum())


@pytest.mark.parametrize(
    ("identities", "scale"), [(14455, 13.546365), (520, 8.841527), (2, 1), (1, 1), (0, 1)]
)
def test_golden_scales(identities: int, scale: float) -> None:
    assert classifier_scale(identities) == pytest.approx(scale, abs=1e-6)


def test_cross_entropy_is_torchs() -> None:
    loss, pool = losses()[0], draw()
    assert isinstance(loss, ClassifierLoss)
    unit = pool[MINE] / pool[MINE].norm(dim=1, keepdim=True)
    logits = math.sqrt(2) * math.log(2) * unit @ loss.classifier.weight.T + loss.classifier.bias
    mean, number = mean_and_number(loss, pool[MINE], IDS[MINE], pool, IDS)
    torch.testing.assert_close(mean, nn.functional.cross_entropy(logits, IDS[MINE]))
    assert number == 5


@pytest.mark.parametrize("margin", [0.0, 0.3, 1.5])
def test_triplet_written_out(margin: float) -> None:
    pool = draw()
    expected = [
        sum(max(0.0, difference + margin) for difference in differences(pool, i))
        for i in (1, 2, 3, 4)
    ]
    mean, number = mean_and_number(TripletLoss(margin), pool[MINE], IDS[MINE], pool, IDS)
    assert mean.item() == pytest.approx(sum(expected) / 4)
    assert number == 4


def test_triplet_is_torchs_for_each_negative() -> None:
    pool = draw()
    total = torch.zeros((), dtype=torch.float64)
    for i in (1, 2, 3, 4):
        positives = [j for j in range(6) if j != i and IDS[j] == IDS[i]]
        hardest = min(positives, key=lambda j: cosine(pool[i], pool[j]))
        negatives = pool[IDS[i] != IDS]
        total += nn.functional.triplet_margin_with_distance_loss(
            pool[i].expand_as(negatives),
            pool[hardest].expand_as(negatives),
            negatives,
            distance_function=lambda a, b: -nn.functional.cosine_similarity(a, b),
            margin=0.3,
            reduction="sum",
        )
    mean = TripletLoss(0.3)(pool[MINE], IDS[MINE], pool, IDS)
    torch.testing.assert_close(mean, total / 4)


def test_triplet_by_hand() -> None:
    # On the unit circle at 0, 60 and 180 degrees (one person) and at 90 degrees (another). From 0
    # the hardest positive is at 180 (cosine -1), the negative at cosine 0: 0 + 1 + margin; from 60
    # -1/2 and cos 30; from 180 -1 and 0. Lengths do not matter.
    angles = torch.tensor([0.0, 60.0, 180.0, 90.0]).deg2rad()
    lengths = torch.tensor([1.0, 2.0, 0.5, 7.0])
    f = (lengths * torch.stack([angles.cos(), angles.sin()])).T
    ids = torch.tensor([4, 4, 4, 0])
    mean, number = mean_and_number(TripletLoss(0.25), f, ids, f, ids)
    assert number == 3
    expected = (1.25 + (math.sqrt(3) / 2 + 0.5 + 0.25) + 1.25) / 3
    assert mean.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("scale", [1.0, 16.0])
def test_upper_bound_written_out(scale: float) -> None:
    """Equation 3: minus the log of the positive's share."""
    pool = draw()
    expected = []
    for i in (1, 2, 3, 4):
        others = [j for j in range(6) if j != i]
        positive = min(cosine(pool[i], pool[j]) for j in others if IDS[j] == IDS[i])
        negatives = [cosine(pool[i], pool[j]) for j in others if IDS[j] != IDS[i]]
        top = math.exp(scale * positive)
        expected.append(-math.log(top / (top + sum(math.exp(scale * c) for c in negatives))))
    mean, number = mean_and_number(UpperBoundLoss(scale), pool[MINE], IDS[MINE], pool, IDS)
    assert mean.item() == pytest.approx(sum(expected) / 4)
    assert number == 4


def test_upper_bound_is_above_each_triplet() -> None:
    for seed in range(20):
        pool = draw(seed=seed)
        for i in (1, 2, 3, 4):
            mine = slice(i, i + 1)
            bound = UpperBoundLoss(1.0)(pool[mine], IDS[mine], pool, IDS)
            assert bound.item() > max(0.0, *differences(pool, i))


def test_upper_bound_is_not_above_the_sum_of_triplets() -> None:
    """What equation 1 adds up can be more than equation 2 gives; the docstring says so."""
    f = torch.tensor([[1.0, 0.0], [-1.0, 0.0]] + [[1.0, 0.0]] * 9)
    ids = torch.tensor([0, 0] + [1] * 9)
    triplets = TripletLoss(0.0)(f[:1], ids[:1], f, ids)
    bound = UpperBoundLoss(1.0)(f[:1], ids[:1], f, ids)
    assert triplets.item() == pytest.approx(18)
    assert bound.item() == pytest.approx(math.log(1 + 9 * math.exp(2)))


def test_positives_may_come_from_other_heads() -> None:
    pool = draw()
    for loss in (TripletLoss(2.0), UpperBoundLoss(16.0)):
        alone, number = mean_and_number(loss, pool[1:2], IDS[1:2], pool[1:], IDS[1:])
        assert (alone.item(), number) == (0, 0)
        together, number = mean_and_number(loss, pool[1:2], IDS[1:2], pool, IDS)
        assert together > 0
        assert number == 1


@pytest.mark.parametrize("which", range(3))
def test_slopes(which: int) -> None:
    """Against finite differences, with the pool moving too."""
    loss = losses()[which]
    pool = draw().requires_grad_()
    assert torch.autograd.gradcheck(lambda f: loss(f[MINE], IDS[MINE], f, IDS), pool)


@pytest.mark.parametrize("which", range(3))
def test_nothing_to_learn_from(which: int) -> None:
    loss = losses()[which]
    for count, ids in ((0, []), (1, [2])):
        pool = draw(count=count).requires_grad_()
        ids_ = torch.tensor(ids, dtype=torch.int64)
        mean, number = mean_and_number(loss, pool, ids_, pool, ids_)
        (slope,) = torch.autograd.grad(mean, pool)
        assert slope.isfinite().all()
        if number == 0:
            assert mean.item() == 0
            assert not slope.any()
    assert number == (which == 0)  # a lone embedding is enough for a classifier


@pytest.mark.parametrize("loss", [TripletLoss(0.3), UpperBoundLoss(16.0)])
def test_one_person_alone(loss: nn.Module) -> None:
    pool = draw().requires_grad_()
    ids = torch.zeros(6, dtype=torch.int64)
    mean = loss(pool, ids, pool, ids)
    (slope,) = torch.autograd.grad(mean, pool)
    assert mean.item() == 0
    assert not slope.any()


@pytest.mark.parametrize("identities", [0, 1, 2])
def test_few_identities(identities: int) -> None:
    loss = ClassifierLoss(5, identities).double()
    pool = draw(count=identities)
    ids = torch.arange(identities)
    mean, number = mean_and_number(loss, pool, ids, pool, ids)
    torch.autograd.backward(mean)
    assert mean.isfinite()
    assert number == identities
    assert (mean.item() > 0) == (identities == 2)


def test_a_null_embedding_has_a_finite_slope() -> None:
    for loss in losses():
        pool = draw().index_fill(0, torch.tensor([2]), 0.0).requires_grad_()
        mean = loss(pool[MINE], IDS[MINE], pool, IDS)
        (slope,) = torch.autograd.grad(mean, pool)
        assert slope.isfinite().all()
