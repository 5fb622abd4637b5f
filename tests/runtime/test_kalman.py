"""The batched filter against the golden values of the reference and the full 8x8 filter."""

from __future__ import annotations

import numpy as np
import pytest
import slow_kalman
from hypothesis import given
from hypothesis import strategies as st

from jdetrt.runtime.tracking import kalman

NOISE = kalman.REFERENCE_NOISE
SLOT, ROW = np.array([0]), np.array([0])


def start(*xyah: float) -> tuple[np.ndarray, np.ndarray]:
    mean, cov = np.zeros((1, 8)), np.zeros((1, 4, 3))
    kalman.initiate(mean, cov, SLOT, np.array([xyah]), ROW, NOISE)
    return mean, cov


def test_golden_values_of_the_reference() -> None:
    mean, cov = start(100.0, 200.0, 0.5, 80.0)
    assert cov[0, :, 0] == pytest.approx([64, 64, 1e-4, 64])
    assert cov[0, :, 2] == pytest.approx([25, 25, 1e-10, 25])
    kalman.predict(mean, cov, SLOT, NOISE, 1.0)
    assert mean[0, :4] == pytest.approx([100, 200, 0.5, 80])
    assert cov[0, :, 0] == pytest.approx([105, 105, 2e-4, 105], rel=1e-4)
    assert cov[0, 0, 1] == pytest.approx(25)
    assert cov[0, [0, 1, 3], 2] == pytest.approx([25.25] * 3)

    z = np.array([[104, 203, 0.52, 82], [130, 200, 0.5, 80], [100, 200, 0.5, 80]], float)
    gate = kalman.gating_distance(mean, cov, SLOT, z, NOISE)
    assert gate[0] == pytest.approx([0.278885107, 7.438016529, 0.0])

    kalman.update(mean, cov, SLOT, z, ROW, NOISE)
    assert mean[0] == pytest.approx(
        # x, y, a, h and their velocities
        [
            103.47107438,
            202.603305785,
            0.500392157,
            81.73553719,
            0.826446281,
            0.619834711,
            0,
            0.41322314,
        ],
        abs=1e-8,
    )
    assert cov[0, [0, 1, 3], 0] == pytest.approx([13.884297521] * 3)
    assert cov[0, 2, 0] == pytest.approx(1.96079e-4, rel=1e-5)
    assert cov[0, [0, 1, 3], 2] == pytest.approx([20.084710744] * 3)
    assert cov[0, 0, 1] == pytest.approx(3.305785124)

    kalman.predict(mean, cov, SLOT, NOISE, 1.0)
    assert mean[0, :4] == pytest.approx([104.297520661, 203.223140496, 0.500392157, 82.148760331])
    assert cov[0, :, 0] == pytest.approx([57.282323612, 57.282323612, 2.96079e-4, 57.282323612])
    assert cov[0, 0, 2] == pytest.approx(20.345675511)


boxes = st.tuples(
    st.floats(0, 4000), st.floats(0, 3000), st.floats(0.1, 2.0), st.floats(5.0, 2000.0)
)


@given(st.lists(st.tuples(boxes, st.booleans()), min_size=2, max_size=12))
def test_equals_the_full_filter(steps: list[tuple[tuple[float, ...], bool]]) -> None:
    """Any run of predictions and corrections; the blocks hold all that the 8x8 matrix holds."""
    first = np.array(steps[0][0])
    mean, cov = start(*first)
    full_mean, full_cov = slow_kalman.initiate(first)
    for box, corrected in steps[1:]:
        if full_mean[3] < 1.0:
            return  # the height has been extrapolated away: the noise is no longer defined
        kalman.predict(mean, cov, SLOT, NOISE, 1.0)
        full_mean, full_cov = slow_kalman.predict(full_mean, full_cov)
        if corrected:
            z = np.array([box])
            assert kalman.gating_distance(mean, cov, SLOT, z, NOISE)[0] == pytest.approx(
                slow_kalman.gating_distance(full_mean, full_cov, z), rel=1e-6
            )
            kalman.update(mean, cov, SLOT, z, ROW, NOISE)
            full_mean, full_cov = slow_kalman.update(full_mean, full_cov, z[0])
        assert mean[0] == pytest.approx(full_mean, rel=1e-7, abs=1e-7)
        blocks = np.zeros((8, 8))
        for i in range(4):
            blocks[i, i], blocks[i, i + 4], blocks[i + 4, i + 4] = cov[0, i]
            blocks[i + 4, i] = cov[0, i, 1]
        assert blocks == pytest.approx(full_cov, rel=1e-6, abs=1e-9)


def test_touches_only_the_slots_named() -> None:
    mean, cov = np.ones((3, 8)), np.ones((3, 4, 3))
    kalman.predict(mean, cov, np.array([1]), NOISE, 1.0)
    kalman.update(mean, cov, np.array([1]), np.full((1, 4), 5.0), ROW, NOISE)
    assert (mean[[0, 2]] == 1).all()
    assert (cov[[0, 2]] == 1).all()
    assert (mean[1] != 1).any()


def test_boxes_are_corners() -> None:
    mean, _ = start(100.0, 200.0, 0.5, 80.0)
    assert kalman.boxes_of(mean, SLOT).tolist() == [[80.0, 160.0, 120.0, 240.0]]
