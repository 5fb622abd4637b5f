from collections.abc import Sequence

import numpy as np
import pytest
import slow_targets
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jdetrt.training.data.sample import Batch
from jdetrt.training.losses.targets import Targets, assign
from jdetrt.training.network.anchors import anchor_sizes, candidate_priors
from jdetrt.training.recipe import TargetsConfig

SIZE = (96, 64)  # heads of 3 x 2, 6 x 4 and 12 x 8 cells
PICTURES = 2
ANCHORS = np.array(
    [
        [[20, 40], [28, 60], [40, 62], [64, 40]],
        [[8, 16], [10, 20], [16, 30], [20, 20]],
        [[4, 8], [5, 12], [6, 18], [8, 24]],
    ],
    np.float32,
)


def make(
    boxes: Sequence[Sequence[float]],
    ids: Sequence[int] | None = None,
    images: Sequence[int] | None = None,
    ignore: Sequence[Sequence[float]] = (),
    ignore_image_index: Sequence[int] = (),
    size: tuple[int, int] = SIZE,
    count: int = PICTURES,
) -> Batch:
    return Batch(
        images=torch.empty(count, 3, size[1], size[0]),
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        ids=torch.tensor(range(len(boxes)) if ids is None else ids, dtype=torch.int64),
        image_index=torch.tensor(images or [0] * len(boxes), dtype=torch.int64),
        ignore=torch.tensor(ignore, dtype=torch.float32).reshape(-1, 4),
        ignore_image_index=torch.tensor(ignore_image_index, dtype=torch.int64),
    )


def slow(batch: Batch) -> list[slow_targets.HeadTargets]:
    people = [
        slow_targets.Person(image, identity, (box[0], box[1], box[2], box[3]))
        for image, identity, box in zip(
            batch.image_index.tolist(), batch.ids.tolist(), batch.boxes.tolist(), strict=True
        )
    ]
    regions = [
        slow_targets.Region(image, (box[0], box[1], box[2], box[3]))
        for image, box in zip(batch.ignore_image_index.tolist(), batch.ignore.tolist(), strict=True)
    ]
    return [
        slow_targets.assign_head(
            stride, SIZE, PICTURES, anchors.astype(int).tolist(), people, regions
        )
        for stride, anchors in zip(slow_targets.STRIDES, ANCHORS, strict=True)
    ]


def check(targets: Sequence[Targets], expected: Sequence[slow_targets.HeadTargets]) -> None:
    for got, want in zip(targets, expected, strict=True):
        labels = {tuple(i): int(got.labels[tuple(i)]) for i in np.ndindex(got.labels.shape)}
        assert labels == want.labels
        assert {tuple(i): int(got.ids[tuple(i)]) for i in np.ndindex(got.ids.shape)} == want.ids
        places = sorted(want.deltas)
        assert (got.labels == 1).nonzero().tolist() == [list(place) for place in places]
        deltas = np.array([want.deltas[place] for place in places]).reshape(-1, 4)
        np.testing.assert_allclose(got.deltas.numpy(), deltas, rtol=1e-5, atol=1e-6)


quarters = st.integers(-60, 440).map(lambda n: n / 4)
boxes = st.lists(
    st.tuples(quarters, quarters, st.integers(0, 280), st.integers(0, 280)).map(
        lambda box: (box[0], box[1], box[2] / 4, box[3] / 4)
    ),
    max_size=8,
)


@given(boxes, st.data())
@settings(max_examples=15, deadline=None)
def test_the_slow_version_agrees(people: list[tuple[float, ...]], data: st.DataObject) -> None:
    places = st.lists(st.integers(0, 1), min_size=len(people), max_size=len(people))
    ids = st.lists(st.integers(-1, 5), min_size=len(people), max_size=len(people))
    ignored = data.draw(boxes.map(lambda them: them[:2]))
    corners = [(x, y, x + w, y + h) for x, y, w, h in ignored]
    batch = make(people, data.draw(ids), data.draw(places), corners, [1] * len(corners))
    check(assign(batch, ANCHORS), slow(batch))


def test_people_like_the_anchors_agree_with_the_slow_version() -> None:
    """Boxes near anchors, so that every kind of label comes up many times."""
    rng = np.random.default_rng(0)
    for _ in range(4):
        sizes = ANCHORS.reshape(-1, 2)[rng.integers(0, 12, 12)] * rng.uniform(0.7, 1.4, (12, 2))
        people = np.hstack([rng.uniform(0, SIZE, (12, 2)), sizes])
        people = np.round(people * 4) / 4
        batch = make(
            people.tolist(),
            rng.integers(-1, 9, 12).tolist(),
            rng.integers(0, 2, 12).tolist(),
            [[10, 10, 40.25, 50], [60, 0, 70, 30]],
            [0, 1],
        )
        targets = assign(batch, ANCHORS)
        assert {-1, 0, 1} <= set(torch.cat([t.labels.flatten() for t in targets]).tolist())
        check(targets, slow(batch))


