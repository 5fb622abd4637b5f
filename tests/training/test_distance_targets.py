"""Which cells are whose, against the published algorithm written out cell by cell."""

import math
import statistics

import torch

from jdetrt.training.data.sample import Batch
from jdetrt.training.losses.distance_targets import assign_distances
from jdetrt.training.losses.targets import BACKGROUND, FOREGROUND, IGNORED

SIZE = (192, 128)
STRIDES = (32, 16, 8)
Box = tuple[float, float, float, float]


def batch_of(pictures: int, people: list[tuple[int, int, Box]], ignore: list[Box] = []) -> Batch:  # noqa: B006
    return Batch(
        images=torch.zeros(pictures, 3, SIZE[1], SIZE[0]),
        boxes=torch.tensor([box for *_, box in people]).reshape(-1, 4),
        ids=torch.tensor([person for _, person, _ in people], dtype=torch.int64),
        image_index=torch.tensor([picture for picture, *_ in people], dtype=torch.int64),
        ignore=torch.tensor(ignore).reshape(-1, 4),
        ignore_image_index=torch.zeros(len(ignore), dtype=torch.int64),
    )


def slow_owners(boxes: list[Box]) -> dict[tuple[int, int, int], int]:
    """Owner of each foreground cell, (stride, row, column), by arXiv 1912.02424, algorithm 1."""
    claims: dict[tuple[int, int, int], tuple[float, int]] = {}
    for person, (cx, cy, w, h) in enumerate(boxes):
        candidates = []
        for stride in STRIDES:
            cells = [
                (math.hypot((c + 0.5) * stride - cx, (r + 0.5) * stride - cy), stride, r, c)
                for r in range(SIZE[1] // stride)
                for c in range(SIZE[0] // stride)
            ]
            candidates += [cell[1:] for cell in sorted(cells)[:9]]
        fits = []
        for stride, r, c in candidates:
            x, y, half = (c + 0.5) * stride, (r + 0.5) * stride, 2.5 * stride
            wide = min(x + half, cx + w / 2) - max(x - half, cx - w / 2)
            high = min(y + half, cy + h / 2) - max(y - half, cy - h / 2)
            both = max(wide, 0) * max(high, 0)
            fits.append(both / (w * h + (5 * stride) ** 2 - both))
        limit = statistics.mean(fits) + statistics.stdev(fits)
        within = [
            fit
            if abs((c + 0.5) * stride - cx) < w / 2 and abs((r + 0.5) * stride - cy) < h / 2
            else -1
            for (stride, r, c), fit in zip(candidates, fits, strict=True)
        ]
        best = candidates[within.index(max(within))]  # ours: nobody goes without a cell
        for (stride, r, c), fit in zip(candidates, fits, strict=True):
            x, y = (c + 0.5) * stride, (r + 0.5) * stride
            inside = abs(x - cx) < w / 2 and abs(y - cy) < h / 2
            good = (inside and fit >= limit) or (stride, r, c) == best
            if good and fit > claims.get((stride, r, c), (0.0, 0))[0]:
                claims[stride, r, c] = (fit, person)
    return {cell: person for cell, (_, person) in claims.items()}


def test_the_algorithm_written_out() -> None:
    random = torch.Generator().manual_seed(0)
    pictures = []
    for _ in range(6):
        sides = torch.rand(7, 2, generator=random) * torch.tensor([60.0, 90.0]) + 14.3
        middles = torch.rand(7, 2, generator=random) * torch.tensor([191.0, 127.0])
        pictures.append([tuple(box) for box in torch.cat([middles, sides], 1).tolist()])
    people = [
        (n, 10 * n + i, box) for n, boxes in enumerate(pictures) for i, box in enumerate(boxes)
    ]
    found = assign_distances(batch_of(6, people))
    crowded = 0
    for number, boxes in enumerate(pictures):
        owners = slow_owners(boxes)
        crowded += len(owners)
        for stride, target in zip(STRIDES, found, strict=True):
            ids = target.ids[number]
            there = {
                (stride, r, c): int(ids[r, c]) - 10 * number
                for r, c in torch.nonzero(ids >= 0).tolist()
            }
            assert there == {cell: who for cell, who in owners.items() if cell[0] == stride}
            assert torch.equal(target.labels[number, 0] == FOREGROUND, ids >= 0)
    assert crowded > 100


def test_distances_give_the_box_back() -> None:
    box = (70.0, 60.0, 37.0, 90.0)
    found = assign_distances(batch_of(2, [(1, 5, box)]))
    boxes = 0
    for stride, target in zip(STRIDES, found, strict=True):
        cells = torch.nonzero(target.labels[:, 0] == FOREGROUND)
        assert len(cells) == len(target.deltas)
        for (picture, row, column), edges in zip(cells.tolist(), target.deltas, strict=True):
            left, top, right, bottom = (edges * stride).tolist()
            x, y = (column + 0.5) * stride, (row + 0.5) * stride
            assert picture == 1
            assert abs(x - left - (70 - 18.5)) < 1e-3
            assert abs(y - top - (60 - 45)) < 1e-3
            assert abs(x + right - (70 + 18.5)) < 1e-3
            assert abs(y + bottom - (60 + 45)) < 1e-3
            boxes += 1
    assert boxes >= 2


def test_tiny_people_have_a_cell_and_people_without_area_none() -> None:
    found = assign_distances(
        batch_of(1, [(0, 3, (80.0, 64.0, 3.0, 6.0)), (0, 4, (30.0, 30.0, 0.0, 9.0))])
    )
    cells = [int((target.ids == 3).sum()) for target in found]
    assert sum(cells) == 1
    assert cells[2] == 1
    assert all((target.ids != 4).all() for target in found)
    assert all(float(target.deltas.amin()) == 0 for target in found if len(target.deltas))


def test_regions_to_ignore_cover_background_alone() -> None:
    person = (70.0, 60.0, 37.0, 90.0)
    free = assign_distances(batch_of(1, [(0, 5, person)]))
    found = assign_distances(batch_of(1, [(0, 5, person)], [(0.0, 0.0, 96.0, 128.0)]))
    for stride, target, before in zip(STRIDES, found, free, strict=True):
        foreground = before.labels == FOREGROUND
        left = torch.zeros_like(foreground)
        left[..., : 96 // stride] = True
        assert torch.equal(target.labels == FOREGROUND, foreground)
        assert torch.equal(target.labels == IGNORED, left & ~foreground)
        assert torch.equal(target.labels == BACKGROUND, ~left & ~foreground)


def test_nobody() -> None:
    found = assign_distances(batch_of(2, []))
    assert all((target.labels == BACKGROUND).all() for target in found)
    assert [tuple(target.deltas.shape) for target in found] == [(0, 4)] * 3
