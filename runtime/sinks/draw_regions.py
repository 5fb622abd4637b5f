"""Draw lines and zones, with their counts, on an image."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from jdetrt.runtime.events.counter import EventCounter
from jdetrt.runtime.events.regions import Points
from jdetrt.runtime.opencv import load_cv2
from jdetrt.runtime.sinks.draw import draw_label
from jdetrt.types import Frame, Size, Tracks

__all__ = ["draw_regions", "regions_overlay"]

Image = npt.NDArray[np.uint8]

_LINE = (80, 220, 255)  # BGR
_ZONE = (255, 190, 80)
_MASK = (110, 110, 110)
_FILL = 0.18


def regions_overlay(counter: EventCounter) -> Callable[[Image, Frame, Tracks], None]:
    """An overlay of videos and images that draws the regions of a counter."""
    return lambda canvas, frame, tracks: draw_regions(canvas, counter)


def draw_regions(canvas: Image, counter: EventCounter) -> None:
    """Draw the regions of a counter, and what it has counted, onto an image.

    An arrow shows the first direction of a line.

    Args:
        canvas: ``(H, W, 3)`` uint8, BGR; it is drawn on.
        counter: its masks are drawn, too.
    """
    cv2 = load_cv2()
    regions, size = counter.regions, Size.of(canvas)
    thickness = max(1, round(min(size) / 360))
    filled = canvas.copy()
    for zone in regions.zone:
        cv2.fillPoly(filled, [_rounded(regions.pixels(zone.points, size))], _ZONE)
    if regions.zone:
        cv2.addWeighted(filled, _FILL, canvas, 1 - _FILL, 0, canvas)
    for mask in (*regions.include, *regions.ignore):
        outline = _rounded(regions.pixels(mask.points, size))
        cv2.polylines(canvas, [outline], True, _MASK, thickness, cv2.LINE_AA)
    for zone in regions.zone:
        border = regions.pixels(zone.points, size)
        cv2.polylines(canvas, [_rounded(border)], True, _ZONE, thickness, cv2.LINE_AA)
        count = counter.zones.get(zone.name)  # another thread may replace the regions meanwhile
        label = _ascii(f"{zone.name}: {count.occupancy if count else 0}")
        draw_label(canvas, label, tuple(border[border[:, 1].argmin()]), _ZONE, above=False)
    for line in regions.line:
        ends = regions.pixels(line.points, size)
        start, end = _rounded(ends).tolist()
        cv2.line(canvas, start, end, _LINE, thickness * 2, cv2.LINE_AA)
        middle, along = ends.mean(axis=0), ends[1] - ends[0]
        right = np.array([-along[1], along[0]]) / max(float(np.hypot(*along)), 1e-9)
        tip = middle + right * min(size) / 16
        tail, head = _rounded(np.array([middle, tip])).tolist()
        cv2.arrowedLine(canvas, tail, head, _LINE, thickness, cv2.LINE_AA, tipLength=0.4)
        line_count = counter.lines.get(line.name)
        crossings = line_count.crossings.items() if line_count else ()
        counts = ", ".join(f"{name} {number}" for name, number in crossings)
        draw_label(canvas, _ascii(f"{line.name}: {counts}"), tuple(ends[0]), _LINE, above=True)


def _rounded(points: Points) -> npt.NDArray[np.int32]:
    return np.rint(points).astype(np.int32)


def _ascii(text: str) -> str:
    """Text that OpenCV can draw."""
    return text.encode("ascii", "replace").decode()
