"""Window that shows the frames of a run on this machine's own screen."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from jdetrt.errors import OutputError
from jdetrt.runtime.events.counter import EventCounter
from jdetrt.runtime.opencv import load_cv2
from jdetrt.runtime.sinks.base import FrameResult
from jdetrt.runtime.sinks.draw import draw_tracks
from jdetrt.runtime.sinks.draw_regions import draw_regions

__all__ = ["Window"]

_KEYS = (ord("q"), 27)  # 27 is Escape


class Window:
    """Shows each stream in a window of its own; a watcher. The keys q and Escape end the run.

    Args:
        counters: of lines and zones, by stream; they are drawn.

    Raises:
        OutputError: there is no screen, or OpenCV was built without windows.
    """

    def __init__(self, counters: Mapping[str, EventCounter]) -> None:
        screens = ("DISPLAY", "WAYLAND_DISPLAY")
        if sys.platform == "linux" and not any(os.environ.get(name) for name in screens):
            raise OutputError(
                "--show: there is no screen (DISPLAY is not set); use --live PORT and a browser"
            )
        self._cv2 = load_cv2()
        try:
            self._cv2.namedWindow("jdetrt", self._cv2.WINDOW_NORMAL)
            self._cv2.destroyWindow("jdetrt")
        except self._cv2.error as err:
            raise OutputError(
                "--show: this OpenCV has no windows (opencv-python-headless?); use --live PORT "
                "and a browser"
            ) from err
        self._counters = counters

    def __call__(self, result: FrameResult) -> None:
        """Show a frame. Raises KeyboardInterrupt when a key ends the run."""
        if not result.frame.image.size:
            return
        canvas = draw_tracks(result.frame.image, result.tracks)
        counter = self._counters.get(result.stream)
        if counter is not None:
            draw_regions(canvas, counter)
        self._cv2.imshow(result.stream, canvas)
        if self._cv2.waitKey(1) & 0xFF in _KEYS:
            raise KeyboardInterrupt

    def __enter__(self) -> Window:
        return self

    def __exit__(self, *_: object) -> None:
        self._cv2.destroyAllWindows()
