"""Charts as SVG text: axes with round ticks, and the marks of a series under its class.

Colours are CSS variables (``--s0``, ``--s1``, ...), so that a page can change them for a dark
screen; every mark of a series has ``data-series``, so that a page can hide it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

__all__ = ["COLOURS", "Frame", "axis_ticks", "mark", "svg"]

COLOURS = 8
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


class Frame:
    """The plotting area of a chart: from values to places, with its axes.

    Args:
        x: lowest and highest value across.
        y: lowest and highest value upwards.
        x_title: below the axis, with the unit.
        y_title: beside the axis, with the unit.
        x_labels: in place of numbers: value and text of each tick across.
    """

    def __init__(
        self,
        x: tuple[float, float],
        y: tuple[float, float],
        x_title: str,
        y_title: str,
        x_labels: Sequence[tuple[float, str]] | None = None,
    ) -> None:
        y_ticks = axis_ticks(*y)
        self._y_range = y_ticks[0], y_ticks[-1]
        if x_labels is None:
            ticks = axis_ticks(*x)
            x_labels = [(value, f"{value:g}") for value in ticks]
            x = ticks[0], ticks[-1]
        self._x_range = x
        self._axes = [*self._across(x_labels, x_title), *self._upwards(y_ticks, y_title)]

    def x(self, value: float) -> float:
        """Place of a value across, in units of the picture."""
        low, high = self._x_range
        return LEFT + (WIDTH - LEFT - RIGHT) * (value - low) / ((high - low) or 1)

    def y(self, value: float) -> float:
        """Place of a value upwards."""
        low, high = self._y_range
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - low) / ((high - low) or 1)

    def draw(self, title: str, marks: Iterable[str]) -> str:
        """The whole picture."""
        return svg(title, [*self._axes, *marks], HEIGHT)

    def _across(self, labels: Sequence[tuple[float, str]], title: str) -> list[str]:
        floor = HEIGHT - BOTTOM
        parts = [f'<path class="axis" d="M{LEFT} {floor}H{WIDTH - RIGHT}"/>']
        for value, label in labels:
            parts.append(
                f'<text class="tick" text-anchor="middle" x="{self.x(value):.1f}" '
                f'y="{floor + 15}">{escape(label)}</text>'
            )
        middle = (LEFT + WIDTH - RIGHT) / 2
        parts.append(
            f'<text class="title" text-anchor="middle" x="{middle:.0f}" y="{HEIGHT - 8}">'
            f"{escape(title)}</text>"
        )
        return parts

    def _upwards(self, ticks: Sequence[float], title: str) -> list[str]:
        parts = []
        for value in ticks:
            at = self.y(value)
            parts.append(f'<path class="grid" d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}"/>')
            parts.append(
                f'<text class="tick" text-anchor="end" x="{LEFT - 6}" y="{at + 4:.1f}">'
                f"{value:g}</text>"
            )
        middle = (TOP + HEIGHT - BOTTOM) / 2
        parts.append(
            f'<text class="title" text-anchor="middle" transform="translate(14 {middle:.0f}) '
            f'rotate(-90)">{escape(title)}</text>'
        )
        return parts


def mark(series: int, shape: str, tip: str = "") -> str:
    """A shape (an element without its end, such as ``'<circle r="4"'``) as part of a series.

    >>> mark(1, '<circle r="4"', "20 FPS")
    '<circle r="4" class="s1" data-series="1"><title>20 FPS</title></circle>'
    """
    name = shape[1:].split(" ", 1)[0]
    title = f"<title>{escape(tip)}</title>" if tip else ""
    return f'{shape} class="s{series % COLOURS}" data-series="{series}">{title}</{name}>'


def svg(title: str, parts: Iterable[str], height: float) -> str:
    """A picture of the usual width, with a name for those who do not see it."""
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg>"
    )
