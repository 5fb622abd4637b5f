"""Contents of a report: the columns of its table, and what it says in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from jdetrt.benchmarks.result import Result, Row
from jdetrt.errors import DataError
from jdetrt.machine.manifest import Machine

__all__ = [
    "COLUMNS",
    "RULE",
    "Column",
    "accuracy_line",
    "cell",
    "columns",
    "facts",
    "failures",
    "findings",
    "machine_line",
    "measured_rows",
    "ranking",
    "score_text",
]

RULE = (
    "A configuration meets the limits if its slowest run and its run of the highest power do. Of "
    "those, all count as equally accurate whose score differs from the best by no more than noise "
    "(the standard deviation of a single run, and twice the standard error of the difference), "
    "unless another of them is better in HOTA, MOTA or IDF1 by more than noise and worse in none. "
    "Of equally accurate ones the fastest is recommended."
)


class Column(NamedTuple):
    """A column of the table: its title, its value in a row, and the format of the value."""

    title: str
    value: Callable[[Row], Any]
    form: str = ".1f"


# The ones that decide come first.
COLUMNS = (
    Column("Configuration", str, ""),
    Column("System FPS", lambda row: row.system_fps),
    Column("Slowest", lambda row: row.slowest),
    Column("HOTA", lambda row: row.score("HOTA")),
    Column("MOTA", lambda row: row.score("MOTA")),
    Column("IDF1", lambda row: row.score("IDF1")),
    Column("AP50", lambda row: row.score("AP50")),
    Column("Watts", lambda row: row.watts),
    Column("Pareto", lambda row: None if row.pareto is None else "yes" if row.pareto else "no", ""),
    Column("J per frame", lambda row: row.joules_per_frame, ".3f"),
    Column("Fastest", lambda row: row.fastest),
    Column("Engine FPS", lambda row: row.engine_fps),
    Column("Association FPS", lambda row: row.association_fps),
    Column("Paper's FPS", lambda row: row.paper_fps),
    Column("Frame p99 ms", lambda row: row.runs[-1].frame_ms.p99),
)


def columns(result: Result[Any]) -> list[Column]:
    """Columns of a result: the score that its recommendation goes by before the other scores."""
    score = ranking(result)
    ranks = {"Configuration": 0, "System FPS": 1, "Slowest": 2, score: 3}
    return sorted(COLUMNS, key=lambda column: ranks.get(column.title, 4))


def cell(column: Column, row: Row) -> str:
    """Text of a cell; a score with the standard deviation of its runs, where there are several."""
    value = column.value(row)
    if value is None:
        return "–"
    deviation = row.deviation(column.title)
    return format(value, column.form) + ("" if deviation is None else f" ±\u00a0{deviation:.1f}")


def score_text(row: Row, name: str) -> str | None:
    """A score as in its cell; None where it was not measured."""
    value = row.score(name)
    return None if value is None else cell(Column(name, lambda row: row.score(name)), row)


def measured_rows(result: Result[Any]) -> list[Row]:
    """Rows that have runs. Raises DataError where there are none."""
    if not result.measured:
        raise DataError("there is nothing to report: expected a result of bench sweep or latency")
    return result.measured


def ranking(result: Result[Any]) -> str:
    """Name of the score that the Pareto front goes by."""
    return str(getattr(result.settings, "accuracy", "HOTA"))


def machine_line(machine: Machine) -> str:
    """Processor, GPUs, clocks and date."""
    board = machine.jetson
    parts = [board.model, board.power_mode] if board else [machine.cpu]
    parts += [gpu.name for gpu in machine.gpus]
    locked = machine.locked
    state = "unknown" if locked is None else "locked" if locked else "not locked"
    parts += [f"clocks {state}", machine.date]
    return ", ".join(part for part in parts if part)


def accuracy_line(result: Result[Any]) -> str:
    """The sequence that accuracy was measured on, and of how many runs a score is the mean."""
    rows = [row for row in result.measured if row.accuracy is not None]
    if not rows:
        return "Accuracy was not measured."
    runs = min(len((row.perturbed or {}).get("HOTA", ())) for row in rows)
    of = f"mean ± standard deviation of {runs} runs over slightly perturbed boxes"
    return f"Accuracy on {result.settings.gt}: {of if runs else 'a single run'}."


def findings(result: Result[Any]) -> list[str]:
    """Sentences about a result: the fastest, the Pareto front, accuracy and power."""
    rows = measured_rows(result)
    fastest = max(rows, key=lambda row: row.fps)
    lines = [f"Fastest: {fastest} with {fastest.fps:.1f} FPS."]
    front = sorted((row for row in rows if row.pareto), key=lambda row: row.fps)
    if front:
        lines.append(f"Best trade-offs (Pareto front): {'; '.join(map(str, front))}.")
    if result.machine.locked is False:
        lines.append(
            "The clocks were not locked: speeds may differ from run to run (`sudo jetson_clocks` "
            "on a Jetson)."
        )
    unsteady = [row for row in rows if any(run.steady is False for run in row.runs)]
    if unsteady:
        lines.append(f"The GPU's clock was not steady: {'; '.join(map(str, unsteady))}.")
    lines.append(accuracy_line(result))
    if all(row.watts is None for row in rows):
        absent = rows[0].runs[-1].power.absent
        why = "; ".join(f"{name}: {reason}" for name, reason in absent.items())
        lines.append(f"Power was not measured ({why}).")
    return lines


def failures(result: Result[Any]) -> list[str]:
    """Reasons why rows were not measured, each with the names of its rows."""
    reasons: dict[str, list[str]] = {}
    for row in result.rows:
        if row.error:
            # Messages begin with the configuration that they are about.
            reasons.setdefault(row.error.replace(f"{row}: ", ""), []).append(str(row))
    return [f"{', '.join(names)}: {reason}" for reason, names in reasons.items()]


def facts(result: Result[Any]) -> Iterable[tuple[str, str]]:
    """Machine and settings, by name."""
    for part in (result.machine, result.settings):
        for name, value in msgspec.to_builtins(part).items():
            yield name, _words(value)


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_words(one)}" for name, one in value.items())
    if isinstance(value, list):
        return "; ".join(_words(one) for one in value) or "none"
    return "unknown" if value is None else str(value)
