"""A histogram of one tensor over all frames, of a size that does not grow with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from jdetrt.runtime.jit import kernel

__all__ = ["BINS", "Histogram", "bin_edges", "count"]

# From -limit to limit. So 2048 of them are of one sign, as many as NVIDIA's calibration has
# (S. Migacz, 8-bit inference with TensorRT, GTC 2017).
BINS = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """How often a tensor had which value.

    Attributes:
        counts: ``(BINS,)`` int64, from ``-limit`` to ``limit``.
        low: the least value that there was.
        high: the largest.
    """

    counts: npt.NDArray[np.int64]
    low: float
    high: float

    @property
    def limit(self) -> float:
        """The largest magnitude that there was."""
        return max(-self.low, self.high)

    @property
    def edges(self) -> npt.NDArray[np.float32]:
        """``(BINS + 1,)`` float32, ascending."""
        return bin_edges(self.limit)

    def magnitudes(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """The same without signs: ``(BINS / 2,)`` counts, ``(BINS / 2 + 1,)`` edges from 0 on."""
        half = BINS // 2
        return self.counts[half:] + self.counts[:half][::-1], self.edges[half:]


def bin_edges(limit: float) -> npt.NDArray[np.float32]:
    """The edges that ``numpy.histogram`` has for float32 from ``-limit`` to ``limit``."""
    bound = np.float32(limit)
    return np.linspace(-bound, bound, BINS + 1, dtype=np.float32)


def count(values: npt.NDArray[np.float32], limit: float, counts: npt.NDArray[np.int64]) -> None:
    """Add values to a histogram, each to the bin that ``numpy.histogram`` puts it into.

    Args:
        values: of any shape, C-contiguous; those beyond the limit go to the outermost bins, NaN
            nowhere.
        limit: above 0.
        counts: ``(BINS,)`` int64, added to in place.
    """
    _count(values.reshape(-1), bin_edges(limit), counts)


@kernel
def _count(values: Any, edges: Any, counts: Any) -> None:
    last = len(counts) - 1
    lowest = edges[0]
    per_value = len(counts) / (np.float64(edges[-1]) - lowest)
    for value in values:
        if np.isnan(value):
            continue
        place = (np.float64(value) - lowest) * per_value
        i = int(min(max(place, 0.0), float(last)))
        # The place is rounded, the edges decide. A bin has its lower edge, the last has both.
        if i > 0 and value < edges[i]:
            i -= 1
        elif i < last and value >= edges[i + 1]:
            i += 1
        counts[i] += 1
