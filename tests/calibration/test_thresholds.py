"""Histograms and limits, against NumPy, ONNX Runtime's own calibrators and numbers by hand."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnxruntime.quantization.calibrate import HistogramCollector

from jdetrt.calibration.ranges.statistics import BINS, Histogram, bin_edges, count
from jdetrt.calibration.ranges.thresholds import entropy, least_error, percentile
from jdetrt.types import Array

RANDOM = np.random.default_rng(0)
# What tensors of a network look like: before and after activations, clipped, with long tails.
SAMPLES = {
    "normal": RANDOM.normal(0, 1, 200_000),
    "shifted": RANDOM.normal(0.7, 2, 100_000),
    "relu": np.maximum(RANDOM.normal(0, 1, 200_000), 0),
    "relu6": np.clip(RANDOM.normal(3, 3, 200_000), 0, 6),
    "leaky": np.where((x := RANDOM.normal(0, 1, 200_000)) > 0, x, 0.1 * x),
    "negative": -RANDOM.exponential(1, 200_000),
    "laplace": RANDOM.laplace(0, 1, 300_000),
    "tails": RANDOM.standard_t(3, 300_000),
    "tiny": RANDOM.normal(0, 1e-6, 100_000),
}


def histogram(values: Array) -> Histogram:
    values = values.astype(np.float32)
    counts = np.zeros(BINS, np.int64)
    low, high = float(values.min()), float(values.max())
    count(values, max(-low, high), counts)
    return Histogram(counts, low, high)


def collector(method: str, values: Array, *, bins: int, percent: float) -> HistogramCollector:
    made = HistogramCollector(method, method == "percentile", bins, 128, percent, None)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does
        made.collect({"tensor": values.astype(np.float32)})
    return made


def onnxruntime_limit(made: HistogramCollector) -> float:
    with contextlib.redirect_stdout(io.StringIO()):
        low, high = made.compute_collection_result()["tensor"][:2]
    return max(abs(float(low)), abs(float(high)))


@pytest.mark.parametrize("name", ["relu", "leaky", "tails"])
def test_entropy_is_onnx_runtimes(name: str) -> None:
    made = collector("entropy", SAMPLES[name], bins=BINS, percent=99)
    ours = histogram(SAMPLES[name])
    np.testing.assert_array_equal(ours.counts, made.histogram_dict["tensor"][0])
    np.testing.assert_array_equal(ours.edges, made.histogram_dict["tensor"][1])
    assert entropy(ours) == onnxruntime_limit(made)


@pytest.mark.parametrize("percent", [99.999, 99.9, 90, 100])
@pytest.mark.parametrize("name", SAMPLES)
def test_percentile_is_onnx_runtimes(name: str, percent: float) -> None:
    values = np.append(SAMPLES[name], 0)  # its bins begin at the least magnitude, ours at 0
    made = collector("percentile", values, bins=BINS // 2, percent=percent)
    ours = histogram(values)
    counts, edges = ours.magnitudes()
    moved = np.abs(counts - made.histogram_dict["tensor"][0]).sum() / 2
    assert moved < 1e-4 * len(values)  # negative values on an edge, which end up below it
    bin_width = float(edges[1])
    assert percentile(ours, percent) == pytest.approx(onnxruntime_limit(made), abs=bin_width)
    # And that is the percentile, to a bin.
    exact = float(np.percentile(np.abs(values), percent, method="inverted_cdf"))
    assert percentile(ours, percent) == pytest.approx(exact, abs=1.01 * bin_width)


def test_percentile_of_mostly_zeros_is_not_zero() -> None:
    values = np.zeros(1_000_000)
    values[0] = 8
    assert percentile(histogram(values), 99.9) == 8 / (BINS // 2)


@given(
    arrays.arrays(np.float32, st.integers(1, 60), elements=st.floats(-8, 8, width=32)),
    st.floats(0.5, 9, width=32),
)
def test_counts_are_numpys(values: Array, limit: float) -> None:
    inside = values[np.abs(values) <= limit]
    counts = np.zeros(BINS, np.int64)
    count(inside, limit, counts)
    bound = np.float32(limit)
    want, edges = np.histogram(inside, BINS, range=(-bound, bound))
    np.testing.assert_array_equal(counts, want)
    np.testing.assert_array_equal(bin_edges(limit), edges)


def test_what_lies_beyond_the_limit_counts_at_the_ends_and_nan_nowhere() -> None:
    counts = np.zeros(BINS, np.int64)
    count(np.array([[-9, -2], [2, 7], [np.nan, np.inf]], np.float32), 2.0, counts)
    assert counts[0] == 2
    assert counts[-1] == 3
    assert counts.sum() == 5


def test_counts_add_up_over_frames() -> None:
    values = SAMPLES["normal"].astype(np.float32).reshape(4, 5, -1)
    limit = float(np.abs(values).max())
    counts = np.zeros(BINS, np.int64)
    for frame in values:
        count(frame, limit, counts)
    np.testing.assert_array_equal(counts, histogram(values).counts)


def squared_error(values: Array, limit: float) -> float:
    step = limit / 127
    held = np.clip(np.round(values / step), -127, 127) * step
    return float(((values - held) ** 2).sum())


@pytest.mark.parametrize("name", SAMPLES)
def test_least_error_against_the_values_themselves(name: str) -> None:
    values = SAMPLES[name].astype(np.float32).astype(np.float64)
    chosen = least_error(histogram(values))
    largest = float(np.abs(values).max())
    grid = np.linspace(0.07, 1, 200) * largest
    best = min(squared_error(values, limit) for limit in grid)
    assert squared_error(values, chosen) <= 1.01 * best


def test_least_error_by_hand() -> None:
    whole = np.arange(128.0)
    assert least_error(histogram(whole)) == 127  # a step of 1 holds all of them exactly
    # And one of 1270. To hold it, a step is 10, and whole numbers are off by 8.5 squared on
    # average, 8.5 * 128 * 100 = 109 000; a step of 1 loses 1143 squared, 1 306 000. (A little
    # below 1270 a finer step still gains more than the one value loses.)
    few = np.append(np.repeat(whole, 100), 1270)
    assert least_error(histogram(few)) == pytest.approx(1270, rel=0.06)
    # A hundred times as many make it 10 900 000 against 1 306 000. (In steps of 2: 640 000 and
    # 1016 squared, 1 032 000.)
    many = np.append(np.repeat(whole, 10_000), 1270)
    assert least_error(histogram(many)) == pytest.approx(127, rel=0.02)
