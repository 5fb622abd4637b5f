import numpy as np
import pytest

from jdetrt.errors import ConfigError
from jdetrt.training.network.anchors import (
    anchor_sizes,
    candidate_cells,
    candidate_priors,
    grids,
    scaled_anchors,
)

# The effective (masked) anchors of the reference's three cfg files, typed in from them.
PUBLISHED = {
    (1088, 608): "128,384 180,540 256,640 512,640 | 32,96 45,135 64,192 90,271 | "
    "8,24 11,34 16,48 23,68",
    (864, 480): "102,305 143,429 203,508 407,508 | 25,76 36,107 51,152 71,215 | "
    "6,19 9,27 13,38 18,54",
    (576, 320): "85,255 120,360 170,420 340,320 | 21,64 30,90 43,128 60,180 | "
    "6,16 8,23 11,32 16,45",
}


@pytest.mark.parametrize("size", PUBLISHED)
def test_published_sizes_have_the_published_anchors(size: tuple[int, int]) -> None:
    expected = [
        [[int(side) for side in anchor.split(",")] for anchor in head.split()]
        for head in PUBLISHED[size].split("|")
    ]
    sizes = anchor_sizes(*size)
    assert sizes.dtype == np.float32
    assert sizes.tolist() == expected


def test_the_rule_gives_the_published_sets_closely() -> None:
    for size in ((1088, 608), (864, 480)):
        assert (scaled_anchors(*size) == anchor_sizes(*size)).all()
    difference = np.abs(scaled_anchors(576, 320) - anchor_sizes(576, 320))
    assert sorted(difference.ravel())[-2:] == [5, 105]  # heights that the reference cut
    assert sorted(difference.ravel())[-3] <= 1


def test_the_rule_grows_with_the_network() -> None:
    sizes = [(32, 32), (320, 192), (640, 352), (896, 512), (1280, 736), (1920, 1088)]
    all_anchors = np.stack([anchor_sizes(*size) for size in sizes])
    assert (all_anchors >= 1).all()
    assert (np.diff(all_anchors, axis=0) >= 0).all()
    # Twice the side outside of the published sizes: twice the anchors, to the pixel.
    assert np.abs(anchor_sizes(2176, 1216) - 2 * anchor_sizes(1088, 608)).max() == 0


@pytest.mark.parametrize("size", [(1088, 600), (1080, 608), (0, 608), (-32, 32)])
def test_other_sizes_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="multiples of 32, for example"):
        anchor_sizes(*size)


@pytest.mark.parametrize("size", [(99968, 608), (32, 8224)])
def test_sizes_that_would_take_all_memory_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="may be 8192 at most"):
        grids(*size)
    assert grids(8192, 8192)


@pytest.mark.parametrize(
    ("size", "cells", "candidates"),
    [((1088, 608), 13566, 54264), ((864, 480), 8505, 34020), ((576, 320), 3780, 15120)],
)
def test_golden_counts(size: tuple[int, int], cells: int, candidates: int) -> None:
    assert sum(columns * rows for columns, rows in grids(*size)) == cells
    assert len(candidate_priors(*size, anchor_sizes(*size))) == candidates
    assert sorted(set(candidate_cells(*size).tolist())) == list(range(cells))


def test_order_of_candidates() -> None:
    # 96x64: heads of 3x2, 6x4 and 12x8 cells.
    sizes = anchor_sizes(96, 64)
    priors = candidate_priors(96, 64, sizes)
    cells = candidate_cells(96, 64)
    # Head /16 (second, after 24 candidates), anchor 2, row 1, column 5.
    i = 24 + 2 * 24 + 1 * 6 + 5
    assert priors[i].tolist() == [80, 16, *sizes[1, 2]]
    assert cells[i] == 6 + 1 * 6 + 5
