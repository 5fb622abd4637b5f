"""The charts of a report: speed against size, accuracy against speed, stages, power."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from jdetrt.benchmarks.result import Answer, Row, counted
from jdetrt.benchmarks.stages import STAGES
from jdetrt.svg import LEFT, RIGHT, WIDTH, Frame, axis_ticks, mark, place_labels, svg

__all__ = ["accuracy_chart", "power_chart", "series_names", "speed_chart", "stage_chart"]

_BAR, _STEP = 16, 40  # height of a bar, and from one to the next


def series_names(rows: Sequence[Row]) -> list[str]:
    """All series, in the order of the rows."""
    return list(dict.fromkeys(row.series for row in rows))


def speed_chart(rows: Sequence[Row]) -> str:
    """System FPS against the network's size: a line a series, each run's spread as a bar."""
    sizes = sorted({row.size for row in rows}, key=lambda size: size.width * size.height)
    frame = Frame(
        (-0.5, len(sizes) - 0.5),
        (0, max(row.fastest for row in rows)),
        "network size, pixels",
        "system FPS",
        [(place, str(size)) for place, size in enumerate(sizes)],
    )
    marks = []
    for index, name in enumerate(series_names(rows)):
        points = [(frame.x(sizes.index(row.size)), row) for row in rows if row.series == name]
        points.sort(key=lambda point: point[0])
        line = " ".join(f"{x:.1f},{frame.y(row.fps):.1f}" for x, row in points)
        marks.append(mark(index, f'<polyline fill="none" points="{line}"'))
        for x, row in points:
            low, high = frame.y(row.slowest), frame.y(row.fastest)
            marks.append(mark(index, f'<path d="M{x:.1f} {low:.1f}V{high:.1f}"'))
            runs = counted(len(row.runs), "run")
            tip = f"{row}: {row.fps:.1f} FPS ({row.slowest:.1f} to {row.fastest:.1f} in {runs})"
            circle = f'<circle cx="{x:.1f}" cy="{frame.y(row.fps):.1f}" r="4"'
            marks.append(mark(index, circle, tip))
    return frame.draw("System FPS against network size", marks)


def accuracy_chart(rows: Sequence[Row], accuracy: str, answer: Answer | None = None) -> str | None:
    """Accuracy against speed with the Pareto front; None without accuracy.

    Each point has its size and precision beside it where there is room.
    """
    points = [(row.fps, score, row) for row in rows if (score := row.score(accuracy)) is not None]
    if not points:
        return None
    names = series_names(rows)
    spread = {str(row): row.deviation(accuracy) or 0.0 for row in rows}
    low = min(score - spread[str(row)] for _, score, row in points)
    high = max(score + spread[str(row)] for _, score, row in points)
    frame = Frame(
        (0, max(row.fastest for _, _, row in points)), (low, high), "system FPS", accuracy
    )
    front = sorted((fps, score) for fps, score, row in points if row.pareto)
    line = " ".join(f"{frame.x(fps):.1f},{frame.y(score):.1f}" for fps, score in front)
    marks = [f'<polyline class="front" points="{line}"/>']
    places = [(frame.x(fps), frame.y(score)) for fps, score, _ in points]
    labels = place_labels(places, [_label(row) for _, _, row in points])
    for (fps, score, row), (x, y), label in zip(points, places, labels, strict=True):
        series, deviation = names.index(row.series), spread[str(row)]
        bars = f"M{frame.x(row.slowest):.1f} {y:.1f}H{frame.x(row.fastest):.1f}"
        bars += f"M{x:.1f} {frame.y(score - deviation):.1f}V{frame.y(score + deviation):.1f}"
        marks.append(mark(series, f'<path d="{bars}"'))
        note = ", on the Pareto front" if row.pareto else ""
        tip = f"{row}: {accuracy} {score:.1f}, {fps:.1f} FPS{note}"
        if answer is not None and answer.configuration == str(row):
            marks.append(mark(series, f'<circle class="ring" cx="{x:.1f}" cy="{y:.1f}" r="10"'))
            tip += ", recommended"
        radius = 6 if row.pareto else 4
        marks.append(mark(series, f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}"', tip))
        if label is not None:
            marks.append(
                f'<text class="point" data-series="{series}" x="{label[0]:.1f}" '
                f'y="{label[1]:.1f}">{escape(_label(row))}</text>'
            )
    return frame.draw(f"{accuracy} against system FPS", marks)


def _label(row: Row) -> str:
    return f"{row.size} {row.precision or row.name or ''}".strip()


def stage_chart(rows: Sequence[Row]) -> str:
    """Milliseconds of each stage, one after the other, a bar a row (of its last run)."""
    means = [
        {name: one.mean for name, one in row.runs[-1].stages.items() if one is not None}
        for row in rows
    ]
    longest = max(sum(stages.values()) for stages in means)
    names = series_names(rows)
    parts = []
    for number, (row, stages) in enumerate(zip(rows, means, strict=True)):
        series = names.index(row.series)
        top = 14 + number * _STEP
        parts.append(
            f'<g data-series="{series}"><text class="tick" x="8" y="{top}">'
            f"{escape(str(row))}: {sum(stages.values()):.1f} ms</text>"
        )
        left = 8.0
        for name in STAGES:
            if name in stages:
                width = (WIDTH - 16) * stages[name] / longest
                tip = f"{row}: {name} {stages[name]:.2f} ms"
                parts.append(
                    f'<rect class="stage-{name}" x="{left:.2f}" y="{top + 5}" width="{width:.2f}" '
                    f'height="{_BAR}"><title>{escape(tip)}</title></rect>'
                )
                left += width
        parts.append("</g>")
    return svg("Milliseconds of each stage", parts, 14 + _STEP * len(rows))


def power_chart(rows: Sequence[Row]) -> str | None:
    """Watts while running, a bar a row, with the energy of a frame; None where none was read."""
    bars = [(row.watts, row) for row in rows if row.watts is not None]
    if not bars:
        return None
    names = series_names(rows)
    ticks = axis_ticks(0, max(watts for watts, _ in bars))
    parts = []
    for number, (watts, row) in enumerate(bars):
        top = 14 + number * _STEP
        width = (WIDTH - LEFT - RIGHT) * watts / ticks[-1]
        text = f"{row}: {watts:.1f} W, {row.joules_per_frame or 0.0:.2f} J per frame"
        series = names.index(row.series)
        parts.append(
            f'<text class="tick" data-series="{series}" x="8" y="{top}">{escape(text)}</text>'
        )
        shape = f'<rect x="8" y="{top + 5}" width="{width:.2f}" height="{_BAR}"'
        parts.append(mark(series, shape, text))
    return svg(f"Watts of {bars[0][1].power_of}", parts, 14 + _STEP * len(bars))
