"""Charts: what is drawn where."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from jdetrt.svg import histogram, scatter, spans, stems


def points(svg: str, kind: str) -> list[tuple[float, float]]:
    """The points of the path of a class."""
    ElementTree.fromstring(svg)  # well-formed
    (path,) = re.findall(rf'class="{kind}" d="([^"]*)"', svg)
    return [(float(x), float(y)) for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", path)]


def test_scatter() -> None:
    series = {"a": [(0.0, 0.0), (1.0, 1.0), (0.5, 0.25)], "b": [(2.0, -1.0)]}
    svg = scatter("a < b", series, ("x", "y"))
    (left, bottom), (right, top), (x, y) = points(svg, "dots series-0")
    assert (x, y) == pytest.approx(((left + right) / 2, bottom + (top - bottom) / 4), abs=0.11)
    assert points(svg, "dots series-1") == [(right, bottom)]  # outside: on the edge
    assert "<title>a &lt; b</title>" in svg


def test_histogram() -> None:
    svg = histogram("h", {"a": [0.1, 0.2, 0.9, 5.0], "b": []}, "value", (0.0, 1.0), bins=2)
    corners = points(svg, "area series-0")
    (left, bottom), (_, first), (middle, _), (_, second), (right, _), _ = corners
    assert middle == pytest.approx((left + right) / 2, abs=0.11)
    assert first == second < bottom  # two values each
    assert {y for _, y in points(svg, "area series-1")} == {bottom}
    assert ">50%<" in svg


def test_stems() -> None:
    svg = stems("s", [1.0, 0.5, 0.0], [False, True, False], "damage")
    bars = re.findall(r'class="bar series-(\d)" x="[\d.]+" y="([\d.]+)".*?height="([\d.]+)"', svg)
    assert [kind for kind, _, _ in bars] == ["0", "1", "0"]
    heights = [float(height) for _, _, height in bars]
    assert heights[1] == pytest.approx(heights[0] / 2, abs=0.11)
    assert heights[2] == 0
    ElementTree.fromstring(stems("nothing", [0.0], [False], "damage"))


def test_spans() -> None:
    svg = spans("r", [(100.0, 10.0), (1.0, 1.0), (0.0, 0.0)], "magnitude")
    assert svg.count('class="stem') == 2  # what is 0 has no logarithm
    tops = [float(y) for y in re.findall(r'class="stem series-0" d="M[\d.]+ ([\d.]+)V', svg)]
    marks = [float(y) for y in re.findall(r"V([\d.]+)", svg)]
    assert tops[1] == marks[1]
    assert marks[0] == pytest.approx((tops[0] + tops[1]) / 2, abs=0.11)
    assert ">100<" in svg
    ElementTree.fromstring(spans("nothing", [], "magnitude"))