def test_full_size_agrees_with_all_pairs() -> None:
    size = (864, 480)
    anchors = anchor_sizes(*size)
    generator = torch.Generator().manual_seed(0)
    draw = torch.rand(25, 4, generator=generator)
    height = 12 * 40 ** draw[:, 2]
    width = height * (0.2 + 0.5 * draw[:, 3])
    people = torch.stack([draw[:, 0] * 855, draw[:, 1] * 471, width, height], dim=1)
    targets = assign(make(people.tolist(), size=size, count=1), anchors)

    stride = torch.tensor([32] * 4 * 405 + [16] * 4 * 1620 + [8] * 4 * 6480)
    last = torch.tensor(size) - stride[:, None]
    priors = torch.from_numpy(candidate_priors(*size, anchors)).double()
    near = people.double().expand(len(priors), -1, -1).clone()
    near[..., :2] = near[..., :2].minimum(last[:, None])
    half = priors[:, None, 2:] / 2
    low = torch.maximum(near[..., :2] - near[..., 2:] / 2, priors[:, None, :2] - half)
    high = torch.minimum(near[..., :2] + near[..., 2:] / 2, priors[:, None, :2] + half)
    overlap = (high - low).clamp(min=0).prod(2)
    iou = overlap / (near[..., 2:].prod(2) + priors[:, None, 2:].prod(2) - overlap)
    most, owner = iou.max(dim=1)
    labels = torch.where(most > 0.5, 1, torch.where(most > 0.4, -1, 0))
    assert torch.cat([t.labels.flatten() for t in targets]).equal(labels)
    assert (labels == 1).sum() > 100
    found = labels == 1
    owned = near[found, owner[found]]
    deltas = torch.cat(
        [
            (owned[:, :2] - priors[found, :2]) / priors[found, 2:],
            (owned[:, 2:] / priors[found, 2:]).log(),
        ],
        dim=1,
    )
    torch.testing.assert_close(
        torch.cat([t.deltas for t in targets]).double(), deltas, rtol=1e-4, atol=1e-5
    )
    ids = torch.where(found, owner, -1)
    for target, mine in zip(targets, torch.split(ids, [4 * 405, 4 * 1620, 4 * 6480]), strict=True):
        assert target.ids.equal(mine.view(1, 4, *target.ids.shape[1:]).amax(1))


# A box on a corner of the grid, of the width of anchor 10 x 20 of head /16: IoU is height / 20.
@pytest.mark.parametrize(
    ("height", "label"),
    [(7.75, 0), (8, 0), (8.25, -1), (9.75, -1), (10, 0), (10.25, 1), (20, 1), (40, 0), (39, 1)],
)
def test_thresholds_are_strict(height: float, label: int) -> None:
    _, target, _ = assign(make([[32, 32, 10, height]], images=[1]), ANCHORS)
    assert target.labels[1, 1, 2, 2] == label
    assert (target.labels[0] == 0).all()


def test_exact_threshold_at_the_published_anchors() -> None:
    """Half of anchor 64 x 192 of 1088 x 608 is background, not ignored and not foreground."""
    size = (1088, 608)
    for width, label in ((32.0, 0), (32.01, 1), (31.99, -1)):
        batch = make([[320, 320, width, 192]], size=size, count=1)
        assert assign(batch, anchor_sizes(*size))[1].labels[0, 2, 20, 20] == label


def test_a_cell_has_the_largest_id_of_its_anchors() -> None:
    # Anchors 8 x 16 and 20 x 20 of one cell, each with its own person.
    boxes = [[32, 32, 8, 16], [32, 32, 20, 20]]
    for ids in ([3, 7], [7, 3], [-1, 3]):
        _, target, _ = assign(make(boxes, ids), ANCHORS)
        assert target.labels[0, [0, 3], 2, 2].tolist() == [1, 1]
        assert target.ids[0, 2, 2] == max(ids)


def test_the_first_of_two_equal_boxes_is_taken() -> None:
    _, target, _ = assign(make([[32, 32, 10, 20]] * 2, [4, 9]), ANCHORS)
    assert target.ids.max() == 4


def test_a_centre_outside_is_moved_to_the_grid() -> None:
    _, target, _ = assign(make([[-5, 90, 10, 20]], [6]), ANCHORS)
    assert target.labels[0, 1, 3, 0] == 1
    assert target.ids[0, 3, 0] == 6
    first = (target.labels == 1).nonzero().tolist().index([0, 1, 3, 0])
    assert target.deltas[first].tolist() == [0, 0, 0, 0]


def test_regions_to_ignore_leave_foreground_alone() -> None:
    batch = make([[32, 32, 10, 20]], ignore=[[0, 0, 96, 64]], ignore_image_index=[0])
    for target in assign(batch, ANCHORS):
        assert set(target.labels[0].flatten().tolist()) <= {-1, 1}
        assert (target.labels[1] == 0).all()
    assert (assign(batch, ANCHORS)[1].labels == 1).any()


