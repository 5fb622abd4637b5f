import itertools
import math
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor

from jdetrt.config import STRIDES
from jdetrt.training.data.sample import Batch
from jdetrt.training.losses.loss import JdeLoss
from jdetrt.training.losses.targets import Targets, assign
from jdetrt.training.network.pyramid import HeadMaps
from jdetrt.training.recipe import LossConfig

SIZE = (96, 64)
DIM = 6
ANCHORS = np.array(
    [
        [[20, 40], [28, 60], [40, 62], [64, 40]],
        [[8, 16], [10, 20], [16, 30], [20, 20]],
        [[4, 8], [5, 12], [6, 18], [8, 24]],
    ],
    np.float32,
)
PEOPLE = [
    (32.0, 32.0, 30.0, 58.0, 0, 0),
    (63.0, 33.0, 10.0, 19.0, 1, 0),
    (23.5, 49.0, 5.0, 13.0, 2, 0),
    (34.0, 30.0, 29.0, 60.0, 0, 1),
    (62.5, 32.0, 10.5, 19.0, 1, 1),
    (24.0, 47.0, 5.0, 12.0, -1, 1),
]
NAMES = [f"{task}/{stride}" for stride in STRIDES for task in ("confidence", "box", "identity")]


def some_targets(people: Sequence[tuple[float, ...]] = PEOPLE) -> tuple[Targets, Targets, Targets]:
    rows = torch.tensor(people).reshape(-1, 6)
    batch = Batch(
        images=torch.empty(2, 3, SIZE[1], SIZE[0]),
        boxes=rows[:, :4],
        ids=rows[:, 4].long(),
        image_index=rows[:, 5].long(),
        ignore=torch.empty(0, 4),
        ignore_image_index=torch.empty(0, dtype=torch.int64),
    )
    return assign(batch, ANCHORS)


