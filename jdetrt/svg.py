"""Charts as SVG text: axes with round ticks, and the marks of a series under its class.

Colours are CSS variables (``--s0``, ``--s1``, ...), so that a page can change them for a dark
screen; every mark of a series has ``data-series``, so that a page can hide it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import NamedTuple

import numpy as np

__all__ = [
    "COLOURS",
    "Frame",
    "Plot",
    "axis_ticks",
    "histogram",
    "mark",
    "place_labels",
    "scatter",
    "spans",
    "stems",
    "svg",
]

COLOURS = 8
_LAYERS = "layer, in the order they run"
WIDTH, HEIGHT = 440, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 14, 44


def axis_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers from at most ``low`` to at least ``high``, about ``count`` steps.

    >>> axis_ticks(0, 23)
    [0.0, 5.0, 10.0, 15.0, 20.0, 25.0]
    >>> axis_ticks(-0.3, 0.9, 3)
    [-0.5, 0.0, 0.5, 1.0]
    """
    span = (high - low) or abs(high) or 1.0
    raw = span / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = power * min((1, 2, 2.5, 5, 10), key=lambda m: abs(m * power - raw))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(k * step, 10) for k in range(first, max(last, first + 1) + 1)]


class Plot(NamedTuple):
    """Size of a chart and its margins, in its own units."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int


SMALL = Plot(WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM)
WIDE = Plot(640, 300, 76, 16, 12, 52)

Ticks = Sequence[tuple[float, str]]


class Frame:
    """Plotting area of a chart: from values to places, with its axes.

    Args:
        x: lowest and highest value across.
        y: lowest and highest value upwards.
        x_title: below the axis, with the unit.
        y_title: beside the axis, with the unit.
        x_labels: in place of round numbers: value and text of each tick across.
        y_labels: the same upwards.
        plot: size and margins.
    """

    def __init__(
        self,
        x: tuple[float, float],
        y: tuple[float, float],
        x_title: str,
        y_title: str,
        x_labels: Ticks | None = None,
        y_labels: Ticks | None = None,
        plot: Plot = SMALL,
    ) -> None:
        self._plot = plot
        self._x_range, x_labels = _axis(x, x_labels)
        self._y_range, y_labels = _axis(y, y_labels)
        self._axes = [*self._across(x_labels, x_title), *self._upwards(y_labels, y_title)]

    def x(self, value: float) -> float:
        """Place of a value across; outside of the axis, at its end."""
        plot = self._plot
        return plot.left + (plot.width - plot.left - plot.right) * _share(value, self._x_range)

    def y(self, value: float) -> float:
        """Place of a value upwards; outside of the axis, at its end."""
        plot = self._plot
        height = plot.height - plot.top - plot.bottom
        return plot.height - plot.bottom - height * _share(value, self._y_range)

    def draw(self, title: str, marks: Iterable[str]) -> str:
        """Draw the whole chart."""
        return svg(title, [*self._axes, *marks], self._plot.height, self._plot.width)

    def _across(self, labels: Ticks, title: str) -> list[str]:
        plot = self._plot
        floor, end = plot.height - plot.bottom, plot.width - plot.right
        parts = [f'<path class="axis" d="M{plot.left} {floor}H{end}"/>']
        for value, label in labels:
            parts.append(
                f'<text class="tick" text-anchor="middle" x="{self.x(value):.1f}" '
                f'y="{floor + 0.35 * plot.bottom:.1f}">{escape(label)}</text>'
            )
        parts.append(
            f'<text class="title" text-anchor="middle" x="{(plot.left + end) / 2:.0f}" '
            f'y="{plot.height - 7}">{escape(title)}</text>'
        )
        return parts

    def _upwards(self, labels: Ticks, title: str) -> list[str]:
        plot, parts = self._plot, []
        for value, label in labels:
            at = self.y(value)
            parts.append(
                f'<path class="grid" d="M{plot.left} {at:.1f}H{plot.width - plot.right}"/>'
            )
            parts.append(
                f'<text class="tick" text-anchor="end" x="{plot.left - 6}" y="{at + 4:.1f}">'
                f"{escape(label)}</text>"
            )
        middle = (plot.top + plot.height - plot.bottom) / 2
        parts.append(
            f'<text class="title" text-anchor="middle" transform="translate(13 {middle:.0f}) '
            f'rotate(-90)">{escape(title)}</text>'
        )
        return parts


def _axis(ends: tuple[float, float], labels: Ticks | None) -> tuple[tuple[float, float], Ticks]:
    if labels is not None:
        return ends, labels
    ticks = axis_ticks(*ends)
    return (ticks[0], ticks[-1]), [(value, f"{value:g}") for value in ticks]


def _share(value: float, ends: tuple[float, float]) -> float:
    low, high = ends
    return min(max((value - low) / ((high - low) or 1), 0.0), 1.0)


def mark(series: int, shape: str, tip: str = "") -> str:
    """A shape (an element without its end, such as ``'<circle r="4"'``) as part of a series.

    >>> mark(1, '<circle r="4"', "20 FPS")
    '<circle r="4" class="s1" data-series="1"><title>20 FPS</title></circle>'
    """
    name = shape[1:].split(" ", 1)[0]
    title = f"<title>{escape(tip)}</title>" if tip else ""
    return f'{shape} class="s{series % COLOURS}" data-series="{series}">{title}</{name}>'


def place_labels(
    points: Sequence[tuple[float, float]], labels: Sequence[str], plot: Plot = SMALL
) -> list[tuple[float, float] | None]:
    """Find room for the labels of points: beside, above or below, over no point and no other label.

    Args:
        points: x and y of each point, in units of the chart.
        labels: text of each.
        plot: size and margins.

    Returns:
        Left end of the baseline of each label; None where there is no room.
    """
    taken = [(x - _POINT, y - _POINT, x + _POINT, y + _POINT) for x, y in points]
    places: list[tuple[float, float] | None] = []
    for (x, y), label in zip(points, labels, strict=True):
        width = _LETTER * len(label)
        places.append(None)
        for left, base in _around(x, y, width):
            box = (left, base - _ASCENT, left + width, base + _DESCENT)
            inside = plot.left <= box[0] and box[2] <= plot.width and box[1] >= 0
            inside = inside and box[3] <= plot.height - plot.bottom
            if inside and not any(_overlap(box, other) for other in taken):
                places[-1] = (left, base)
                taken.append(box)
                break
    return places


_POINT, _LETTER, _ASCENT, _DESCENT = 6.0, 7.0, 11.0, 3.0  # of a label of 13 units


def _around(x: float, y: float, width: float) -> Iterator[tuple[float, float]]:
    """Places for a label of a point, the best first: left end and baseline."""
    for away in (0.0, 14.0, 28.0):
        for base in (y + 4 - away, y + 4 + away):
            yield x + 9, base
            yield x - 9 - width, base
        yield x - width / 2, y - 10 - away
        yield x - width / 2, y + 18 + away


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def svg(title: str, parts: Iterable[str], height: float, width: int = WIDTH) -> str:
    """Join the parts of a chart, with a title for screen readers."""
    return (
        f'<svg viewBox="0 0 {width} {height:.0f}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )


def scatter(
    title: str,
    series: Mapping[str, Sequence[tuple[float, float]]],
    labels: tuple[str, str],
    x: tuple[float, float] = (0.0, 1.0),
    y: tuple[float, float] = (0.0, 1.0),
) -> str:
    """Draw points; each series has the class ``series-0``, ``series-1`` and so on.

    Args:
        title: for screen readers.
        series: points by name.
        labels: of the two axes.
        x: ends of the horizontal axis.
        y: ends of the vertical one.
    """
    frame = Frame(x, y, *labels, _even(x), _even(y), WIDE)
    return frame.draw(
        title,
        [
            f'<path class="dots series-{number}" d="{_dots(frame, points)}"/>'
            for number, points in enumerate(series.values())
        ],
    )


def histogram(
    title: str,
    series: Mapping[str, Sequence[float]],
    label: str,
    ends: tuple[float, float],
    bins: int = 40,
) -> str:
    """Draw shares of the values in bins, an outline a series; values outside count at the ends."""
    shares = {
        name: np.histogram(np.clip(values, *ends), bins, ends)[0] / max(len(values), 1)
        for name, values in series.items()
    }
    top = max((float(share.max()) for share in shares.values()), default=0.0) or 1.0
    heights = [(height, f"{height:.0%}") for height in np.linspace(0, top, 5).tolist()]
    frame = Frame(ends, (0.0, top), label, "share", _even(ends), heights, WIDE)
    edges = np.linspace(*ends, bins + 1).tolist()
    marks = []
    for number, share in enumerate(shares.values()):
        corners = [(edges[0], 0.0)]
        for i, height in enumerate(share.tolist()):
            corners += [(edges[i], height), (edges[i + 1], height)]
        corners.append((edges[-1], 0.0))
        line = "L".join(f"{frame.x(x):.1f} {frame.y(y):.1f}" for x, y in corners)
        marks.append(f'<path class="area series-{number}" d="M{line}"/>')
    return frame.draw(title, marks)


def stems(title: str, values: Sequence[float], marked: Sequence[bool], label: str) -> str:
    """Draw a bar a layer, in their order; those marked are of ``series-1``."""
    top = max(values, default=0.0) or 1.0
    heights = [(height, f"{height:.2g}") for height in np.linspace(0, top, 5).tolist()]
    frame = Frame((0.0, max(len(values), 1)), (0.0, top), _LAYERS, label, (), heights, WIDE)
    width = max(frame.x(1) - frame.x(0) - 1, 0.5)
    return frame.draw(
        title,
        [
            f'<rect class="bar series-{int(other)}" x="{frame.x(i):.1f}" y="{frame.y(value):.1f}" '
            f'width="{width:.1f}" height="{frame.y(0) - frame.y(value):.1f}"/>'
            for i, (value, other) in enumerate(zip(values, marked, strict=True))
        ],
    )


def spans(title: str, pairs: Sequence[tuple[float, float]], label: str) -> str:
    """Draw the largest magnitude of each layer and its limit, both above 0, in logarithms."""
    ends = [value for pair in pairs for value in pair if value > 0] or [1.0]
    low, high = math.floor(math.log10(min(ends))), math.ceil(math.log10(max(ends)))
    high = max(high, low + 1)
    powers = [(power, f"{10.0**power:g}") for power in range(low, high + 1)]
    frame = Frame((0.0, max(len(pairs), 1)), (low, high), _LAYERS, label, (), powers, WIDE)
    marks = []
    for i, (largest, limit) in enumerate(pairs):
        if min(largest, limit) > 0:
            x, top = frame.x(i + 0.5), frame.y(math.log10(largest))
            bottom = frame.y(math.log10(limit))
            marks.append(f'<path class="stem series-0" d="M{x:.1f} {top:.1f}V{bottom:.1f}"/>')
            marks.append(f'<path class="dots series-1" d="M{x:.1f} {bottom:.1f}h0"/>')
    return frame.draw(title, marks)


def _even(ends: tuple[float, float]) -> Ticks:
    return [(value, f"{value:g}") for value in np.linspace(*ends, 6).round(4).tolist()]


def _dots(frame: Frame, points: Iterable[tuple[float, float]]) -> str:
    return "".join(f"M{frame.x(x):.1f} {frame.y(y):.1f}h0" for x, y in points)
