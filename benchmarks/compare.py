"""Changes between two results, and whether they are more than noise.

The runs of a configuration are the sample. Welch's t-test on their logarithms gives an interval for
the ratio of the two; with more than one configuration in the result its level is raised
(Bonferroni), so that a long table has no more false alarms than a short one. A difference is called
one where the interval leaves out zero and the change is at least ``least``: runs of one process
vary less than the machine does from one hour to the next, which no statistics of the runs can know.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from jdetrt.benchmarks.result import Result, Row
from jdetrt.errors import ConfigError, DataError, MissingDependencyError
from jdetrt.machine.manifest import differences

__all__ = ["METRICS", "Change", "Comparison", "RowChange", "change", "compare"]

# Metrics that are compared: the words for more of it and for less of it.
METRICS = {
    "system_fps": ("faster", "slower"),
    "engine_fps": ("faster", "slower"),
    "association_fps": ("faster", "slower"),
    "paper_fps": ("faster", "slower"),
    "watts": ("more", "less"),
    "joules_per_frame": ("more", "less"),
}
SAME = "no difference"
FEW = "too few runs"
_MUST_AGREE = (
    *("source", "frames", "warm_up", "video", "backend", "provider", "preset", "top_k", "gt"),
    "trained_size",
)
_MAY_DIFFER = ("model", "model_sha256")


class Change(msgspec.Struct, kw_only=True):
    """Means of a metric before and after, the relative change and its interval."""

    a: float
    b: float
    change: float
    low: float | None = None
    high: float | None = None
    verdict: str


class Pair(msgspec.Struct):
    """One score before and after."""

    a: float
    b: float


class RowChange(msgspec.Struct):
    """Changes of one configuration, by metric and by score."""

    name: str
    metrics: dict[str, Change]
    accuracy: dict[str, Pair]


class Comparison(msgspec.Struct, kw_only=True):
    """Comparison of two results.

    Attributes:
        not_alike: machine and settings that differ; empty unless it was compared ``anyway``.
        changed: commit and model.
        rows: configurations that both have.
        only_a: names of configurations of the first alone.
        only_b: of the second alone.
    """

    benchmark: str = "compare"
    settings: dict[str, float]
    not_alike: list[str]
    changed: list[str]
    rows: list[RowChange]
    only_a: list[str]
    only_b: list[str]


def compare(
    a: Result[Any],
    b: Result[Any],
    *,
    anyway: bool = False,
    confidence: float = 0.95,
    least: float = 0.03,
) -> Comparison:
    """Compare two results of ``jdetrt bench latency`` or ``sweep``, b with a.

    Args:
        a: before.
        b: after.
        anyway: compare results of different machines or settings too.
        confidence: of all intervals of one kind together, above 0 and below 1.
        least: relative changes below it are no difference.

    Raises:
        ConfigError: a number is out of its range.
        DataError: the two are not alike, or have no configuration in common.
        MissingDependencyError: SciPy is not installed.
    """
    if not 0 < confidence < 1 or not 0 <= least < 1:
        raise ConfigError(
            f"expected a confidence between 0 and 1 and a least change from 0 to 1, got "
            f"{confidence} and {least}"
        )
    not_alike = differences(a.machine, b.machine)
    if a.benchmark != b.benchmark:
        not_alike.append(f"benchmark: {a.benchmark} and {b.benchmark}")
    not_alike += _differing(a.settings, b.settings, _MUST_AGREE)
    if not_alike and not anyway:
        raise DataError(
            "the results are not comparable, because they differ in:\n  "
            + "\n  ".join(not_alike)
            + "\nUse --anyway to compare them nevertheless"
        )
    before, after = _by_name(a), _by_name(b)
    common = [name for name in before if name in after]
    if not common:
        raise DataError(f"no configuration in common: {', '.join(before)} and {', '.join(after)}")
    level = 1 - (1 - confidence) / len(common)
    return Comparison(
        settings={"confidence": confidence, "least": least},
        not_alike=not_alike,
        changed=_differing(a.machine, b.machine, ("commit",))
        + _differing(a.settings, b.settings, _MAY_DIFFER),
        rows=[
            RowChange(
                name,
                _metrics(before[name], after[name], level, least),
                _accuracy(before[name], after[name]),
            )
            for name in common
        ],
        only_a=[name for name in before if name not in after],
        only_b=[name for name in after if name not in before],
    )


def change(
    before: Sequence[float], after: Sequence[float], level: float
) -> tuple[float, float, float]:
    """Relative change of the (geometric) mean, and its interval at a level.

    Args:
        before: two values or more, above 0.
        after: the same.
        level: between 0 and 1.

    Raises:
        MissingDependencyError: SciPy is not installed.

    >>> middle, low, high = change([10.0, 10.2, 9.9], [20.0, 20.3, 19.8], 0.95)
    >>> round(middle, 2), low < 1.0 < high
    (1.0, True)
    """
    try:
        from scipy.stats import ttest_ind
    except ImportError as err:
        raise MissingDependencyError("scipy", "bench", "Comparing results") from err
    first, second = np.log(before), np.log(after)
    middle = float(second.mean() - first.mean())
    if not first.std() + second.std() > 1e-12:  # exactly repeatable: there is no noise
        return (float(np.expm1(middle)),) * 3
    interval = ttest_ind(second, first, equal_var=False).confidence_interval(level)
    return (
        float(np.expm1(middle)),
        float(np.expm1(interval.low)),
        float(np.expm1(interval.high)),
    )


def _metrics(before: Row, after: Row, level: float, least: float) -> dict[str, Change]:
    changes = {}
    for metric, (more, less) in METRICS.items():
        first, second = _values(before, metric), _values(after, metric)
        if not first or not second:
            continue
        a, b = float(np.mean(first)), float(np.mean(second))
        if len(first) < 2 or len(second) < 2:
            changes[metric] = Change(a=a, b=b, change=b / a - 1, verdict=FEW)
        else:
            middle, low, high = change(first, second, level)
            real = (low > 0 or high < 0) and abs(middle) >= least
            verdict = SAME if not real else more if middle > 0 else less
            changes[metric] = Change(a=a, b=b, change=middle, low=low, high=high, verdict=verdict)
    return changes


def _values(row: Row, metric: str) -> list[float]:
    values = (getattr(run if hasattr(run, metric) else run.power, metric) for run in row.runs)
    return [value for value in values if value is not None]


def _accuracy(before: Row, after: Row) -> dict[str, Pair]:
    return {
        name: Pair(a, b)
        for name, a in (before.accuracy or {}).items()
        if a is not None and (b := after.score(name)) is not None
    }


def _by_name(result: Result[Any]) -> dict[str, Row]:
    rows = {
        " ".join(
            part for part in (str(row.size), row.name, row.precision, row.backend) if part
        ): row
        for row in result.measured
    }
    if not rows:
        raise DataError("there is nothing to compare: expected results of bench latency or sweep")
    return rows


def _differing(a: object, b: object, names: Sequence[str]) -> list[str]:
    pairs = ((name, getattr(a, name, None), getattr(b, name, None)) for name in names)
    return [f"{name}: {first} and {second}" for name, first, second in pairs if first != second]