def random_maps(seed: int = 0, dtype: torch.dtype = torch.float32) -> list[HeadMaps]:
    generator = torch.Generator().manual_seed(seed)

    def draw(channels: int, stride: int) -> Tensor:
        shape = (2, channels, SIZE[1] // stride, SIZE[0] // stride)
        return torch.randn(shape, generator=generator).to(dtype).requires_grad_()

    return [HeadMaps(draw(24, stride), draw(DIM, stride)) for stride in STRIDES]


def test_parts_written_out() -> None:
    """Channel by channel, from the layout that the network documents."""
    torch.manual_seed(0)
    loss = JdeLoss(LossConfig(), DIM, 3)
    maps, targets = random_maps(), some_targets()
    result = loss(maps, targets)
    expected, counts = {}, []
    classifier = loss.identity.get_submodule("classifier")
    for stride, head, target in zip(STRIDES, maps, targets, strict=True):
        confidence, box, identity = [], [], []
        deltas = iter(target.deltas.tolist())
        for n, a, i, j in np.ndindex(target.labels.shape):
            values = head.detection[n, a * 6 : a * 6 + 6, i, j].tolist()
            label = int(target.labels[n, a, i, j])
            if label >= 0:
                other = values[5 - label] - values[4 + label]
                confidence.append(math.log1p(math.exp(other)))
            if label == 1:
                for value, goal in zip(values, next(deltas), strict=False):
                    gap = abs(value - goal)
                    box.append(gap**2 / 2 if gap < 1 else gap - 0.5)
        for n, i, j in np.ndindex(target.ids.shape):
            who = int(target.ids[n, i, j])
            if who >= 0:
                f = head.embedding[n, :, i, j]
                logits = classifier(math.sqrt(2) * math.log(2) * f / f.norm()).tolist()
                identity.append(math.log(sum(map(math.exp, logits))) - logits[who])
        for name, values in (("confidence", confidence), ("box", box), ("identity", identity)):
            expected[f"{name}/{stride}"] = sum(values) / len(values)
        counts.append(len(identity))
    assert counts == sorted(counts)
    assert list(result.parts) == NAMES
    assert result.parts == pytest.approx(expected, rel=1e-5)
    weights = {"confidence": math.exp(4.15), "box": math.exp(4.85), "identity": math.exp(2.3)}
    total = sum(
        0.5 * (weights[name.split("/")[0]] * part - math.log(weights[name.split("/")[0]]))
        for name, part in expected.items()
    )
    assert result.total.item() == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("box", ["smooth-l1", "giou"])
def test_a_perfect_network_loses_nothing(box: str) -> None:
    targets = some_targets()
    maps = []
    for target in targets:
        n, anchors, rows, columns = target.labels.shape
        detection = torch.zeros(n, anchors, rows, columns, 6)
        detection[..., 5] = torch.where(target.labels == 1, 40.0, -40.0)
        detection[..., :4][target.labels == 1] = target.deltas
        detection = detection.permute(0, 1, 4, 2, 3).reshape(n, 24, rows, columns)
        axes = torch.eye(DIM)[target.ids.clamp(min=0)]  # the classifier below knows these
        maps.append(HeadMaps(detection, axes.permute(0, 3, 1, 2)))
    loss = JdeLoss(convert(box=box), DIM, 3)
    classifier = loss.identity.get_submodule("classifier")
    classifier.get_parameter("weight").data = 100 * torch.eye(3, DIM)
    assert loss(maps, targets).parts == pytest.approx(dict.fromkeys(NAMES, 0), abs=1e-6)


def convert(**settings: object) -> LossConfig:
    return msgspec.convert(settings, LossConfig)


@pytest.mark.parametrize("people", [[], [(*PEOPLE[0][:4], -1, 0)], PEOPLE[1:2], PEOPLE])
@pytest.mark.parametrize("identities", [0, 1, 2, 3])
def test_no_choice_gives_nan(people: Sequence[tuple[float, ...]], identities: int) -> None:
    """Nobody, nobody known, one embedding, and a usual batch, with any number of identities."""
    kept = [(*row[:4], row[4] if row[4] < identities else -1, row[5]) for row in people]
    targets = some_targets(kept)
    for settings in (
        {"balance": "uncertainty"},
        {"balance": "uniform", "confidence": "focal", "box": "giou"},
        {"balance": "fixed", "identity": "triplet"},
        {"balance": "loss-norm", "identity": "upper-bound"},
        {"balance": "mgda-ub"},
        {"balance": "mgda-ub", "identity": "triplet", "box": "giou"},
    ):
        loss, maps = JdeLoss(convert(**settings), DIM, identities), random_maps()
        shared = [torch.ones(4, requires_grad=True) for _ in STRIDES]
        tied = [
            HeadMaps(head.detection * z.mean(), head.embedding + z.sum())
            for head, z in zip(maps, shared, strict=True)
        ]
        result = loss(tied, targets, shared)
        result.total.backward()
        assert result.total.isfinite()
        assert all(math.isfinite(part) for part in result.parts.values())
        for parameter in [*itertools.chain(*maps), *loss.parameters()]:
            assert parameter.grad is None or parameter.grad.isfinite().all()


def test_only_what_was_there_is_named() -> None:
    loss = JdeLoss(LossConfig(), DIM, 3)
    assert list(loss(random_maps(), some_targets([])).parts) == [
        "confidence/32",
        "confidence/16",
        "confidence/8",
    ]
    nameless = [(*row[:4], -1, row[5]) for row in PEOPLE]
    parts = loss(random_maps(), some_targets(nameless)).parts
    assert list(parts) == [name for name in NAMES if not name.startswith("identity")]
    # One embedding is no triplet.
    triplets = JdeLoss(convert(identity="triplet"), DIM, 3)
    assert "identity/32" not in triplets(random_maps(), some_targets(PEOPLE[:1])).parts


def test_nameless_people_never_reach_the_identity_loss() -> None:
    loss, maps, targets = JdeLoss(LossConfig(), DIM, 3), random_maps(), some_targets()
    loss(maps, targets).total.backward()
    for head, target in zip(maps, targets, strict=True):
        assert head.embedding.grad is not None
        assert (head.embedding.grad != 0).any(dim=1).equal(target.ids >= 0)


def test_half_precision_maps_are_weighed_in_single() -> None:
    loss = JdeLoss(LossConfig(), DIM, 3)
    half = random_maps(dtype=torch.bfloat16)
    single = [HeadMaps(head.detection.float(), head.embedding.float()) for head in half]
    result = loss(half, some_targets())
    assert result.total.dtype == torch.float32
    assert result.total.item() == loss(single, some_targets()).total.item()
    result.total.backward()


def test_a_restored_loss_is_the_same() -> None:
    first, second = JdeLoss(LossConfig(), DIM, 3), JdeLoss(LossConfig(), DIM, 3)
    second.load_state_dict(first.state_dict())
    maps, targets = random_maps(), some_targets()
    assert first(maps, targets).total.item() == second(maps, targets).total.item()


def test_unknown_names_are_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"Invalid enum value 'median'.*\$.balance"):
        convert(balance="median")
