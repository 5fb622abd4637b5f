"""Clipping limit of a tensor: the largest magnitude that INT8 holds, from a histogram.

Larger values are clipped, which costs; in exchange the steps between all others get finer.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from jdetrt.calibration.ranges.statistics import BINS, Histogram
from jdetrt.runtime.jit import kernel

__all__ = ["LEVELS", "entropy", "least_error", "percentile"]

LEVELS = 127  # of each sign, without zero; -128 is not used
# A range of fewer bins than INT8 has levels cannot be told from a coarser one.
_FEWEST_BINS = LEVELS + 1
_QUANTISED_BINS = 128
_EPSILON = 1e-4


def percentile(histogram: Histogram, percent: float) -> float:
    """Find the magnitude that ``percent`` per cent of the values do not exceed, rounded down.

    As ONNX Runtime's percentile calibrator in its symmetric setting, except that it is never 0: a
    tensor whose values are nearly all 0 keeps the first bin.
    """
    counts, edges = histogram.magnitudes()
    share = np.cumsum(counts / counts.sum())
    at = int(np.searchsorted(share, percent / 100.0))
    return float(edges[min(max(at, 1), len(counts))])


def least_error(histogram: Histogram) -> float:
    """Find the limit with the least squared error of rounding and clipping, over all values.

    Each value stands at the middle of its bin.
    """
    counts, edges = histogram.magnitudes()
    middles = (edges[:-1].astype(np.float64) + edges[1:]) / 2
    limits = edges[_FEWEST_BINS:].astype(np.float64)
    errors = [
        counts @ (middles - step * np.minimum(np.rint(middles / step), LEVELS)) ** 2
        for step in limits / LEVELS
    ]
    return float(limits[int(np.argmin(errors))])


def entropy(histogram: Histogram) -> float:
    """Find the limit with the least Kullback-Leibler divergence from the distribution.

    The method of S. Migacz (8-bit inference with TensorRT, GTC 2017) with 128 quantised bins, in
    the details of ONNX Runtime's entropy calibrator: ranges lie about 0, what is outside counts at
    their ends, and bins left over at the upper end, where 128 do not divide it, count as empty.
    """
    half = BINS // 2
    divergences = _divergences(histogram.counts, _QUANTISED_BINS, _EPSILON)
    bins = int(np.argmin(divergences)) + _QUANTISED_BINS // 2
    edges = histogram.edges
    # A range has one bin more above 0 than below, and none reaches beyond the values.
    below = min(-float(edges[half - bins]), -histogram.low)
    above = min(float(edges[min(half + bins + 1, BINS)]), histogram.high)
    return max(below, above)


@kernel
def _divergences(counts: Any, levels: int, epsilon: float) -> Any:
    """The divergence of each range: the first has ``levels / 2`` bins below 0, the last all."""
    half = len(counts) // 2
    below = np.zeros(len(counts) + 1, np.int64)
    below[1:] = np.cumsum(counts)
    found = np.empty(half - levels // 2 + 1)
    reference = np.empty(len(counts))
    quantised = np.empty(len(counts))
    for bins in range(levels // 2, half + 1):
        start, end = half - bins, min(half + bins + 1, len(counts))
        size = end - start
        reference[:size] = counts[start:end]
        reference[0] += below[start]
        reference[size - 1] += below[-1] - below[end]
        merged = size // levels
        quantised[:size] = 0
        for level in range(levels):
            first, after = level * merged, (level + 1) * merged
            if level == levels - 1:
                total = below[end] - below[start + first]
            else:
                total = below[start + after] - below[start + first]
            filled = 0
            for i in range(first, after):
                filled += reference[i] != 0
            if filled:
                for i in range(first, after):
                    # Whole counts, as ONNX Runtime keeps them.
                    quantised[i] = total // filled
        found[bins - levels // 2] = _divergence(reference[:size], quantised[:size], epsilon)
    return found


@kernel
def _divergence(reference: Any, quantised: Any, epsilon: float) -> float:
    """Kullback-Leibler divergence of two histograms, their empty bins filled with ``epsilon``."""
    size = len(reference)
    filled = np.zeros(2)
    sums = np.zeros(2)
    for i in range(size):
        filled[0] += reference[i] != 0
        filled[1] += quantised[i] != 0
        sums[0] += reference[i]
        sums[1] += quantised[i]
    if filled[0] == 0 or filled[1] == 0:
        return np.inf
    # What the empty bins get, the others lose, so the sums stay.
    loss = epsilon * (size - filled) / filled
    result = 0.0
    for i in range(size):
        p = reference[i] - loss[0] if reference[i] != 0 else epsilon
        q = quantised[i] - loss[1] if quantised[i] != 0 else epsilon
        p, q = p / sums[0], q / sums[1]
        result += p * np.log(p / q)
    return result
