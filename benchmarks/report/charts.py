"""The charts of a report: speed against size, accuracy against speed, stages, power."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from jdetrt.benchmarks.stages import STAGES
from jdetrt.svg import LEFT, RIGHT, WIDTH, Frame, axis_ticks, mark, svg

__all__ = [
    "accuracy_chart",
    "power_chart",
    "row_name",
    "series_name",
    "series_names",
    "speed_chart",
    "stage_chart",
]

Row = Mapping[str, Any]

_BAR, _STEP = 16, 40  # height of a bar, and from one to the next


def series_name(row: Row) -> str:
    """What rows of different sizes have in common: precision and backend."""
    parts = [row.get("precision"), row.get("backend")]
    return " ".join(part for part in parts if part) or "runs"


def row_name(row: Row) -> str:
    """Size and series."""
    width, height = row["size"]
    return f"{width}x{height} {series_name(row)}"


def series_names(rows: Sequence[Row]) -> list[str]:
    """All series, in the order of the rows."""
    return list(dict.fromkeys(series_name(row) for row in rows))


def speed_chart(rows: Sequence[Row]) -> str:
    """System FPS against the network's size: a line a series, each run's spread as a bar."""
    sizes = sorted({tuple(row["size"]) for row in rows}, key=lambda size: size[0] * size[1])
    places = {size: index for index, size in enumerate(sizes)}
    names = series_names(rows)
    highest = max(max(_speeds(row)) for row in rows)
    frame = Frame(
        (-0.5, len(sizes) - 0.5),
        (0, highest),
        "network size, pixels",
        "system FPS",
        [(place, f"{size[0]}x{size[1]}") for size, place in places.items()],
    )
    marks = []
    for index, name in enumerate(names):
        found = [(places[tuple(row["size"])], row) for row in rows if series_name(row) == name]
        found.sort(key=lambda pair: pair[0])
        line = " ".join(
            f"{frame.x(place):.1f},{frame.y(row['system_fps']):.1f}" for place, row in found
        )
        marks.append(mark(index, f'<polyline fill="none" points="{line}"'))
        for place, row in found:
            low, high = min(_speeds(row)), max(_speeds(row))
            x, y = frame.x(place), frame.y(row["system_fps"])
            marks.append(mark(index, f'<path d="M{x:.1f} {frame.y(low):.1f}V{frame.y(high):.1f}"'))
            tip = (
                f"{row_name(row)}: {row['system_fps']:.1f} FPS "
                f"({low:.1f} to {high:.1f} in {len(row['runs'])} runs)"
            )
            marks.append(mark(index, f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4"', tip))
    return frame.draw("System FPS against network size", marks)


def accuracy_chart(rows: Sequence[Row], accuracy: str) -> str | None:
    """Accuracy against speed, and the line of those that no other beats; None without accuracy."""
    known = [row for row in rows if (row.get("accuracy") or {}).get(accuracy) is not None]
    if not known:
        return None
    names = series_names(rows)
    values = [row["accuracy"][accuracy] for row in known]
    frame = Frame(
        (0, max(row["system_fps"] for row in known)),
        (min(values), max(values)),
        "system FPS",
        accuracy,
    )
    front = sorted((r for r in known if r["pareto"]), key=lambda row: row["system_fps"])
    line = " ".join(
        f"{frame.x(row['system_fps']):.1f},{frame.y(row['accuracy'][accuracy]):.1f}"
        for row in front
    )
    marks = [f'<polyline class="front" points="{line}"/>']
    for row in known:
        x, y = frame.x(row["system_fps"]), frame.y(row["accuracy"][accuracy])
        tip = f"{row_name(row)}: {accuracy} {row['accuracy'][accuracy]:.1f}, " + (
            f"{row['system_fps']:.1f} FPS{', on the front' if row['pareto'] else ''}"
        )
        radius = 6 if row["pareto"] else 4
        shape = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}"'
        marks.append(mark(names.index(series_name(row)), shape, tip))
    return frame.draw(f"{accuracy} against system FPS", marks)


def stage_chart(rows: Sequence[Row]) -> str:
    """Milliseconds of each stage, one after the other, a bar a row (of its last run)."""
    means = [
        {name: one["mean"] for name, one in row["runs"][-1]["stages"].items() if one is not None}
        for row in rows
    ]
    longest = max(sum(stages.values()) for stages in means)
    names = series_names(rows)
    parts = []
    for number, (row, stages) in enumerate(zip(rows, means, strict=True)):
        series = names.index(series_name(row))
        top = 14 + number * _STEP
        parts.append(
            f'<g data-series="{series}"><text class="tick" x="8" y="{top}">'
            f"{escape(row_name(row))}: {sum(stages.values()):.1f} ms</text>"
        )
        left = 8.0
        for name in STAGES:
            if name in stages:
                width = (WIDTH - 16) * stages[name] / longest
                tip = f"{row_name(row)}: {name} {stages[name]:.2f} ms"
                parts.append(
                    f'<rect class="stage-{name}" x="{left:.2f}" y="{top + 5}" width="{width:.2f}" '
                    f'height="{_BAR}"><title>{escape(tip)}</title></rect>'
                )
                left += width
        parts.append("</g>")
    return svg("Milliseconds of each stage", parts, 14 + _STEP * len(rows))


def power_chart(rows: Sequence[Row]) -> str | None:
    """Watts while running, a bar a row, with the energy of a frame; None where none was read."""
    known = [row for row in rows if row.get("watts") is not None]
    if not known:
        return None
    names = series_names(rows)
    ticks = axis_ticks(0, max(row["watts"] for row in known))
    parts = []
    for number, row in enumerate(known):
        top = 14 + number * _STEP
        width = (WIDTH - LEFT - RIGHT) * row["watts"] / ticks[-1]
        text = f"{row_name(row)}: {row['watts']:.1f} W, {row['joules_per_frame']:.2f} J a frame"
        series = names.index(series_name(row))
        parts.append(
            f'<text class="tick" data-series="{series}" x="8" y="{top}">{escape(text)}</text>'
        )
        shape = f'<rect x="8" y="{top + 5}" width="{width:.2f}" height="{_BAR}"'
        parts.append(mark(series, shape, text))
    return svg(f"Watts of {known[0]['power_of']}", parts, 14 + _STEP * len(known))


def _speeds(row: Row) -> list[float]:
    return [run["system_fps"] for run in row["runs"]]
