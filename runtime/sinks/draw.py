"""Draw tracks on an image."""

from __future__ import annotations

import colorsys
import functools
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from jdetrt.runtime.opencv import load_cv2
from jdetrt.types import Tracks

__all__ = ["Trails", "draw_label", "draw_tracks", "id_color"]

Color = tuple[int, int, int]

_GOLDEN_RATIO = 0.6180339887498949
_TONES = ((1.0, 0.75), (0.7, 1.0), (1.0, 0.4), (0.5, 0.8), (0.9, 1.0))  # value, saturation of HSV
_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)
_FRACTION_BITS = 4  # boxes are drawn at a sixteenth of a pixel, or they jump from frame to frame


class Trails:
    """Recent positions of the tracked people.

    Args:
        length: number of frames; memory is bounded by it and by the people in them.
    """

    def __init__(self, length: int = 30) -> None:
        self._recent: deque[dict[int, tuple[float, float]]] = deque(maxlen=length)

    def update(self, tracks: Tracks) -> dict[int, list[tuple[float, float]]]:
        """Add a frame; return id to x, y of the feet, oldest first, of those in this frame."""
        feet = np.column_stack([tracks.boxes[:, [0, 2]].mean(axis=1), tracks.boxes[:, 3]])
        ids = tracks.ids.tolist()
        self._recent.append({i: (x, y) for i, (x, y) in zip(ids, feet.tolist(), strict=True)})
        return {i: [points[i] for points in self._recent if i in points] for i in ids}


def draw_tracks(
    image: npt.NDArray[np.uint8],
    tracks: Tracks,
    *,
    trails: Mapping[int, Iterable[tuple[float, float]]] | None = None,
    caption: str = "",
    name: str = "",
) -> npt.NDArray[np.uint8]:
    """Draw the box, the id and, where given, the trail of each track.

    Args:
        image: ``(H, W, 3)`` uint8, BGR; it is not changed.
        tracks: boxes in pixels of ``image``.
        trails: id to x, y points, oldest first, as ``Trails.update`` gives them.
        name: of their class, before each id; empty for people.
        caption: a line for the upper left corner, such as frame number and FPS; ASCII.

    Returns:
        A new image of the same shape.
    """
    cv2 = load_cv2()
    canvas: npt.NDArray[np.uint8] = image.copy()
    thickness = max(1, round(min(image.shape[:2]) / 360))
    # Those whose feet are lower stand nearer; they are drawn last and so cover the others.
    order = np.argsort(tracks.boxes[:, 3], kind="stable")
    for i in order:
        track = int(tracks.ids[i])
        color = id_color(track)
        if trails is not None:
            _draw_trail(canvas, trails.get(track, ()), color, thickness)
        left, top, right, bottom = (
            int(v) for v in np.clip(tracks.boxes[i], -1e6, 1e6) * (1 << _FRACTION_BITS)
        )
        cv2.rectangle(
            canvas, (left, top), (right, bottom), color, thickness, cv2.LINE_AA, _FRACTION_BITS
        )
    for i in order:  # labels after all boxes, so that no line runs through a number
        track = int(tracks.ids[i])
        corner = tracks.boxes[i, :2] - thickness / 2
        text = f"{name} {track}".strip()
        draw_label(canvas, text, (corner[0], corner[1]), id_color(track), above=True)
    if caption:
        draw_label(canvas, caption, (0, 0), (32, 32, 32), above=False)
    return canvas


@functools.lru_cache(maxsize=4096)
def id_color(track: int) -> Color:
    """The BGR colour of an id, always the same.

    Steps of the golden ratio around the hue circle keep ids that follow each other far apart. They
    come near the same hue again after 8, 13, 21 and 34 ids; five tones in turn make those differ,
    and tell colours apart for those who see fewer hues.
    """
    hue = (track * _GOLDEN_RATIO) % 1.0
    value, saturation = _TONES[track % len(_TONES)]
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(blue * 255), round(green * 255), round(red * 255)


def _draw_trail(
    canvas: npt.NDArray[np.uint8],
    points: Iterable[tuple[float, float]],
    color: Color,
    thickness: int,
) -> None:
    cv2 = load_cv2()
    line = np.array(list(points), np.float64).reshape(-1, 1, 2).clip(-1e6, 1e6)
    if len(line) > 1:
        fixed = (line * (1 << _FRACTION_BITS)).astype(np.int32)
        cv2.polylines(canvas, [fixed], False, color, thickness, cv2.LINE_AA, _FRACTION_BITS)


def draw_label(
    canvas: npt.NDArray[np.uint8],
    text: str,
    corner: tuple[float, float],
    color: Color,
    *,
    above: bool,
) -> None:
    """Draw text on a filled label, moved into the image if need be.

    Args:
        canvas: ``(H, W, 3)`` uint8, BGR; it is drawn on.
        text: ASCII.
        corner: x y in pixels of the label's lower left corner (``above``), or its upper left one.
        color: of the label, BGR; the text is black or white.
        above: whether the label stands above the corner.
    """
    cv2 = load_cv2()
    height, width = canvas.shape[:2]
    scale = max(0.4, min(height, width) / 1100)
    weight = max(1, round(scale * 1.6))
    font: Any = cv2.FONT_HERSHEY_SIMPLEX
    (text_width, text_height), _ = cv2.getTextSize(text, font, scale, weight)
    margin = max(2, round(scale * 5))
    label_width, label_height = text_width + 2 * margin, text_height + 2 * margin
    left = int(np.clip(corner[0], 0, max(width - label_width, 0)))
    top = int(np.clip(corner[1] - above * label_height, 0, max(height - label_height, 0)))
    cv2.rectangle(
        canvas, (left, top), (left + label_width - 1, top + label_height - 1), color, cv2.FILLED
    )
    blue, green, red = color
    ink = _BLACK if 0.114 * blue + 0.587 * green + 0.299 * red > 128 else _WHITE
    at = (left + margin, top + margin + text_height)
    cv2.putText(canvas, text, at, font, scale, ink, weight, cv2.LINE_AA)
