"""Virtual moving camera: a window that pans, zooms and shakes within the frames of a still one.

Everything is known exactly: the motion from frame to frame, and where the ground truth and
detections of the whole frame are in the window.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jdetrt.errors import ConfigError
from jdetrt.runtime.opencv import load_cv2
from jdetrt.types import Size

__all__ = ["PATHS", "VirtualCamera"]

PATHS = ("still", "pan", "zoom", "shake", "all")
_PART = 0.55  # of the frame that the window shows
_PAN = 5.0  # seconds there and back
_ZOOM = 6.0
_SHAKE = 0.006  # of the width of the frame; standard deviation of the place from frame to frame
_LEAST_VISIBLE = 0.25  # of a box; less is outside

_F64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class VirtualCamera:
    """The window of each frame.

    Args:
        frame_size: of the frames, in pixels.
        frames: their number.
        frame_rate: in Hz.
        path: one of ``PATHS``; ``"all"`` pans, zooms and shakes at a time.
        seed: of the shaking.

    Raises:
        ConfigError: there is no such path.
    """

    frame_size: tuple[int, int]
    frames: int
    frame_rate: float
    path: str
    seed: int = 0

    def __post_init__(self) -> None:
        if self.path not in PATHS:
            raise ConfigError(f"path: expected one of {', '.join(PATHS)}, got {self.path!r}")

    @property
    def size(self) -> Size:
        """Width and height of the images of the window, which are even."""
        width, height = self.frame_size
        return Size(round(width * _PART / 2) * 2, round(height * _PART / 2) * 2)

    def windows(self) -> Iterator[_F64]:
        """Yield ``(2, 3)`` for each frame: from pixels of the frame to those of the window."""
        moves = {part: self.path in (part, "all") for part in PATHS}
        random = np.random.default_rng(self.seed)
        width, height = self.frame_size
        place = np.zeros(2)
        for frame in range(self.frames):
            time = frame / self.frame_rate
            pan = np.sin(2 * np.pi * time / _PAN) if moves["pan"] else 0.0
            zoom = 1.0 + 0.2 * np.sin(2 * np.pi * time / _ZOOM) if moves["zoom"] else 1.0
            place = 0.7 * place + random.normal(0.0, _SHAKE * width, 2) * moves["shake"]
            shown = np.array([width, height]) * _PART / zoom
            room = np.array([width, height]) - shown
            left_top = room * [0.5 + 0.4 * pan, 0.6] + place
            left_top = left_top.clip(0, room)
            yield np.column_stack([np.eye(2) * zoom, -left_top * zoom])

    def motions(self) -> Iterator[_F64 | None]:
        """Yield ``(2, 3)`` for each frame: from the window before; None for the first."""
        before: _F64 | None = None
        for window in self.windows():
            if before is None:
                yield None
            else:
                linear = window[:, :2] @ np.linalg.inv(before[:, :2])
                yield np.column_stack([linear, window[:, 2] - linear @ before[:, 2]])
            before = window

    def show(self, image: npt.NDArray[np.uint8], window: _F64) -> npt.NDArray[np.uint8]:
        """The window's image of a frame."""
        cv2 = load_cv2()
        shown: npt.NDArray[np.uint8] = cv2.warpAffine(image, window, self.size)
        return shown

    def move(self, boxes: _F64, window: _F64) -> tuple[_F64, npt.NDArray[np.bool_]]:
        """Boxes of the frame in the window.

        Args:
            boxes: ``(N, 4)`` xyxy in pixels of the frame.
            window: of the frame.

        Returns:
            ``(N, 4)`` cut off at the edges of the window, and ``(N,)`` whether enough of a box is
            visible.
        """
        moved = boxes * np.tile(np.diag(window[:, :2]), 2) + np.tile(window[:, 2], 2)
        cut = moved.clip(0, np.tile(self.size, 2))
        area, shown = (np.prod(b[:, 2:] - b[:, :2], axis=1) for b in (moved, cut))
        return cut, shown > _LEAST_VISIBLE * area
