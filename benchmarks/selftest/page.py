"""Page of ``selftest gpu``: the limits first, then speeds, steps and machine; one file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from jdetrt.account import counted
from jdetrt.benchmarks.report.table import facts, machine_line
from jdetrt.benchmarks.result import Row
from jdetrt.benchmarks.selftest.result import SelftestResult, StepResult, network_fps
from jdetrt.svg import LEFT, RIGHT, WIDTH, axis_ticks, mark, svg

__all__ = ["headline", "selftest_page"]

_PAGE = Path(__file__).parent / "static" / "selftest.html"
_STYLE = Path(__file__).parents[1] / "report" / "static" / "report.css"
_COLOURS = "".join(f"rect.s{k}{{fill:var(--s{k})}}" for k in range(2))
_OWN = """
.met::before { content: "\\2713\\00a0"; color: var(--s2); font-weight: 700; }
.missed::before { content: "\\2717\\00a0"; color: var(--s6); font-weight: 700; }
.answer ul { list-style: none; margin: .5rem 0; padding: 0; }
.answer.bad { border-color: var(--s6); }
td.failed { color: var(--s6); font-weight: 600; }
td.skipped { color: var(--soft); }
th.found, td.found { white-space: normal; text-align: left; min-width: 18rem; }
.charts svg { max-width: 680px; }
"""
_BAR, _STEP = 10, 46
_HEADS = ("Network", "Precision", "Backend", "Network ms", "Network FPS", "Pipeline FPS", "Share")


def headline(result: SelftestResult) -> str:
    """The answer in a sentence: steps that failed, then limits that were missed."""
    failed, skipped = result.in_state("failed"), result.in_state("skipped")
    missed = [check for check in result.checks if not check.met]
    if not result.checks:
        text = "No limit could be judged"
    elif missed:
        text = f"{len(missed)} of {counted(len(result.checks), 'limit')} missed"
    else:
        text = f"All {counted(len(result.checks), 'limit')} met"
    if failed:
        text = f"{counted(len(failed), 'step')} failed; {text[0].lower()}{text[1:]}"
    return text + (f"; {counted(len(skipped), 'step')} not done" if skipped else "")


def selftest_page(result: SelftestResult) -> str:
    """Render the page."""
    machine = result.machine
    gpu = machine.jetson.model if machine.jetson else ", ".join(g.name for g in machine.gpus)
    bad = bool(result.in_state("failed")) or not all(check.met for check in result.checks)
    html = Template(_PAGE.read_text(encoding="utf-8")).substitute(
        title=escape(f"GPU self-test: {gpu or 'unknown GPU'}"),
        style=_STYLE.read_text(encoding="utf-8") + _COLOURS + _OWN,
        subtitle=escape(f"TensorRT {result.settings.tensorrt}, {machine_line(machine)}"),
        headline=escape(headline(result)),
        checks=_list((check.met, f"{check.name}: {check.text}") for check in result.checks),
        troubles=_list((False, f"{s.name}: {s.reason}") for s in result.in_state("failed")),
        charts=_chart(result.rows),
        heads="".join(f'<th scope="col">{escape(head)}</th>' for head in _HEADS),
        rows="".join(_row(row) for row in result.rows),
        steps="".join(_step(step) for step in result.steps),
        facts="".join(
            f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
            for name, value in facts(result)
        ),
    )
    return html.replace('<section class="answer">', '<section class="answer bad">') if bad else html


def _list(items: Iterable[tuple[bool, str]]) -> str:
    lines = [f'<li class="{"met" if met else "missed"}">{escape(text)}</li>' for met, text in items]
    return f"<ul>{''.join(lines)}</ul>" if lines else ""


def _chart(rows: Sequence[Row]) -> str:
    """Bars of network and pipeline, a pair a row."""
    pairs = [(row, network_fps(row) or 0.0, row.system_fps or 0.0) for row in rows]
    if not pairs:
        return ""
    top = axis_ticks(0, max(max(network, system) for _, network, system in pairs))[-1]
    parts = []
    for number, (row, *values) in enumerate(pairs):
        y = 14 + number * _STEP
        backend = "" if row.backend == "tensorrt" else f" {row.backend}"
        text = (
            f"{values[0]:.0f} / {values[1]:.0f}: {row.size} {row.precision}{backend} {_name(row)}"
        )
        parts.append(f'<text class="tick" x="8" y="{y}">{escape(text)}</text>')
        for series, value in enumerate(values):
            width = (WIDTH - LEFT - RIGHT) * value / top
            place = y + 6 + series * (_BAR + 2)
            bar = f'<rect x="8" y="{place}" width="{width:.2f}" height="{_BAR}"'
            parts.append(mark(series, bar, text))
    keys = "".join(
        f'<span><i class="swatch" style="background: var(--s{series})"></i>{name}</span>'
        for series, name in enumerate(("network alone", "pipeline"))
    )
    chart = svg("Frames a second of network and pipeline", parts, 14 + _STEP * len(pairs))
    return f'<section><h2>Frames a second</h2>{chart}<div class="stages">{keys}</div></section>'


def _name(row: Row) -> str:
    """Body of the network, and the way it is run where that is another than the best."""
    return (row.name or "").rstrip(",")


def _row(row: Row) -> str:
    network, system = network_fps(row), row.system_fps
    numbers = (
        (1e3 / network if network else None, ".3f"),
        (network, ".0f"),
        (system, ".0f"),
        (100 * system / network if network and system else None, ".0f"),
    )
    cells = [f"{row.size} {_name(row)}", row.precision or "", row.backend or ""]
    cells += ["–" if value is None else format(value, form) for value, form in numbers]
    if cells[-1] != "–":
        cells[-1] += " %"
    return f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"


def _step(step: StepResult) -> str:
    seconds = "–" if step.seconds is None else f"{step.seconds:.1f}"
    found = step.reason or "; ".join(
        f"{name.replace('_', ' ')} {_words(value)}" for name, value in step.facts.items()
    )
    return (
        f'<tr><td>{escape(step.name)}</td><td class="{step.state}">{step.state}</td>'
        f'<td>{seconds}</td><td class="found">{escape(found)}</td></tr>'
    )


def _words(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_words(one)}" for name, one in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_words(one) for one in value) or "none"
    return "unknown" if value is None else str(value)
