"""Painter of frames for videos, images and windows: boxes, ids, trails, and what others add."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from jdetrt.errors import OutputError
from jdetrt.runtime.sinks.draw import Trails, draw_tracks
from jdetrt.types import Frame, Tracks

__all__ = ["Overlay", "Painter"]

# Draws more on a frame, in place: image (H, W, 3) uint8 BGR, the frame and its tracks.
Overlay = Callable[[npt.NDArray[np.uint8], Frame, Tracks], None]


class Painter:
    """Draws frames, with or without trails, and what ``overlay`` adds."""

    def __init__(self, trail_length: int, overlay: Overlay | None, name: str) -> None:
        self._trails = Trails(trail_length) if trail_length else None
        self._overlay = overlay
        self._name = name

    def __call__(self, path: Path, frame: Frame, tracks: Tracks) -> npt.NDArray[np.uint8]:
        """Draw a frame for the file ``path``. Raises OutputError where it has no image."""
        if not frame.image.size:
            raise OutputError(f"{path}: frame {frame.index} has no image to draw on")
        trails = self._trails.update(tracks) if self._trails else None
        image = draw_tracks(
            frame.image, tracks, trails=trails, caption=str(frame.index), name=self._name
        )
        if self._overlay is not None:
            self._overlay(image, frame, tracks)
        return image
