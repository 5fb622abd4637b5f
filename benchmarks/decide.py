"""Which configuration to take: the Pareto front, and the best one that meets the limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jdetrt.benchmarks.result import ACCURACIES, Row, counted
from jdetrt.errors import ConfigError

__all__ = ["Decision", "decide", "mark_pareto"]


@dataclass(frozen=True, slots=True)
class Decision:
    """A recommended row, None where none meets the limits, and the reason in words."""

    row: Row | None
    why: str


def mark_pareto(rows: Sequence[Row], accuracy: str = "HOTA") -> None:
    """Set ``pareto`` in each row: whether no other is as fast and as accurate and better in one.

    It is None where a speed or the accuracy was not measured.

    >>> points = [(10, 50.0), (20, 40.0), (9, 45.0), (99, None)]
    >>> rows = [Row(size=None, system_fps=fps, accuracy={"HOTA": hota}) for fps, hota in points]
    >>> mark_pareto(rows)
    >>> [row.pareto for row in rows]
    [True, True, False, None]
    """
    points = [_point(row, accuracy) for row in rows]
    known = [point for point in points if point is not None]
    for row, point in zip(rows, points, strict=True):
        row.pareto = None if point is None else not any(_better(other, point) for other in known)


def decide(
    rows: Sequence[Row],
    *,
    min_fps: float | None = None,
    max_watts: float | None = None,
    accuracy: str = "HOTA",
) -> Decision:
    """Choose the most accurate configuration within limits; of equals the faster one.

    Args:
        rows: of a sweep.
        min_fps: of the whole system, reading to writing; the median of the runs counts.
        max_watts: mean power while it runs, of all that the sensors see.
        accuracy: one of ``ACCURACIES``.

    Raises:
        ConfigError: accuracy, or a power that has a limit, was not measured.
    """
    if accuracy not in ACCURACIES:
        raise ConfigError(f"accuracy '{accuracy}': expected {', '.join(ACCURACIES)}")
    judged = [(row, point) for row in rows if (point := _point(row, accuracy)) is not None]
    if not judged:
        raise ConfigError(f"no configuration has a speed and {accuracy}; sweep with --gt SEQUENCE")
    if max_watts is not None:
        judged = [(row, point) for row, point in judged if row.watts is not None]
        if not judged:
            raise ConfigError(
                "--max-watts: no power was measured on this machine (the result says why, under "
                "absent); leave it out"
            )
    candidates = [
        (row, fps, score)
        for row, (fps, score) in judged
        if (min_fps is None or fps >= min_fps)
        and (max_watts is None or (row.watts is not None and row.watts <= max_watts))
    ]
    if not candidates:
        return Decision(None, _nearest([row for row, _ in judged], max_watts))
    best, fps, score = max(candidates, key=lambda candidate: (candidate[2], candidate[1]))
    runs = counted(len(best.runs), "run")
    why = f"{accuracy} {score:.1f} at {fps:.1f} FPS (slowest of {runs}: {best.slowest:.1f})"
    if best.watts is not None:
        why += f", {best.watts:.1f} W ({best.power_of})"
    return Decision(best, why)


def _nearest(judged: Sequence[Row], max_watts: float | None) -> str:
    why = f"none meets the limits: the fastest reaches {max(row.fps for row in judged):.1f} FPS"
    if max_watts is not None:
        lowest = min(row.watts for row in judged if row.watts is not None)
        why += f", the lowest power is {lowest:.1f} W"
    return why


def _point(row: Row, accuracy: str) -> tuple[float, float] | None:
    score = row.score(accuracy)
    return None if score is None or row.system_fps is None else (row.system_fps, score)


def _better(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one != other and one[0] >= other[0] and one[1] >= other[1]
