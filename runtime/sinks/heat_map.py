"""Heat map: where people spend their time, as an image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from jdetrt.errors import OutputError
from jdetrt.runtime.events.regions import anchors
from jdetrt.runtime.opencv import load_cv2, native_name
from jdetrt.runtime.sinks.base import Output, PendingFile
from jdetrt.types import Frame, Size, Tracks

__all__ = ["HeatMapSink"]

_LONGEST_SIDE = 480  # cells of the grid along the longer side of a frame
_BLUR = 0.012  # standard deviation of the spot of one person, of the longer side
_OPACITY = 0.7
_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


class HeatMapSink(Output):
    """An image that shows where tracked people stood, over the last frame of the run.

    Each track counts once a frame, at the middle of the lower edge of its box. Colours go with the
    square root of the count, up to its highest value.

    Args:
        path: of the image, ending in .png, .jpg or .webp; its folder is made.

    Raises:
        OutputError: another suffix, or the file cannot be made.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        if self._path.suffix.lower() not in _SUFFIXES:
            raise OutputError(f"{path}: expected an image ending in {', '.join(_SUFFIXES)}")
        load_cv2()
        native_name(self._path, OutputError)
        self._pending: PendingFile | None = PendingFile(path)
        self._image: npt.NDArray[np.uint8] | None = None
        self._cells: npt.NDArray[np.float32] | None = None

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Count the tracks of a frame. Raises OutputError."""
        if self._pending is None:
            raise OutputError(f"{self._path}: is closed; frame {frame.index} is not counted")
        if not frame.image.size:
            raise OutputError(f"{self._path}: frame {frame.index} has no image to draw on")
        size = Size.of(frame.image)
        self._image = frame.image
        if self._cells is None:
            scale = min(1.0, _LONGEST_SIDE / max(size))
            self._cells = np.zeros([max(1, round(side * scale)) for side in size.shape], np.float32)
        height, width = self._cells.shape
        x, y = (anchors(tracks, "feet") / size * (width, height)).astype(int).T
        inside = (x >= 0) & (x < width) & (y >= 0) & (y <= height)  # feet may touch the lower edge
        np.add.at(self._cells, (np.minimum(y[inside], height - 1), x[inside]), 1.0)
        self.frames += 1

    def close(self) -> None:
        """Draw the image and give it its name. Raises OutputError."""
        if self._pending is None:
            return
        if self._image is None or self._cells is None:
            self.discard()
            return
        cv2 = load_cv2()
        pending, self._pending = self._pending, None
        if not cv2.imwrite(str(pending.temporary), _draw(self._image, self._cells)):
            pending.drop()
            raise OutputError(f"{self._path}: cannot be written (is the disk full?)")
        pending.commit()

    def discard(self) -> None:
        """Leave no image."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.drop()


def _draw(image: npt.NDArray[np.uint8], cells: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    cv2 = load_cv2()
    heat = np.sqrt(cv2.GaussianBlur(cells, (0, 0), max(cells.shape) * _BLUR))
    heat /= max(float(heat.max()), 1e-9)
    height, width = image.shape[:2]
    heat = cv2.resize(heat, (width, height), interpolation=cv2.INTER_LINEAR)[..., None]
    colors = cv2.applyColorMap((heat * 255).astype(np.uint8), cv2.COLORMAP_TURBO)
    opacity = _OPACITY * np.minimum(1.0, heat * 4)
    mixed: npt.NDArray[np.uint8] = (image * (1 - opacity) + colors * opacity).astype(np.uint8)
    return mixed
