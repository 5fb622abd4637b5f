import math

import pytest
import torch
from torch import Tensor

from jdetrt.training.losses.detection import cross_entropy, focal, giou, smooth_l1


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(2)


def draw(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)


def some_labels(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randint(-1, 2, shape, generator=generator)


def test_cross_entropy_written_out(generator: torch.Generator) -> None:
    logits, labels = draw(generator, 2, 2, 3, 4), some_labels(generator, 2, 3, 4)
    losses = []
    for n, i, j in (labels >= 0).nonzero().tolist():
        background, foreground = logits[n, :, i, j].tolist()
        right = foreground if labels[n, i, j] else background
        losses.append(math.log(math.exp(background) + math.exp(foreground)) - right)
    assert cross_entropy(logits, labels).item() == pytest.approx(sum(losses) / len(losses))
    torch.testing.assert_close(
        cross_entropy(logits, labels),
        torch.nn.functional.cross_entropy(logits, labels, ignore_index=-1),
    )


def test_focal_written_out(generator: torch.Generator) -> None:
    logits, labels = draw(generator, 2, 2, 3, 4), some_labels(generator, 2, 3, 4)
    total = 0.0
    for n, i, j in (labels >= 0).nonzero().tolist():
        background, foreground = logits[n, :, i, j].tolist()
        p = 1 / (1 + math.exp(background - foreground))
        if labels[n, i, j]:
            total -= 0.25 * (1 - p) ** 2 * math.log(p)
        else:
            total -= 0.75 * p**2 * math.log(1 - p)
    expected = total / int((labels == 1).sum())
    assert focal(logits, labels, 2.0, 0.25).item() == pytest.approx(expected)


def test_focal_without_focus_is_cross_entropy(generator: torch.Generator) -> None:
    logits = draw(generator, 1, 2, 50)
    labels = torch.arange(50)[None] % 2
    torch.testing.assert_close(
        focal(logits, labels, 0.0, 0.5), cross_entropy(logits, labels)
    )  # weight 1/2, but over half as many anchors


def test_focal_of_certain_answers_has_a_gradient() -> None:
    logits = torch.tensor([[[60.0, 60.0], [-60.0, 60.0]]], requires_grad=True)
    for gamma in (1.0, 2.0):
        (slope,) = torch.autograd.grad(focal(logits, torch.tensor([[0, -1]]), gamma, 0.25), logits)
        assert not slope.any()


def test_smooth_l1_is_torchs_mean(generator: torch.Generator) -> None:
    deltas, targets = draw(generator, 7, 4), 3 * draw(generator, 7, 4).detach()
    expected = torch.nn.functional.smooth_l1_loss(deltas, targets)
    torch.testing.assert_close(smooth_l1(deltas, targets), expected)


def test_giou_in_pixels(generator: torch.Generator) -> None:
    """The same from corner coordinates of decoded boxes, one pair at a time."""
    deltas, targets = 0.5 * draw(generator, 20, 4), 0.5 * draw(generator, 20, 4).detach()
    losses = []
    for k, pair in enumerate(zip(deltas.tolist(), targets.tolist(), strict=True)):
        x, y, w, h = 8.0 * k, 100.0 - 16 * k, 11.0 + k, 34.0 + 2 * k  # an anchor
        (a1, b1, a2, b2), (c1, d1, c2, d2) = (
            (
                x + w * dx - w * math.exp(dw) / 2,
                y + h * dy - h * math.exp(dh) / 2,
                x + w * dx + w * math.exp(dw) / 2,
                y + h * dy + h * math.exp(dh) / 2,
            )
            for dx, dy, dw, dh in pair
        )
        overlap = max(min(a2, c2) - max(a1, c1), 0) * max(min(b2, d2) - max(b1, d1), 0)
        union = (a2 - a1) * (b2 - b1) + (c2 - c1) * (d2 - d1) - overlap
        hull = (max(a2, c2) - min(a1, c1)) * (max(b2, d2) - min(b1, d1))
        losses.append(1 - (overlap / union - (hull - union) / hull))
    assert giou(deltas, targets).item() == pytest.approx(sum(losses) / 20)
    assert min(losses) < 0.9
    assert max(losses) > 1.1


def test_giou_of_an_equal_box_is_nothing(generator: torch.Generator) -> None:
    deltas = draw(generator, 5, 4)
    assert giou(deltas, deltas.detach()).item() == pytest.approx(0, abs=1e-12)


def test_giou_of_absurd_boxes_is_finite() -> None:
    deltas = torch.tensor([[0.0, 0.0, 300.0, 300.0], [1e6, 0.0, -300.0, 0.0]], requires_grad=True)
    loss = giou(deltas, torch.zeros(2, 4))
    (slope,) = torch.autograd.grad(loss, deltas)
    assert loss.isfinite()
    assert slope.isfinite().all()


def test_slopes(generator: torch.Generator) -> None:
    """Against finite differences."""
    logits, labels = draw(generator, 2, 2, 3), torch.tensor([[1, 0, -1], [0, 1, 1]])
    assert torch.autograd.gradcheck(lambda x: cross_entropy(x, labels), logits)
    assert torch.autograd.gradcheck(lambda x: focal(x, labels, 2.0, 0.25), logits)
    deltas, targets = draw(generator, 4, 4), draw(generator, 4, 4).detach()
    assert torch.autograd.gradcheck(lambda x: smooth_l1(x, targets), deltas)
    assert torch.autograd.gradcheck(lambda x: giou(x, targets), deltas)


def test_nothing_to_learn_from() -> None:
    logits, nobody = torch.ones(1, 2, 3, requires_grad=True), torch.full((1, 3), -1)
    deltas = torch.ones(0, 4, requires_grad=True)
    for loss, source in (
        (cross_entropy(logits, nobody), logits),
        (focal(logits, nobody, 2.0, 0.25), logits),
        (smooth_l1(deltas, torch.ones(0, 4)), deltas),
        (giou(deltas, torch.ones(0, 4)), deltas),
    ):
        (slope,) = torch.autograd.grad(loss, source)
        assert loss.item() == 0
        assert not slope.any()
