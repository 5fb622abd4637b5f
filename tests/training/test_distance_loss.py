"""The losses of edge distances, against their equations written out number by number."""

import math

import pytest
import torch

from jdetrt.training.losses.distance import distance_detection, distribution, overlaps, quality
from jdetrt.training.losses.targets import Targets


def test_quality_focal_loss() -> None:
    # Equation 5 with beta 2, at sigmoid(0) = 0.5 and at sigmoid(log 3) = 0.75.
    found = quality(torch.tensor([0.0, math.log(3)]), torch.tensor([0.8, 0.0]))
    first = 0.3**2 * -(0.2 * math.log(0.5) + 0.8 * math.log(0.5))
    second = 0.75**2 * -math.log(0.25)
    assert found.tolist() == pytest.approx([first, second])


def test_quality_is_least_where_score_and_overlap_agree() -> None:
    logit = torch.tensor([0.3], requires_grad=True)
    torch.autograd.backward(quality(logit, torch.sigmoid(logit.detach())).sum())
    assert logit.grad is not None
    assert float(logit.grad) == pytest.approx(0.0, abs=1e-7)


def test_distribution_focal_loss() -> None:
    edges = torch.zeros(1, 4, 11)
    edges[0, 0, 2], edges[0, 0, 3] = 1.0, 2.0
    wanted = torch.tensor([[2.25, 0.0, 9.99, 5.0]])
    whole = 9 + math.e + math.e**2
    shares = math.e / whole, math.e**2 / whole
    first = -(0.75 * math.log(shares[0]) + 0.25 * math.log(shares[1]))
    assert distribution(edges, wanted).tolist() == pytest.approx(
        [(first + 3 * math.log(11)) / 4], rel=1e-5
    )


@pytest.mark.parametrize("seed", range(3))
def test_overlaps_by_corners(seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    found, wanted = 5 * torch.rand(2, 20, 4, generator=random).double()
    iou, giou = overlaps(found, wanted)
    for k in range(20):
        a = (-found[k, 0], -found[k, 1], found[k, 2], found[k, 3])
        b = (-wanted[k, 0], -wanted[k, 1], wanted[k, 2], wanted[k, 3])
        both = (min(a[2], b[2]) - max(a[0], b[0])) * (min(a[3], b[3]) - max(a[1], b[1]))
        union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
        hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
        assert float(iou[k]) == pytest.approx(float(both / union))
        assert float(giou[k]) == pytest.approx(float(both / union - (hull - union) / hull))


def test_a_perfect_head_has_next_to_no_loss() -> None:
    labels = torch.zeros(1, 1, 2, 3, dtype=torch.int64)
    labels[0, 0, 1, 2], labels[0, 0, 0, 0] = 1, -1
    deltas = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    detection = torch.zeros(1, 45, 2, 3)
    detection[0, 0] = -40.0
    detection[0, 0, 1, 2] = 40.0
    detection[0, 0, 0, 0] = 40.0  # ignored
    for edge, distance in enumerate((1, 2, 3, 4)):
        detection[0, 1 + 11 * edge + distance, 1, 2] = 40.0
    scores, boxes = distance_detection(detection, Targets(labels, deltas, labels[:, 0]))
    assert float(scores) == pytest.approx(0.0, abs=1e-6)
    assert float(boxes) == pytest.approx(0.0, abs=1e-6)
    detection[0, 0, 0, 0], detection[0, 0, 0, 1] = -40.0, 40.0
    worse, _ = distance_detection(detection, Targets(labels, deltas, labels[:, 0]))
    assert float(worse) == pytest.approx(40.0)


def test_learning_reaches_a_box() -> None:
    labels = torch.ones(1, 1, 1, 1, dtype=torch.int64)
    target = Targets(labels, torch.tensor([[0.4, 1.3, 2.6, 7.2]]), labels[:, 0])
    detection = torch.zeros(1, 45, 1, 1, requires_grad=True)
    optimiser = torch.optim.Adam([detection], 0.2)
    for _ in range(300):
        optimiser.zero_grad()
        torch.autograd.backward(sum(distance_detection(detection, target), torch.zeros(())))
        optimiser.step()
    edges = torch.softmax(detection.detach()[0, 1:].view(4, 11), dim=1) @ torch.arange(11.0)
    torch.testing.assert_close(edges, target.deltas[0], rtol=0, atol=0.05)
    assert float(torch.sigmoid(detection.detach()[0, 0])) > 0.9


def test_without_anybody_the_gradient_is_none_but_the_background() -> None:
    labels = torch.zeros(1, 1, 2, 2, dtype=torch.int64)
    detection = torch.zeros(1, 45, 2, 2, requires_grad=True)
    scores, boxes = distance_detection(detection, Targets(labels, torch.zeros(0, 4), labels[:, 0]))
    torch.autograd.backward(scores + boxes)
    assert detection.grad is not None
    assert float(boxes.detach()) == 0
    assert float(detection.grad[:, 1:].abs().sum()) == 0
    assert (detection.grad[:, 0] > 0).all()
