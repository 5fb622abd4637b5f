"""Lines, zones and masks in the view of a camera: their settings and geometry."""

from __future__ import annotations

import functools
from itertools import chain
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from msgspec import Meta

from jdetrt.config import Fraction, Positive, Section, load
from jdetrt.types import Array, Detections, Tracks

__all__ = ["Line", "Mask", "Regions", "Zone", "anchors", "line_distance", "zone_distance"]

Points = npt.NDArray[np.float64]
Name = Annotated[str, Meta(min_length=1, max_length=100)]
Coordinate = Annotated[float, Meta(ge=0.0, le=1e6)]
Point = tuple[Coordinate, Coordinate]
Polygon = Annotated[tuple[Point, ...], Meta(min_length=3, max_length=1000)]


class Line(Section, frozen=True):
    """A line to cross, from its first point to its second."""

    name: Name
    points: tuple[Point, Point]
    # Of those who cross towards the right-hand side, looking along the line, and of the others.
    directions: tuple[Name, Name] = ("in", "out")


class Zone(Section, frozen=True):
    """A polygon to enter, stay in and leave; its last point is joined to its first."""

    name: Name
    points: Polygon
    dwell: Positive | None = None  # seconds after which a stay is an event of its own


class Mask(Section, frozen=True):
    """A polygon whose detections alone are tracked, or are left out."""

    points: Polygon


class Regions(Section, frozen=True):
    """All regions of one camera, as the tables of a TOML file.

    Points are fractions of the frame's width and height, so that they hold when the camera changes
    its resolution; or pixels of a frame of ``size``, where that is given.
    """

    line: tuple[Line, ...] = ()
    zone: tuple[Zone, ...] = ()
    include: tuple[Mask, ...] = ()  # where given, only detections in one of these are tracked
    ignore: tuple[Mask, ...] = ()  # detections in these are not tracked
    size: tuple[Annotated[int, Meta(ge=1)], Annotated[int, Meta(ge=1)]] | None = None
    anchor: Literal["feet", "center"] = "feet"  # the point of a box that is somewhere
    min_age: Annotated[int, Meta(ge=0)] = 2  # frames since its birth after which a track counts
    margin: Fraction = 0.05  # how far beyond a border it must be to have crossed, in box heights
    lost_after: Positive = 2.0  # seconds unseen after which somebody has left a zone

    def __post_init__(self) -> None:
        names = [line.name for line in self.line] + [zone.name for zone in self.zone]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two lines or zones are called {name!r}; names must differ")
        if self.size is None:
            polygons = [*(x.points for x in self.zone), *(x.points for x in self._masks())]
            points = [*(point for x in self.line for point in x.points), *chain(*polygons)]
            if any(max(point) > 1.0 for point in points):
                raise ValueError(
                    "points are fractions of the frame, 0 to 1; for pixels, state the frame "
                    "they refer to, such as size = [1920, 1080]"
                )
        for line in self.line:
            if line.points[0] == line.points[1]:
                raise ValueError(f"line {line.name!r}: its two points are the same")

    @property
    def empty(self) -> bool:
        """True without a line, zone or mask."""
        return not (self.line or self.zone or self._masks())

    def _masks(self) -> tuple[Mask, ...]:
        return self.include + self.ignore

    @classmethod
    def read(cls, path: str | Path) -> Regions:
        """Read a TOML file. Raises ConfigError."""
        return load(path, cls)

    def pixels(self, points: tuple[Point, ...], size: tuple[int, int]) -> Points:
        """Points ``(K, 2)`` float64, x y in pixels of a frame of width and height ``size``."""
        return _pixels(points, self.size or (1, 1), tuple(size))

    def track_mask(self, detections: Detections, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
        """Tell which detections are to be tracked, by ``include`` and ``ignore``.

        Args:
            detections: in source pixels.
            size: width and height of the frame.

        Returns:
            ``(N,)`` bool.
        """
        points = anchors(detections, self.anchor)
        keep: npt.NDArray[np.bool_] = np.ones(len(points), np.bool_)
        if self.include:
            keep = np.any([self._inside(mask, points, size) for mask in self.include], axis=0)
        for mask in self.ignore:
            keep &= ~self._inside(mask, points, size)
        return keep

    def _inside(self, mask: Mask, points: Points, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
        inside: npt.NDArray[np.bool_] = zone_distance(self.pixels(mask.points, size), points) >= 0
        return inside


@functools.lru_cache(maxsize=1024)
def _pixels(points: tuple[Point, ...], unit: tuple[int, int], size: tuple[int, int]) -> Points:
    scaled: Points = np.array(points, np.float64) * (np.array(size) / np.array(unit))
    scaled.flags.writeable = False
    return scaled


def anchors(people: Detections | Tracks, anchor: str) -> Points:
    """The point of each box that stands for where somebody is.

    Args:
        people: N of them, in pixels.
        anchor: ``"feet"``, the middle of the lower edge, or ``"center"``.

    Returns:
        ``(N, 2)`` float64, x y in pixels.
    """
    boxes = people.boxes.astype(np.float64)
    x = (boxes[:, 0] + boxes[:, 2]) / 2
    y = boxes[:, 3] if anchor == "feet" else (boxes[:, 1] + boxes[:, 3]) / 2
    return np.column_stack([x, y])


def line_distance(line: Points, points: Points) -> Array:
    """Distance of points from the infinite line through two points.

    Args:
        line: ``(2, 2)`` x y.
        points: ``(N, 2)`` x y.

    Returns:
        ``(N,)`` float64; positive on the right-hand side, looking from the first point of ``line``
        to the second (y points down).
    """
    along = line[1] - line[0]
    offset = points - line[0]
    cross = along[0] * offset[:, 1] - along[1] * offset[:, 0]
    return np.asarray(cross / max(float(np.hypot(*along)), 1e-9))


def zone_distance(polygon: Points, points: Points) -> Array:
    """Distance of points from the border of a polygon.

    Args:
        polygon: ``(K, 2)`` x y; inside is what a ray leaves an odd number of times.
        points: ``(N, 2)`` x y.

    Returns:
        ``(N,)`` float64; positive inside, negative outside, 0 on the border.
    """
    start, end = polygon, np.roll(polygon, -1, axis=0)
    along = end - start  # (K, 2)
    offset = points[:, None] - start  # (N, K, 2)
    length2 = np.maximum((along**2).sum(axis=1), 1e-18)
    t = np.clip((offset * along).sum(axis=2) / length2, 0.0, 1.0)
    distance = np.sqrt(((offset - t[..., None] * along) ** 2).sum(axis=2)).min(axis=1)
    x, y = points[:, :1], points[:, 1:]
    spans = (start[:, 1] > y) != (end[:, 1] > y)
    rise = np.where(along[:, 1] == 0, 1.0, along[:, 1])
    crossing = start[:, 0] + (y - start[:, 1]) / rise * along[:, 0]
    inside = np.count_nonzero(spans & (x < crossing), axis=1) % 2 == 1
    return np.asarray(np.where(inside, distance, -distance))