def test_a_region_holds_its_left_and_top_edge_only() -> None:
    target = assign(make([], ignore=[[24, 24, 32, 32]], ignore_image_index=[1]), ANCHORS)[2]
    expected = [[1, anchor, 3, 3] for anchor in range(4)]
    assert (target.labels == -1).nonzero().tolist() == expected


def test_a_region_beside_the_centre_of_an_anchor_like_it_is_ignored() -> None:
    # Anchor 10 x 20 at (32, 32): 95 of 225 square pixels in common.
    batch = make([], ignore=[[32.25, 22, 38.25, 42]], ignore_image_index=[0])
    assert assign(batch, ANCHORS)[1].labels[0, 1, 2, 2] == -1


@pytest.mark.parametrize("force_best", [False, True])
def test_no_boxes(force_best: bool) -> None:
    for target, stride in zip(
        assign(make([]), ANCHORS, TargetsConfig(force_best=force_best)), (32, 16, 8), strict=True
    ):
        assert target.labels.shape == (PICTURES, 4, 64 // stride, 96 // stride)
        assert target.labels.dtype == target.ids.dtype == torch.int64
        assert not target.labels.any()
        assert target.deltas.shape == (0, 4)
        assert (target.ids == -1).all()


def best_iou(box: slow_targets.Box) -> float:
    most = 0.0
    for stride, anchors in zip(slow_targets.STRIDES, ANCHORS.astype(int).tolist(), strict=True):
        rows, columns = SIZE[1] // stride, SIZE[0] // stride
        near = slow_targets.clamped(box, stride, rows, columns)
        for row in range(rows):
            for column in range(columns):
                for w, h in anchors:
                    anchor = (column * stride, row * stride, w, h)
                    most = max(most, float(slow_targets.iou(near, anchor)))
    return most


@given(st.tuples(quarters, quarters, st.integers(1, 280), st.integers(1, 280)))
@settings(max_examples=15, deadline=None)
def test_force_best_gives_one_anchor_the_best(drawn: tuple[float, float, int, int]) -> None:
    box = (drawn[0], drawn[1], drawn[2] / 4, drawn[3] / 4)
    batch = make([box], [5])
    plain, forced = assign(batch, ANCHORS), assign(batch, ANCHORS, TargetsConfig(force_best=True))
    most = best_iou(box)
    number = sum(int((target.labels == 1).sum()) for target in plain)
    assert (number > 0) == (most > 0.5)
    extra = [
        (stride, *place)
        for stride, before, after in zip(slow_targets.STRIDES, plain, forced, strict=True)
        for place in (after.labels != before.labels).nonzero().tolist()
    ]
    assert len(extra) == (0 < most <= 0.5)
    for stride, _, anchor, row, column in extra:
        head = slow_targets.STRIDES.index(stride)
        rows, columns = SIZE[1] // stride, SIZE[0] // stride
        near = slow_targets.clamped(box, stride, rows, columns)
        w, h = ANCHORS[head, anchor].tolist()
        place = (column * stride, row * stride, w, h)
        assert float(slow_targets.iou(near, place)) == pytest.approx(most, rel=1e-6)
        assert forced[head].labels[0, anchor, row, column] == 1
        assert forced[head].ids[0, row, column] == 5
        dx, dy, dw, dh = forced[head].deltas[0].tolist()
        decoded = (column * stride + dx * w, row * stride + dy * h, w * np.exp(dw), h * np.exp(dh))
        assert decoded == pytest.approx(near, abs=1e-3)


def test_force_best_at_exactly_the_threshold() -> None:
    forced = assign(make([[32, 32, 4, 4]]), ANCHORS, TargetsConfig(force_best=True))[2]
    assert (forced.labels == 1).nonzero().tolist() == [[0, 0, 4, 4]]


def test_force_best_takes_nothing_from_others() -> None:
    # The second box has its best anchor, 4 x 8 at (40, 40), where the first is foreground; the
    # third and the fourth both want 20 x 20 at (80, 16), and the fourth overlaps it more.
    boxes = [[40, 40, 4, 8], [40, 40, 2, 5], [80, 16, 22, 8], [80, 16, 22, 9]]
    plain = assign(make(boxes), ANCHORS)
    forced = assign(make(boxes), ANCHORS, TargetsConfig(force_best=True))
    assert forced[2].labels.equal(plain[2].labels)
    assert forced[2].ids.equal(plain[2].ids)
    assert (forced[1].labels != plain[1].labels).nonzero().tolist() == [[0, 3, 1, 5]]
    assert forced[1].ids[0, 1, 5] == 3


def test_boxes_stay_in_their_picture() -> None:
    batch = make([[32, 32, 10, 20], [48, 16, 10, 20]], [1, 2], [1, 0])
    _, target, _ = assign(batch, ANCHORS)
    assert set(target.ids[0].flatten().tolist()) == {-1, 2}
    assert set(target.ids[1].flatten().tolist()) == {-1, 1}


def test_thresholds_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match=r"background_iou 0.6 is above foreground_iou 0.5"):
        TargetsConfig(background_iou=0.6)
