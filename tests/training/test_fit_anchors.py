from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jdetrt.errors import ConfigError, DataError
from jdetrt.training.data.datasets import labelled_images
from jdetrt.training.network.anchors import anchor_sizes
from jdetrt.training.network.fit_anchors import fit, network_shapes, recluster, shape_iou

SIDE = st.floats(0.1, 2000)

# Twelve shapes far from each other, areas rising.
APART = np.array(
    [(10 * 2**k, 30 * 2**k) for k in range(6)] + [(90 * 2**k, 9 * 2**k) for k in range(6)]
)


@given(st.tuples(SIDE, SIDE), st.tuples(SIDE, SIDE))
def test_iou_against_boxes_with_one_centre(a: tuple[float, float], b: tuple[float, float]) -> None:
    edges = [(100 - w / 2, 50 - h / 2, 100 + w / 2, 50 + h / 2) for w, h in (a, b)]
    width = min(edges[0][2], edges[1][2]) - max(edges[0][0], edges[1][0])
    height = min(edges[0][3], edges[1][3]) - max(edges[0][1], edges[1][1])
    shared = width * height
    expected = shared / (a[0] * a[1] + b[0] * b[1] - shared)
    assert shape_iou(np.array([a]), np.array([b])).item() == pytest.approx(expected, rel=1e-9)


def test_twelve_shapes_are_found_and_dealt_to_the_heads_by_area() -> None:
    random = np.random.default_rng(0)
    shapes = random.permutation(np.repeat(APART, random.integers(1, 50, 12), axis=0)).astype(float)
    anchors = recluster(shapes)
    by_area = sorted(map(tuple, APART.tolist()), key=lambda shape: shape[0] * shape[1])
    expected = [by_area[8:], by_area[4:8], by_area[:4]]  # /32, /16, /8
    assert [[tuple(one) for one in head] for head in anchors.astype(int).tolist()] == expected
    assert anchors.shape == (3, 4, 2)
    assert anchors.dtype == np.float32
    assert fit(shapes, anchors).mean_iou == fit(shapes, anchors).covered == 1.0


def best_pair(shapes: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
    """Of thirteen shapes, the two whose mean may stand for both at the smallest loss of IoU."""
    results = []
    for i, j in itertools.combinations(range(13), 2):
        rest = [k for k in range(13) if k not in (i, j)]
        centres = np.vstack([shapes[rest], shapes[[i, j]].mean(axis=0)])
        results.append((shape_iou(shapes, centres).max(axis=1).mean(), centres))
    return max(results, key=lambda result: result[0])


@pytest.mark.parametrize("near", range(0, 12, 3))
def test_thirteen_shapes_against_all_ways_to_make_them_twelve(near: int) -> None:
    shapes = 4.0 * np.vstack([APART, APART[near] * [1.1, 1.05]])
    mean_iou, centres = best_pair(shapes)
    anchors = recluster(shapes)
    found = sorted(map(tuple, anchors.reshape(-1, 2).tolist()))
    np.testing.assert_allclose(found, sorted(map(tuple, centres.tolist())), atol=0.5)
    assert fit(shapes, anchors).mean_iou == pytest.approx(mean_iou, abs=2e-3)  # whole pixels


def people(count: int, seed: int) -> npt.NDArray[np.float64]:
    random = np.random.default_rng(seed)
    width = random.lognormal(3.5, 0.8, count)
    return np.stack([width, width * random.normal(2.6, 0.3, count).clip(1)], axis=1)


def test_better_than_the_default_and_the_same_each_time() -> None:
    shapes = people(2000, seed=1)
    anchors = recluster(shapes, seed=3)
    assert np.array_equal(anchors, recluster(shapes, seed=3))
    default = fit(shapes, anchor_sizes(1088, 608))
    found = fit(shapes, anchors)
    assert found.mean_iou > default.mean_iou + 0.02
    assert found.covered > default.covered
    assert found.mean_iou == pytest.approx(
        fit(shapes, recluster(shapes, seed=4)).mean_iou, abs=5e-3
    )
    areas = anchors[::-1].prod(axis=2).ravel()
    assert (np.diff(areas) >= 0).all()
    assert (anchors % 1 == 0).all()


def test_many_boxes_are_sampled() -> None:
    shapes = np.vstack([people(12_000, seed=2), 4 * people(12_000, seed=3)])  # not the first ones
    found = fit(shapes, recluster(shapes))
    assert found.covered > 0.97
    assert fit(shapes[12_000:], recluster(shapes)).covered > 0.97


def test_how_well_anchors_fit_by_hand() -> None:
    anchors = np.tile(np.array([10, 10], np.float32), (3, 4, 1))
    shapes = np.array([[10.0, 10.0], [10.0, 5.0], [40.0, 10.0]])  # IoU 1, 0.5 and 0.25
    result = fit(shapes, anchors)
    assert result.mean_iou == pytest.approx(1.75 / 3)
    assert result.covered == pytest.approx(1 / 3)  # exactly 0.5 is no foreground


def test_too_few_shapes() -> None:
    with pytest.raises(DataError, match="expected boxes of 12 shapes at least, got 11"):
        recluster(np.repeat(APART[:11].astype(float), 5, axis=0))
    with pytest.raises(DataError, match="got 0"):
        recluster(np.empty((0, 2)))


def test_boxes_are_letterboxed(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "labels_with_ids").mkdir()
    for name, size, rows in (
        ("a", (200, 100), "0 1 .5 .5 .1 .5\n0 -1 .5 .5 .2 .2"),
        ("b", (100, 200), "0 1 .5 .5 .1 .5"),
        ("c", (10, 10), ""),
    ):
        cv2.imwrite(f"{tmp_path}/images/{name}.png", np.zeros((*size[::-1], 3), np.uint8))
        (tmp_path / f"labels_with_ids/{name}.txt").write_text(rows)
    shapes = network_shapes([labelled_images(tmp_path)], (96, 64))
    # gains 96 / 200 and 64 / 200
    expected = [[20 * 0.48, 50 * 0.48], [40 * 0.48, 20 * 0.48], [10 * 0.32, 100 * 0.32]]
    np.testing.assert_allclose(shapes, expected, rtol=1e-6)
    assert network_shapes([], (96, 64)).shape == (0, 2)
    with pytest.raises(ConfigError, match="multiples of 32"):
        network_shapes([], (100, 64))
