"""What changed between two results, and whether it is more than noise.

The runs of a configuration are the sample. Welch's t-test on their logarithms gives an interval for
the ratio of the two; with more than one configuration in the result its level is raised
(Bonferroni), so that a long table has no more false alarms than a short one. A difference is called
one where the interval leaves out zero and the change is at least ``least``: runs of one process
vary less than the machine does from one hour to the next, which no statistics of the runs can know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jdetrt.errors import ConfigError, DataError, MissingDependencyError
from jdetrt.machine.fingerprint import differences

__all__ = ["METRICS", "change", "compare"]

# What is compared: the words for more of it and for less of it.
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
)
_MAY_DIFFER = ("model", "model_sha256")


def compare(
    a: Mapping[str, Any],
    b: Mapping[str, Any],
    *,
    anyway: bool = False,
    confidence: float = 0.95,
    least: float = 0.03,
) -> dict[str, Any]:
    """Compare two results of ``jdetrt bench latency`` or ``sweep``, b with a.

    Args:
        a: before.
        b: after.
        anyway: compare results of different machines or settings too.
        confidence: of all intervals of one kind together, above 0 and below 1.
        least: relative changes below it are no difference.

    Returns:
        JSON-ready: ``changed`` (commit, model), ``not_alike`` (empty unless ``anyway``), and a row
        for each configuration that both have with, for each of ``METRICS`` that both measured,
        the means, the relative ``change`` with its interval, and a ``verdict``; ``accuracy`` has
        both values of each score. ``only_a`` and ``only_b`` name the other configurations.

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
    not_alike = _not_alike(a, b)
    if not_alike and not anyway:
        raise DataError(
            "apples and oranges: these differ in more than what is measured:\n  "
            + "\n  ".join(not_alike)
            + "\n--anyway compares them all the same"
        )
    before, after = _by_name(a), _by_name(b)
    common = [name for name in before if name in after]
    if not common:
        raise DataError(f"no configuration in common: {', '.join(before)} and {', '.join(after)}")
    level = 1 - (1 - confidence) / len(common)
    return {
        "benchmark": "compare",
        "settings": {"confidence": confidence, "least": least},
        "not_alike": not_alike,
        "changed": _changed(a, b),
        "rows": [
            {
                "name": name,
                "metrics": _metrics(before[name], after[name], level, least),
                "accuracy": _accuracy(before[name], after[name]),
            }
            for name in common
        ],
        "only_a": [name for name in before if name not in after],
        "only_b": [name for name in after if name not in before],
    }


def change(
    before: Sequence[float], after: Sequence[float], level: float
) -> tuple[float, float, float]:
    """The relative change of the (geometric) mean, and its interval at a level.

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


def _metrics(
    before: Mapping[str, Any], after: Mapping[str, Any], level: float, least: float
) -> dict[str, Any]:
    found = {}
    for metric, (more, less) in METRICS.items():
        first, second = _values(before, metric), _values(after, metric)
        if not first or not second:
            continue
        entry: dict[str, Any] = {"a": float(np.mean(first)), "b": float(np.mean(second))}
        if len(first) < 2 or len(second) < 2:
            entry |= {"change": entry["b"] / entry["a"] - 1, "verdict": FEW}
        else:
            middle, low, high = change(first, second, level)
            real = (low > 0 or high < 0) and abs(middle) >= least
            verdict = SAME if not real else more if middle > 0 else less
            entry |= {"change": middle, "low": low, "high": high, "verdict": verdict}
        found[metric] = entry
    return found


def _values(row: Mapping[str, Any], metric: str) -> list[float]:
    runs = [run if metric in run else run["power"] for run in row["runs"]]
    return [run[metric] for run in runs if run[metric] is not None]


def _accuracy(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    first, second = before.get("accuracy") or {}, after.get("accuracy") or {}
    return {
        name: {"a": first[name], "b": second[name]}
        for name in first
        if first[name] is not None and second.get(name) is not None
    }


def _by_name(result: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    rows = {}
    for row in result["rows"]:
        if not row.get("runs"):
            continue
        width, height = row["size"]
        parts = [f"{width}x{height}", row.get("precision"), row.get("backend")]
        rows[" ".join(part for part in parts if part)] = row
    if not rows:
        raise DataError("there is nothing to compare: expected results of bench latency or sweep")
    return rows


def _not_alike(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    found = differences(a["machine"], b["machine"])
    if a["benchmark"] != b["benchmark"]:
        found.append(f"benchmark: {a['benchmark']} and {b['benchmark']}")
    return found + _differing(a["settings"], b["settings"], _MUST_AGREE)


def _changed(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    return _differing(a["machine"], b["machine"], ("commit",)) + _differing(
        a["settings"], b["settings"], _MAY_DIFFER
    )


def _differing(a: Mapping[str, Any], b: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    return [
        f"{name}: {a.get(name)} and {b.get(name)}" for name in names if a.get(name) != b.get(name)
    ]
