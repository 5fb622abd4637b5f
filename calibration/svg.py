"""Charts as SVG that take their colours from the page that they stand in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

__all__ = ["histogram", "scatter", "spans", "stems"]

_WIDTH, _HEIGHT = 640, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 16, 12, 52


class _Plane:
    """A rectangle with axes; data coordinates go in, SVG text comes out."""

    def __init__(
        self, title: str, x: tuple[float, float], y: tuple[float, float], labels: tuple[str, str]
    ) -> None:
        self._x, self._y = x, y
        self._parts = [
            f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">',
            f"<title>{escape(title)}</title>",
            f'<rect class="frame" x="{_LEFT}" y="{_TOP}" width="{_WIDTH - _LEFT - _RIGHT}" '
            f'height="{_HEIGHT - _TOP - _BOTTOM}"/>',
            f'<text class="label" x="{(_LEFT + _WIDTH - _RIGHT) / 2:g}" y="{_HEIGHT - 6}" '
            f'text-anchor="middle">{escape(labels[0])}</text>',
            f'<text class="label" transform="translate(16 {(_TOP + _HEIGHT - _BOTTOM) / 2:g}) '
            f'rotate(-90)" text-anchor="middle">{escape(labels[1])}</text>',
        ]

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a point lies, in SVG units; outside of the axes, on their edge."""
        share_x = (x - self._x[0]) / (self._x[1] - self._x[0])
        share_y = (y - self._y[0]) / (self._y[1] - self._y[0])
        return (
            _LEFT + min(max(share_x, 0.0), 1.0) * (_WIDTH - _LEFT - _RIGHT),
            _HEIGHT - _BOTTOM - min(max(share_y, 0.0), 1.0) * (_HEIGHT - _TOP - _BOTTOM),
        )

    def ticks_x(self, values: Sequence[float], words: Sequence[str] | None = None) -> None:
        for value, word in zip(values, words or [f"{v:g}" for v in values], strict=True):
            x, y = self.at(value, self._y[0])
            self.add(
                f'<text class="tick" x="{x:.1f}" y="{y + 19:.1f}" '
                f'text-anchor="middle">{word}</text>'
            )

    def ticks_y(self, values: Sequence[float], words: Sequence[str] | None = None) -> None:
        for value, word in zip(values, words or [f"{v:g}" for v in values], strict=True):
            x, y = self.at(self._x[0], value)
            self.add(
                f'<line class="grid" x1="{x}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            )
            self.add(
                f'<text class="tick" x="{x - 6}" y="{y + 5:.1f}" text-anchor="end">{word}</text>'
            )

    def add(self, part: str) -> None:
        self._parts.append(part)

    def done(self) -> str:
        return "".join([*self._parts, "</svg>"])


def scatter(
    title: str,
    series: Mapping[str, Sequence[tuple[float, float]]],
    labels: tuple[str, str],
    x: tuple[float, float] = (0.0, 1.0),
    y: tuple[float, float] = (0.0, 1.0),
) -> str:
    """Points; each series has the class ``series-0``, ``series-1`` and so on.

    Args:
        title: said by screen readers.
        series: points by name.
        labels: of the two axes.
        x: ends of the horizontal axis.
        y: ends of the vertical one.
    """
    plane = _Plane(title, x, y, labels)
    plane.ticks_x(np.linspace(*x, 6).round(4).tolist())
    plane.ticks_y(np.linspace(*y, 6).round(4).tolist())
    for number, points in enumerate(series.values()):
        places = (plane.at(*point) for point in points)
        dots = "".join(f"M{px:.1f} {py:.1f}h0" for px, py in places)
        plane.add(f'<path class="dots series-{number}" d="{dots}"/>')
    return plane.done()


def histogram(
    title: str,
    series: Mapping[str, Sequence[float]],
    label: str,
    ends: tuple[float, float],
    bins: int = 40,
) -> str:
    """Shares of the values in bins, one outline a series; values outside count at the ends."""
    shares = {
        name: np.histogram(np.clip(values, *ends), bins, ends)[0] / max(len(values), 1)
        for name, values in series.items()
    }
    top = max((float(share.max()) for share in shares.values()), default=0.0) or 1.0
    plane = _Plane(title, ends, (0.0, top), (label, "share"))
    plane.ticks_x(np.linspace(*ends, 6).round(4).tolist())
    heights = np.linspace(0, top, 5).tolist()
    plane.ticks_y(heights, [f"{height:.0%}" for height in heights])
    edges = np.linspace(*ends, bins + 1).tolist()
    for number, share in enumerate(shares.values()):
        corners = [plane.at(edges[0], 0)]
        for i, height in enumerate(share.tolist()):
            corners += [plane.at(edges[i], height), plane.at(edges[i + 1], height)]
        corners.append(plane.at(edges[-1], 0))
        line = "L".join(f"{px:.1f} {py:.1f}" for px, py in corners)
        plane.add(f'<path class="area series-{number}" d="M{line}"/>')
    return plane.done()


def stems(title: str, values: Sequence[float], marked: Sequence[bool], label: str) -> str:
    """A bar a layer, in their order; those marked are of ``series-1``."""
    top = max(values, default=0.0) or 1.0
    plane = _Plane(
        title, (0.0, max(len(values), 1)), (0.0, top), ("layer, in the order they run", label)
    )
    plane.ticks_y(np.linspace(0, top, 5).tolist(), [f"{v:.2g}" for v in np.linspace(0, top, 5)])
    wide = max((_WIDTH - _LEFT - _RIGHT) / max(len(values), 1) - 1, 0.5)
    for i, (value, other) in enumerate(zip(values, marked, strict=True)):
        px, py = plane.at(i, value)
        _, bottom = plane.at(i, 0)
        plane.add(
            f'<rect class="bar series-{int(other)}" x="{px:.1f}" y="{py:.1f}" '
            f'width="{wide:.1f}" height="{bottom - py:.1f}"/>'
        )
    return plane.done()


def spans(title: str, pairs: Sequence[tuple[float, float]], label: str) -> str:
    """For each layer the largest magnitude and the limit put on it, both above 0, in logarithms."""
    ends = [value for pair in pairs for value in pair if value > 0] or [1.0]
    low, high = math.floor(math.log10(min(ends))), math.ceil(math.log10(max(ends)))
    high = max(high, low + 1)
    plane = _Plane(
        title, (0.0, max(len(pairs), 1)), (low, high), ("layer, in the order they run", label)
    )
    powers = list(range(low, high + 1))
    plane.ticks_y(powers, [f"{10.0**power:g}" for power in powers])
    for i, (largest, limit) in enumerate(pairs):
        if min(largest, limit) > 0:
            px, top = plane.at(i + 0.5, math.log10(largest))
            _, mark = plane.at(i + 0.5, math.log10(limit))
            plane.add(f'<path class="stem series-0" d="M{px:.1f} {top:.1f}V{mark:.1f}"/>')
            plane.add(f'<path class="dots series-1" d="M{px:.1f} {mark:.1f}h0"/>')
    return plane.done()
