"""Report of a result as a page and as Markdown.

The page is one file: no script, style, font or image comes from elsewhere, so it opens offline
and can be sent around. It opens with the answer of a sweep and the command that deploys it, and
contains the whole result, to be downloaded again.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import msgspec

from jdetrt.benchmarks.decide import answer_of, limits
from jdetrt.benchmarks.paper_numbers import NOTE, beside_paper
from jdetrt.benchmarks.report.charts import (
    accuracy_chart,
    power_chart,
    series_names,
    speed_chart,
    stage_chart,
)
from jdetrt.benchmarks.report.table import (
    COLUMNS,
    RULE,
    Column,
    cell,
    columns,
    facts,
    failures,
    findings,
    machine_line,
    measured_rows,
    ranking,
)
from jdetrt.benchmarks.result import Answer, Result, Row
from jdetrt.benchmarks.stages import STAGES
from jdetrt.svg import COLOURS

__all__ = ["COLUMNS", "failures", "html_report", "markdown_report"]

_PAGE = Path(__file__).parent / "static"


def html_report(result: Result[Any]) -> str:
    """Render the page. Raises DataError where no row was measured."""
    rows = measured_rows(result)
    names, answer, heads = series_names(rows), answer_of(result), columns(result)
    on_phone = {"Configuration", "System FPS", "Slowest", ranking(result)}
    if any(row.watts is not None for row in rows):
        on_phone.add("Watts")
    template = Template((_PAGE / "report.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(_title(result)),
        style=(_PAGE / "report.css").read_text(encoding="utf-8") + _colours(),
        subtitle=escape(machine_line(result.machine)),
        answer=_answer(answer),
        summary="".join(f"<p>{escape(line)}</p>" for line in findings(result)),
        keys="".join(_key(index, name) for index, name in enumerate(names)),
        charts=_charts(result, answer),
        heads="".join(
            f'<th scope="col"{_more(column, on_phone)}><button type="button">'
            f"{escape(column.title)}</button></th>"
            for column in heads
        ),
        rows="".join(_table_row(row, names, heads, on_phone, answer) for row in rows),
        failed=_failed(result),
        paper=_paper_table(rows),
        facts="".join(
            f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
            for name, value in facts(result)
        ),
        # "<" could begin the end of the script.
        data=msgspec.json.encode(result).decode().replace("<", "\\u003c"),
        script=(_PAGE / "report.js").read_text(encoding="utf-8"),
    )


def markdown_report(result: Result[Any]) -> str:
    """Render answer, table and machine as Markdown. Raises DataError as ``html_report``."""
    rows, heads = measured_rows(result), columns(result)
    lines = [f"# {_title(result)}", ""]
    if answer := answer_of(result):
        lines += [f"**{_headline(answer)}** {answer.why}. Limits: {limits(answer)}.", ""]
        lines += [f"    {answer.deploy}", ""] if answer.deploy else []
    lines += [machine_line(result.machine), "", *findings(result), ""]
    lines += _markdown_table(
        [column.title for column in heads],
        [[cell(column, row) for column in heads] for row in rows],
    )
    if table := beside_paper(rows):
        lines += ["", NOTE, "", *_markdown_table(table[0], table[1:])]
    failed = [f"- {line}".replace("\n", " ") for line in failures(result)]
    if failed:
        lines += ["", "Not measured:", "", *failed]
    lines += ["", "| | |", "|---|---|"]
    lines += [f"| {name} | {value} |".replace("\n", " ") for name, value in facts(result)]
    return "\n".join(lines) + "\n"


def _markdown_table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    rule = "|---|" + "---:|" * (len(heads) - 1)
    return [f"| {' | '.join(heads)} |", rule, *(f"| {' | '.join(cells)} |" for cells in lines)]


def _title(result: Result[Any]) -> str:
    return f"{result.settings.model} on {result.settings.source}: {result.benchmark}"


def _headline(answer: Answer) -> str:
    if answer.configuration is None:
        return "No configuration meets the limits."
    return f"Recommended: {answer.configuration}."


def _answer(answer: Answer | None) -> str:
    """The first section: the recommendation, its command, limits and reason."""
    if answer is None:
        return ""
    parts = [f"<h2>{escape(_headline(answer))}</h2>"]
    if answer.deploy:
        parts.append(f'<pre tabindex="0"><code>{escape(answer.deploy)}</code></pre>')
    parts.append(f"<p>{escape(answer.why)}. Limits: {escape(limits(answer))}.</p>")
    if answer.equals:
        names = "; ".join(answer.equals)
        parts.append(_soft(f"As accurate within noise, within the limits: {names}."))
    parts.append(f"<details><summary>The rule</summary>{_soft(RULE)}</details>")
    return f'<section class="answer">{"".join(parts)}</section>'


def _charts(result: Result[Any], answer: Answer | None) -> str:
    rows, accuracy = measured_rows(result), ranking(result)
    scores, power = accuracy_chart(rows, accuracy, answer), power_chart(rows)
    on = getattr(result.settings, "gt", None)
    note = (
        "Dashed line: Pareto front. Horizontal bars: slowest to fastest run. Vertical bars: "
        "standard deviation, where accuracy is a mean. Ring: recommended."
    )
    return "".join(
        (
            _section(
                f"{accuracy} on {on} against speed" if on else f"{accuracy} against speed",
                scores,
                _soft(note if scores else "Accuracy was not measured."),
            ),
            _section(
                "Speed against network size",
                speed_chart(rows),
                _soft("Error bars: slowest to fastest run."),
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


def _more(column: Column, on_phone: set[str]) -> str:
    """Mark a column that a phone shows only on request."""
    return "" if column.title in on_phone else ' class="more"'


def _table_row(
    row: Row,
    names: Sequence[str],
    heads: Sequence[Column],
    on_phone: set[str],
    answer: Answer | None,
) -> str:
    cells = []
    for column in heads:
        value = column.value(row)
        raw = escape("" if value is None else str(value))
        mark = _more(column, on_phone)
        cells.append(f'<td{mark} data-value="{raw}">{escape(cell(column, row))}</td>')
    best = answer is not None and answer.configuration == str(row)
    kind = ' class="best"' if best else ' class="front-row"' if row.pareto else ""
    return f'<tr{kind} data-series="{names.index(row.series)}">{"".join(cells)}</tr>'


def _paper_table(rows: Sequence[Row]) -> str:
    table = beside_paper(rows)
    if not table:
        return ""
    head, *body = (
        "<tr>" + "".join(f"<td>{escape(text)}</td>" for text in texts) + "</tr>" for texts in table
    )
    return (
        f"<section><h2>Beside the paper's table 4</h2>{_soft(NOTE)}"
        f'<div class="scroll"><table><thead>{head}</thead><tbody>{"".join(body)}</tbody></table>'
        "</div></section>"
    )


def _failed(result: Result[Any]) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in failures(result))
    return f"<h2>Not measured</h2><ul>{items}</ul>" if items else ""
