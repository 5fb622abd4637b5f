"""What is said of a row of times."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["summary"]


def summary(milliseconds: Sequence[float] | npt.NDArray[np.float64]) -> dict[str, float]:
    """Mean, standard deviation (of a sample) and percentiles; at least one time.

    >>> {k: round(v, 2) for k, v in summary([1.0, 2.0, 3.0, 4.0]).items()}
    {'mean': 2.5, 'std': 1.29, 'p50': 2.5, 'p90': 3.7, 'p95': 3.85, 'p99': 3.97}
    """
    times = np.asarray(milliseconds, np.float64)
    p50, p90, p95, p99 = np.percentile(times, (50, 90, 95, 99))
    return {
        "mean": float(times.mean()),
        "std": float(times.std(ddof=1)) if len(times) > 1 else 0.0,
        "p50": float(p50),
        "p90": float(p90),
        "p95": float(p95),
        "p99": float(p99),
    }
