"""Which configuration to take: the Pareto front, and the best one that meets the limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jdetrt.errors import ConfigError

__all__ = ["ACCURACIES", "Decision", "decide", "mark_pareto"]

ACCURACIES = ("HOTA", "MOTA", "IDF1", "AP50")


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer.

    Attributes:
        row: of the configuration; None where none meets the limits.
        why: in words.
    """

    row: dict[str, Any] | None
    why: str


def mark_pareto(rows: Sequence[dict[str, Any]], accuracy: str = "HOTA") -> None:
    """Set ``pareto`` in each row: whether no other is as fast and as accurate and better in one.

    It is None where a speed or the accuracy was not measured.

    >>> rows = [
    ...     {"system_fps": 10, "accuracy": {"HOTA": 50}},
    ...     {"system_fps": 20, "accuracy": {"HOTA": 40}},
    ...     {"system_fps": 9, "accuracy": {"HOTA": 45}},
    ...     {"system_fps": 99, "accuracy": None},
    ... ]
    >>> mark_pareto(rows)
    >>> [row["pareto"] for row in rows]
    [True, True, False, None]
    """
    points = [_point(row, accuracy) for row in rows]
    known = [point for point in points if point is not None]
    for row, point in zip(rows, points, strict=True):
        row["pareto"] = None if point is None else not any(_better(o, point) for o in known)


def decide(
    rows: Sequence[dict[str, Any]],
    *,
    min_fps: float | None = None,
    max_watts: float | None = None,
    accuracy: str = "HOTA",
) -> Decision:
    """The most accurate configuration within limits; of equals the faster one.

    Args:
        rows: of a sweep.
        min_fps: of the whole system, reading to writing; the median of the runs counts.
        max_watts: mean power while it runs, of all that the sensors see.
        accuracy: one of ``ACCURACIES``.

    Raises:
        ConfigError: accuracy, or a power that is asked for, was not measured.
    """
    if accuracy not in ACCURACIES:
        raise ConfigError(f"accuracy '{accuracy}': expected {', '.join(ACCURACIES)}")
    judged = [row for row in rows if _point(row, accuracy) is not None]
    if not judged:
        raise ConfigError(f"no configuration has a speed and {accuracy}; sweep with --gt SEQUENCE")
    if max_watts is not None:
        if all(row["watts"] is None for row in judged):
            raise ConfigError(
                "--max-watts: no power was measured on this machine (the result says why, under "
                "absent); leave it out"
            )
        judged = [row for row in judged if row["watts"] is not None]
    fits = [
        row
        for row in judged
        if (min_fps is None or row["system_fps"] >= min_fps)
        and (max_watts is None or row["watts"] <= max_watts)
    ]
    if not fits:
        return Decision(None, _nearest(judged, max_watts))
    best = max(fits, key=lambda row: (row["accuracy"][accuracy], row["system_fps"]))
    slowest = min(run["system_fps"] for run in best["runs"])
    why = (
        f"{accuracy} {best['accuracy'][accuracy]:.1f} at {best['system_fps']:.1f} FPS "
        f"(slowest of {len(best['runs'])} runs: {slowest:.1f})"
    )
    if best["watts"] is not None:
        why += f", {best['watts']:.1f} W ({best['power_of']})"
    return Decision(best, why)


def _nearest(judged: Sequence[dict[str, Any]], max_watts: float | None) -> str:
    fastest = max(row["system_fps"] for row in judged)
    why = f"none meets it: the fastest reaches {fastest:.1f} FPS"
    if max_watts is not None:
        why += f", the most frugal takes {min(row['watts'] for row in judged):.1f} W"
    return why


def _point(row: dict[str, Any], accuracy: str) -> tuple[float, float] | None:
    measured = (row.get("accuracy") or {}).get(accuracy)
    speed = row.get("system_fps")
    return None if measured is None or speed is None else (speed, measured)


def _better(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one != other and one[0] >= other[0] and one[1] >= other[1]
