"""A result as one image: speed against size, and accuracy against speed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jdetrt.benchmarks.report.charts import series_names
from jdetrt.benchmarks.report.table import measured_rows, ranking
from jdetrt.benchmarks.result import Result, Row
from jdetrt.errors import MissingDependencyError
from jdetrt.files import atomic_path

__all__ = ["panels", "save_figure", "write_png"]


def write_png(result: Result[Any], path: str | Path) -> None:
    """Draw a result of ``jdetrt bench sweep`` or ``latency``.

    Raises:
        DataError: it has no measured row.
        MissingDependencyError: Matplotlib is not installed.
        OutputError: the file cannot be written.
    """
    rows = measured_rows(result)
    accuracy = ranking(result)
    scored = [row for row in rows if row.score(accuracy) is not None]
    figure, axes = panels(2 if scored else 1)
    _speed(axes[0], rows)
    title = f"{result.settings.model} on {result.machine.cpu}"
    if scored:
        _scores(axes[1], scored, series_names(rows), accuracy)
        title += f"; {accuracy} on {getattr(result.settings, 'gt', None)}"
    figure.suptitle(title)
    save_figure(figure, path)


def save_figure(figure: Any, path: str | Path) -> None:
    """Write a Matplotlib figure, whole or not at all. Raises OutputError."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)


def panels(count: int) -> tuple[Any, Sequence[Any]]:
    """A Matplotlib figure and its panels, side by side. Raises MissingDependencyError."""
    try:
        from matplotlib.figure import Figure
    except ImportError as err:
        raise MissingDependencyError("matplotlib", "bench", "Drawing a result") from err
    figure = Figure(figsize=(6.0 * count, 4.5), layout="constrained")
    return figure, [figure.add_subplot(1, count, k + 1) for k in range(count)]


def _speed(panel: Any, rows: Sequence[Row]) -> None:
    sizes = sorted({row.size for row in rows}, key=lambda size: size[0] * size[1])
    for name in series_names(rows):
        points = [row for row in rows if row.series == name]
        points.sort(key=lambda row: sizes.index(row.size))
        middle = [row.fps for row in points]
        low = [row.slowest for row in points]
        high = [row.fastest for row in points]
        spread = [
            [m - one for m, one in zip(middle, low, strict=True)],
            [one - m for m, one in zip(middle, high, strict=True)],
        ]
        at = [sizes.index(row.size) for row in points]
        panel.errorbar(at, middle, yerr=spread, marker="o", capsize=3, label=name)
    panel.set_xticks(range(len(sizes)), [str(size) for size in sizes])
    panel.set_xlabel("network size, pixels")
    panel.set_ylabel("system FPS")
    panel.set_ylim(bottom=0)
    panel.grid(axis="y", alpha=0.3)
    panel.legend()


def _scores(panel: Any, rows: Sequence[Row], names: Sequence[str], accuracy: str) -> None:
    for index, name in enumerate(names):
        points = [row for row in rows if row.series == name]
        panel.scatter(
            [row.fps for row in points],
            [row.score(accuracy) for row in points],
            label=name,
            color=f"C{index}",
        )
        for row in points:
            at = (row.fps, row.require(accuracy))
            label = f"{row.size} {row.precision or ''}"
            panel.annotate(label, at, (5, 4), textcoords="offset points", fontsize=7)
    front = sorted((r for r in rows if r.pareto), key=lambda row: row.fps)
    panel.plot(
        [row.fps for row in front],
        [row.score(accuracy) for row in front],
        linestyle="--",
        color="grey",
        zorder=0,
    )
    panel.set_xlabel("system FPS")
    panel.set_ylabel(accuracy)
    panel.set_xlim(left=0)
    panel.grid(alpha=0.3)
