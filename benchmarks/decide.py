"""Which configuration to take: the Pareto front, and the best one that meets the limits.

The rule: a configuration meets the limits if its slowest run, and the run of the highest power, do.
Of those, the ones are taken whose accuracy differs from the best by no more than noise, unless one
of them beats another by more than noise in HOTA, MOTA or IDF1 and loses in none. What is left
counts as equally accurate: the fastest wins, and of equally fast ones the smaller network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

from jdetrt.benchmarks.result import ACCURACIES, PERTURBED, Answer, Result, Row, counted
from jdetrt.errors import ConfigError

__all__ = ["SINGLE_RUN", "Decision", "answer_of", "decide", "limits", "mark_pareto", "noise"]

# Standard deviation of a score that was measured once, in percentage points: the largest one of
# thirty perturbed runs of a model in benchmarks/results/int8-nano.json. Average precision does not
# depend on which of two people a track follows, so it has none.
SINGLE_RUN = {"HOTA": 1.15, "MOTA": 0.34, "IDF1": 2.08}
_LEAST = 0.5  # percentage points: smaller differences decide nothing, however sure they are


@dataclass(frozen=True, slots=True)
class Decision:
    """A recommended row and the question that it answers.

    Attributes:
        row: None where no configuration meets the limits.
        why: the reason, in words.
        equals: other rows within the limits that are as accurate.
        accuracy: the score that it goes by.
        min_fps: limit, or None.
        max_watts: limit, or None.
    """

    row: Row | None
    why: str
    equals: tuple[Row, ...] = ()
    accuracy: str = "HOTA"
    min_fps: float | None = None
    max_watts: float | None = None

    def record(self) -> Answer:
        """The decision as a result keeps it."""
        return Answer(
            accuracy=self.accuracy,
            min_fps=self.min_fps,
            max_watts=self.max_watts,
            configuration=None if self.row is None else str(self.row),
            deploy=None if self.row is None else self.row.deploy,
            why=self.why,
            equals=[str(row) for row in self.equals],
        )


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
    """Choose the most accurate configuration within limits by the rule above.

    Args:
        rows: of a sweep.
        min_fps: of the whole system, reading to writing; the slowest run counts.
        max_watts: mean power while it runs, of all that the sensors see; the highest run counts.
        accuracy: one of ``ACCURACIES``; the mean over perturbed boxes where there is one.

    Raises:
        ConfigError: accuracy, or a power that has a limit, was not measured.
    """
    if accuracy not in ACCURACIES:
        raise ConfigError(f"accuracy '{accuracy}': expected {', '.join(ACCURACIES)}")
    judged = [row for row in rows if _point(row, accuracy) is not None]
    if not judged:
        raise ConfigError(f"no configuration has a speed and {accuracy}; sweep with --gt SEQUENCE")
    if max_watts is not None:
        judged = [row for row in judged if row.highest_watts is not None]
        if not judged:
            raise ConfigError(
                "--max-watts: no power was measured on this machine (the result says why, under "
                "absent); leave it out"
            )
    omitted = len(rows) - len(judged)
    note = f"; {counted(omitted, 'configuration')} could not be judged" if omitted else ""
    candidates = [row for row in judged if _within(row, min_fps, max_watts)]
    if not candidates:
        why = _nearest(judged, max_watts) + note
        return Decision(None, why, (), accuracy, min_fps, max_watts)
    equals = _equals(candidates, accuracy)
    best = max(equals, key=lambda row: (row.fps, -row.pixels, row.require(accuracy)))
    others = tuple(row for row in equals if row is not best)
    why = _reason(best, accuracy, len(others)) + note
    return Decision(best, why, others, accuracy, min_fps, max_watts)


def answer_of(result: Result[Any]) -> Answer | None:
    """Give the answer that a result keeps; for one that keeps none that without limits.

    None where no accuracy was measured.
    """
    accuracy = getattr(result.settings, "accuracy", "HOTA")
    if result.answer is not None or all(_point(row, accuracy) is None for row in result.measured):
        return result.answer
    return decide(result.measured, accuracy=accuracy).record()


def limits(answer: Answer) -> str:
    """Limits of an answer in words."""
    parts = []
    if answer.min_fps is not None:
        parts.append(f"at least {answer.min_fps:g} FPS")
    if answer.max_watts is not None:
        parts.append(f"at most {answer.max_watts:g} W")
    return f"{' and '.join(parts)} in every run" if parts else "none"


def noise(one: Row, other: Row, name: str) -> float:
    """Largest difference of two rows in a score that decides nothing, in percentage points.

    It is the standard deviation of a single run, because less than that is not seen in use, and
    twice the standard error of the difference of the two means, which may be larger by chance.
    """
    spreads = [_spread(row, name) for row in (one, other)]
    single = sqrt(sum(deviation**2 for deviation, _ in spreads) / 2)
    error = sqrt(sum(deviation**2 / runs for deviation, runs in spreads))
    return max(_LEAST, single + 2 * error)


def _spread(row: Row, name: str) -> tuple[float, int]:
    """Standard deviation of a single run, and how many runs the score is the mean of."""
    deviation = row.deviation(name)
    if deviation is None or row.perturbed is None:
        return SINGLE_RUN.get(name, 0.0), 1
    return deviation, len(row.perturbed[name])


def _within(row: Row, min_fps: float | None, max_watts: float | None) -> bool:
    if min_fps is not None and row.slowest < min_fps:
        return False
    return max_watts is None or (row.highest_watts is not None and row.highest_watts <= max_watts)


def _equals(rows: Sequence[Row], accuracy: str) -> list[Row]:
    """Rows as accurate as the best, in the chosen score and, between them, in the others."""
    top = max(rows, key=lambda row: row.require(accuracy))
    near = [
        row
        for row in rows
        if top.require(accuracy) - row.require(accuracy) <= noise(top, row, accuracy)
    ]
    return [row for row in near if not any(_surpasses(other, row) for other in near)]


def _surpasses(one: Row, other: Row) -> bool:
    """Tell whether a row is better in a tracking score by more than noise, and worse in none."""
    signs = []
    for name in PERTURBED:
        mine, yours = one.score(name), other.score(name)
        if mine is not None and yours is not None and abs(mine - yours) > noise(one, other, name):
            signs.append(mine > yours)
    return any(signs) and all(signs)


def _reason(row: Row, accuracy: str, others: int) -> str:
    runs = counted(len(row.runs), "run")
    why = f"{accuracy} {row.require(accuracy):.1f} at {row.fps:.1f} FPS "
    why += f"(slowest of {runs}: {row.slowest:.1f})"
    if row.watts is not None:
        why += f", {row.watts:.1f} W ({row.power_of})"
    if others:
        noun = "another configuration is" if others == 1 else f"{others} other configurations are"
        why += f"; {noun} as accurate within noise and not faster"
    return why


def _nearest(judged: Sequence[Row], max_watts: float | None) -> str:
    fastest = max(row.slowest for row in judged)
    why = f"none meets the limits: the fastest reaches {fastest:.1f} FPS in its slowest run"
    if max_watts is not None:
        lowest = min(row.highest_watts for row in judged if row.highest_watts is not None)
        why += f", the lowest power is {lowest:.1f} W"
    return why


def _point(row: Row, accuracy: str) -> tuple[float, float] | None:
    score = row.score(accuracy)
    return None if score is None or row.system_fps is None else (row.system_fps, score)


def _better(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one != other and one[0] >= other[0] and one[1] >= other[1]
