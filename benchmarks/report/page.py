"""Report of a result as a page and as Markdown.

The page is one file: no script, style, font or image comes from elsewhere, so it opens offline
and can be sent around. It contains the whole result, to be downloaded again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

import msgspec

from jdetrt.benchmarks.paper_numbers import NOTE, beside_paper
from jdetrt.benchmarks.report.charts import (
    accuracy_chart,
    power_chart,
    series_names,
    speed_chart,
    stage_chart,
)
from jdetrt.benchmarks.result import Result, Row
from jdetrt.benchmarks.stages import STAGES
from jdetrt.errors import DataError
from jdetrt.machine.manifest import Machine
from jdetrt.svg import COLOURS

__all__ = ["COLUMNS", "failures", "html_report", "markdown_report", "measured_rows"]

_PAGE = Path(__file__).parent / "static"


class Column(NamedTuple):
    """A column of the table: its title, its value in a row, and the format of the value."""

    title: str
    value: Callable[[Row], Any]
    form: str = ".1f"


COLUMNS = (
    Column("Configuration", str, ""),
    Column("System FPS", lambda row: row.system_fps),
    Column("Slowest", lambda row: row.slowest),
    Column("Fastest", lambda row: row.fastest),
    Column("Engine FPS", lambda row: row.engine_fps),
    Column("Association FPS", lambda row: row.association_fps),
    Column("Paper's FPS", lambda row: row.paper_fps),
    Column("Frame p99 ms", lambda row: row.runs[-1].frame_ms.p99),
    Column("HOTA", lambda row: row.score("HOTA")),
    Column("MOTA", lambda row: row.score("MOTA")),
    Column("IDF1", lambda row: row.score("IDF1")),
    Column("AP50", lambda row: row.score("AP50")),
    Column("Watts", lambda row: row.watts),
    Column("J per frame", lambda row: row.joules_per_frame, ".3f"),
    Column("Pareto", lambda row: None if row.pareto is None else "yes" if row.pareto else "no", ""),
)


def measured_rows(result: Result[Any]) -> list[Row]:
    """Rows that have runs. Raises DataError where there are none."""
    if not result.measured:
        raise DataError("there is nothing to report: expected a result of bench sweep or latency")
    return result.measured


def ranking(result: Result[Any]) -> str:
    """Name of the score that the Pareto front goes by."""
    return str(getattr(result.settings, "accuracy", "HOTA"))


def html_report(result: Result[Any]) -> str:
    """Render the page. Raises DataError where no row was measured."""
    rows = measured_rows(result)
    names = series_names(rows)
    template = Template((_PAGE / "report.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(_title(result)),
        style=(_PAGE / "report.css").read_text(encoding="utf-8") + _colours(),
        subtitle=escape(_machine_line(result.machine)),
        summary="".join(f"<p>{escape(line)}</p>" for line in _findings(rows)),
        keys="".join(_key(index, name) for index, name in enumerate(names)),
        charts=_charts(rows, ranking(result)),
        heads="".join(
            f'<th scope="col"><button type="button">{escape(column.title)}</button></th>'
            for column in COLUMNS
        ),
        rows="".join(_table_row(row, names) for row in rows),
        failed=_failed(result),
        paper=_paper_table(rows),
        facts="".join(
            f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
            for name, value in _facts(result)
        ),
        # "<" could begin the end of the script.
        data=msgspec.json.encode(result).decode().replace("<", "\\u003c"),
        script=(_PAGE / "report.js").read_text(encoding="utf-8"),
    )


def markdown_report(result: Result[Any]) -> str:
    """Render the table and the machine as Markdown. Raises DataError as ``html_report``."""
    rows = measured_rows(result)
    lines = [f"# {_title(result)}", "", _machine_line(result.machine), ""]
    lines += [*_findings(rows), ""]
    lines.append("| " + " | ".join(column.title for column in COLUMNS) + " |")
    lines.append("|---|" + "---:|" * (len(COLUMNS) - 1))
    lines += ["| " + " | ".join(_cell(column, row) for column in COLUMNS) + " |" for row in rows]
    table = beside_paper(rows)
    if table:
        head, *body = table
        lines += ["", NOTE, "", "| " + " | ".join(head) + " |"]
        lines.append("|---|" + "---:|" * (len(head) - 1))
        lines += ["| " + " | ".join(cells) + " |" for cells in body]
    failed = [f"- {line}".replace("\n", " ") for line in failures(result)]
    if failed:
        lines += ["", "Not measured:", "", *failed]
    lines += ["", "| | |", "|---|---|"]
    lines += [f"| {name} | {value} |".replace("\n", " ") for name, value in _facts(result)]
    return "\n".join(lines) + "\n"


def _title(result: Result[Any]) -> str:
    return f"{result.settings.model} on {result.settings.source}: {result.benchmark}"


def _machine_line(machine: Machine) -> str:
    board = machine.jetson
    parts = [board.model, board.power_mode] if board else [machine.cpu]
    parts += [gpu.name for gpu in machine.gpus]
    locked = machine.locked
    state = "unknown" if locked is None else "locked" if locked else "not locked"
    parts += [f"clocks {state}", machine.date]
    return ", ".join(part for part in parts if part)


def _findings(rows: Sequence[Row]) -> list[str]:
    fastest = max(rows, key=lambda row: row.fps)
    lines = [f"Fastest: {fastest} with {fastest.fps:.1f} FPS."]
    front = sorted((row for row in rows if row.pareto), key=lambda row: row.fps)
    if front:
        lines.append(f"Best trade-offs (Pareto front): {'; '.join(map(str, front))}.")
    else:
        lines.append("Accuracy was not measured.")
    if all(row.watts is None for row in rows):
        absent = rows[0].runs[-1].power.absent
        why = "; ".join(f"{name}: {reason}" for name, reason in absent.items())
        lines.append(f"Power was not measured ({why}).")
    return lines


def _charts(rows: Sequence[Row], accuracy: str) -> str:
    scores, power = accuracy_chart(rows, accuracy), power_chart(rows)
    return "".join(
        (
            _section(
                "Speed against network size",
                speed_chart(rows),
                _soft("Error bars: slowest to fastest run."),
            ),
            _section(
                f"{accuracy} against speed",
                scores,
                _soft("Dashed line: Pareto front." if scores else "Accuracy was not measured."),
            ),
            _section("Where a frame's time goes", stage_chart(rows), _stage_key()),
            _section(
                f"Power of {rows[0].power_of or 'the machine'}",
                power,
                _soft("Mean during the run." if power else "No power sensor could be read."),
            ),
        )
    )


def _section(title: str, chart: str | None, note: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{chart or ''}{note}</section>"


def _soft(text: str) -> str:
    return f'<p class="soft">{escape(text)}</p>'


def _stage_key() -> str:
    swatches = (f'<span><i class="swatch stage-{name}"></i>{name}</span>' for name in STAGES)
    return f'<div class="stages">{"".join(swatches)}</div>'


def _colours() -> str:
    """CSS rules of series and stages: a variable each, in both colour schemes."""
    rules = [
        f".s{k}{{stroke:var(--s{k});fill:var(--s{k})}}rect.s{k}{{stroke:none}}"
        for k in range(COLOURS)
    ]
    # The network takes most of the time and is grey, so that the rest of a bar can be told apart.
    colours = {"network": "var(--soft)"}
    others = [name for name in STAGES if name not in colours]
    for index, name in enumerate(others):
        share = 100 if index < COLOURS else 45
        colours[name] = f"color-mix(in srgb, var(--s{index % COLOURS}) {share}%, var(--card))"
    rules += [f".stage-{name}{{fill:{one};background:{one}}}" for name, one in colours.items()]
    return "".join(rules)


def _key(index: int, name: str) -> str:
    return (
        f'<button type="button" aria-pressed="true" data-key="{index}">'
        f'<i class="swatch" style="background: var(--s{index % COLOURS})"></i>'
        f"{escape(name)}</button>"
    )


def _table_row(row: Row, names: Sequence[str]) -> str:
    cells = []
    for column in COLUMNS:
        value = column.value(row)
        raw = "" if value is None else value
        cells.append(f'<td data-value="{escape(str(raw))}">{escape(_cell(column, row))}</td>')
    front = ' class="front-row"' if row.pareto else ""
    series = names.index(row.series)
    return f'<tr{front} data-series="{series}">{"".join(cells)}</tr>'


def _cell(column: Column, row: Row) -> str:
    value = column.value(row)
    return "–" if value is None else format(value, column.form)


def _paper_table(rows: Sequence[Row]) -> str:
    table = beside_paper(rows)
    if not table:
        return ""
    head, *body = (
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>" for cells in table
    )
    return (
        f"<section><h2>Beside the paper's table 4</h2>{_soft(NOTE)}"
        f'<div class="scroll"><table><thead>{head}</thead><tbody>{"".join(body)}</tbody></table>'
        "</div></section>"
    )


def failures(result: Result[Any]) -> list[str]:
    """Reasons why rows were not measured, each with the names of its rows."""
    reasons: dict[str, list[str]] = {}
    for row in result.rows:
        if row.error:
            # Messages begin with the configuration that they are about.
            reasons.setdefault(row.error.replace(f"{row}: ", ""), []).append(str(row))
    return [f"{', '.join(names)}: {reason}" for reason, names in reasons.items()]


def _failed(result: Result[Any]) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in failures(result))
    return f"<h2>Not measured</h2><ul>{items}</ul>" if items else ""


def _facts(result: Result[Any]) -> Iterable[tuple[str, str]]:
    for part in (result.machine, result.settings):
        for name, value in msgspec.to_builtins(part).items():
            yield name, _words(value)


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_words(one)}" for name, one in value.items())
    if isinstance(value, list):
        return "; ".join(_words(one) for one in value) or "none"
    return "unknown" if value is None else str(value)
