"""Curves of a training run: one HTML page beside its tables, renewed while it trains.

The page is made from ``log.csv`` and ``validation.csv`` alone; it needs no network and no script,
and loads itself again every minute until the run is finished.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files as resources
from pathlib import Path
from statistics import fmean
from string import Template

from jdetrt import files
from jdetrt.svg import Frame, Plot, axis_ticks, mark
from jdetrt.training.losses.balance import TASKS
from jdetrt.training.progress import read_table

__all__ = ["CURVES", "write_curves"]

CURVES = "curves.html"

_PLOT = Plot(560, 280, 70, 16, 14, 48)
_POINTS = 400  # of a curve; more rows are averaged
_REFRESH = '<meta http-equiv="refresh" content="60">'
_SCORES = {"ap50": "AP50", "tpr": "TPR", "hota": "HOTA", "mota": "MOTA", "idf1": "IDF1"}

Row = Mapping[str, float]
Points = list[tuple[float, float]]


def write_curves(
    log: Path, validation: Path, title: str, facts: str, steps: int, epochs: int
) -> None:
    """Write the page beside the tables of a run, whole or not at all.

    Args:
        log: losses by epoch and step.
        validation: scores by epoch, rates in percent.
        title: of the page.
        facts: a sentence on network and data.
        steps: in an epoch; 0 where that is not known yet.
        epochs: of the whole run.

    Raises:
        DataError: a table cannot be read.
        OutputError: the page cannot be written.
    """
    losses = [row for row in _rows(log) if row.keys() >= {"epoch", "step", "total"}]
    scores = [row for row in _rows(validation) if "epoch" in row]
    position = losses[-1] if losses else {"epoch": 1.0, "step": 0.0}
    steps = steps or int(max((row["step"] for row in losses), default=1.0))
    finished = (position["epoch"], position["step"]) == (epochs, steps)
    template = Template(resources("jdetrt.training").joinpath(CURVES).read_text(encoding="utf-8"))
    text = template.substitute(
        refresh="" if finished else _REFRESH,
        title=escape(title),
        state=_state(position, scores, steps, epochs, finished),
        facts=escape(facts),
        figures="\n".join(_figures(losses, scores, steps)),
        table=_table(losses, scores),
    )
    files.write_text(log.with_name(CURVES), text)


def _rows(path: Path) -> list[Row]:
    """Numbers of a table by column; those that are missing or endless are left out."""
    rows = read_table(path)[1]
    numbers = ({name: float(value) for name, value in row.items() if value} for row in rows)
    return [{name: v for name, v in row.items() if math.isfinite(v)} for row in numbers]


def _by_task(row: Row) -> dict[str, float]:
    """Losses of the tasks: means over the heads."""
    heads = {task: [v for k, v in row.items() if k.startswith(f"{task}/")] for task in TASKS}
    return {task: fmean(values) for task, values in heads.items() if values}


def _state(position: Row, scores: Sequence[Row], steps: int, epochs: int, finished: bool) -> str:
    text = f"Finished: {epochs} epoch{'s' * (epochs > 1)}."
    if not finished:
        text = f"Epoch {position['epoch']:.0f} of {epochs}, step {position['step']:.0f} of {steps}."
    if scores:
        best = _best(scores)
        text += f" Best AP50 {best.get('ap50', 0.0):.1f} % after epoch {best['epoch']:.0f}."
    return escape(text)


def _best(scores: Sequence[Row]) -> Row:
    return max(scores, key=lambda row: row.get("ap50", 0.0))


def _figures(losses: Sequence[Row], scores: Sequence[Row], steps: int) -> Iterable[str]:
    at = [row["epoch"] - 1 + row["step"] / max(steps, 1) for row in losses]
    tasks = [_by_task(row) for row in losses]

    def curve(values: Iterable[float | None]) -> Points:
        points = zip(at, values, strict=True)
        return _thinned([(x, y) for x, y in points if y is not None])

    for title, names in (
        ("Detection and embeddings, %", ("ap50", "tpr")),
        ("Tracking, %", ("hota", "mota", "idf1")),
    ):
        shown = [name for name in names if any(name in row for row in scores)]
        series = {
            _SCORES[name]: [(row["epoch"], row[name]) for row in scores if name in row]
            for name in shown
        }
        if series:
            yield _figure(title, series, dots=True)
    yield _figure("Loss", {"total": curve(row.get("total") for row in losses)})
    for task in TASKS:
        if points := curve(row.get(task) for row in tasks):
            yield _figure(f"{task.capitalize()} loss", {task: points})
    yield _figure("Learning rate", {"rate": curve(row.get("rate") for row in losses)})


def _thinned(points: Points) -> Points:
    """Means of runs of points, so that at most `_POINTS` are left."""
    size = -(-len(points) // _POINTS) or 1
    groups = (points[start : start + size] for start in range(0, len(points), size))
    return [(fmean(x for x, _ in group), fmean(y for _, y in group)) for group in groups]


def _figure(title: str, series: Mapping[str, Points], *, dots: bool = False) -> str:
    """Draw curves over the epochs; with ``dots`` each point too, and its value as a tip."""
    points = [point for one in series.values() for point in one] or [(0.0, 0.0)]
    low, high = min(y for _, y in points), max(y for _, y in points)
    ticks = axis_ticks(low, high)
    last = max(max(x for x, _ in points), 1.0)
    frame = Frame((0.0, last), (ticks[0], ticks[-1]), "epochs", "", plot=_PLOT)
    marks = []
    for number, (name, curve) in enumerate(series.items()):
        line = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in curve)
        marks.append(mark(number, f'<polyline points="{line}"'))
        for x, y in curve if dots or len(curve) == 1 else ():
            shape = f'<circle cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="3.5"'
            marks.append(mark(number, shape, f"{name} {y:.4g}, epoch {x:g}"))
    keys = "".join(
        f'<span><span class="key s{number}"></span>{name * (len(series) > 1)} '
        f"{curve[-1][1]:.3g}</span>"
        for number, (name, curve) in enumerate(series.items())
        if curve
    )
    return (
        f"<figure><figcaption>{escape(title)}{keys}</figcaption>{frame.draw(title, marks)}</figure>"
    )


def _table(losses: Sequence[Row], scores: Sequence[Row]) -> str:
    epochs: dict[float, list[Row]] = defaultdict(list)
    for row in losses:
        epochs[row["epoch"]].append({"total": row["total"], **_by_task(row)})
    by_epoch = {row["epoch"]: row for row in scores}
    best = _best(scores)["epoch"] if scores else None
    names = ["total", *TASKS]
    shown = [name for name in _SCORES if any(name in row for row in scores)]
    heads = ["Epoch", "Loss", *(task.capitalize() for task in TASKS), *map(_SCORES.get, shown)]
    lines = [f"<tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr>"]
    for epoch, rows in epochs.items():
        cells = [f"{epoch:.0f}{' (best)' if epoch == best else ''}"]
        for name in names:
            values = [row[name] for row in rows if name in row]
            cells.append(f"{fmean(values):.4g}" if values else "–")
        score = by_epoch.get(epoch, {})
        cells += [f"{score[name]:.1f}" if name in score else "–" for name in shown]
        mark_best = ' class="best"' if epoch == best else ""
        lines.append(f"<tr{mark_best}>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    return "\n".join(lines)
