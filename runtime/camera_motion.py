"""Motion of the camera from frame to frame, by sparse optical flow on a small grey image.

Corners of the frame before are followed into this one (Lucas-Kanade in pyramids, Bouguet 2001), and
the shift, turn and zoom that most of them agree on is taken for the camera's (RANSAC). Corners on
people are left out where their boxes are known.
"""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

from jdetrt.config import CAMERA_MOTIONS
from jdetrt.errors import ConfigError
from jdetrt.runtime.opencv import load_cv2
from jdetrt.types import Frame, Size

__all__ = ["CameraMotion", "chain"]


_WIDTH = 384  # pixels of the small image, at most
_LEAST_SIDE = 64  # pixels of an image; in a smaller one nobody can tell
_CORNERS = 160
_LEAST_CORNERS = 16
_LEAST_SHARE = 0.4  # of the corners that agree
_CELLS = (6, 4)  # across and down
_LEAST_CELLS = 8  # that have corners that agree: they must not lie on one thing that moves
_LARGEST_ZOOM = 1.2  # from one frame to the next; more is a cut or a mistake
_TOLERANCE = 1.0  # small pixels
_STANDING = 0.35  # small pixels; a corner that moves less stands still
_RIVALS = (
    0.5  # of the corners that agree: so many that stand still, and people moved, not the camera
)
_MOVED = 0.4  # small pixels; less is no motion
_THUMB = (48, 27)
_CHANGED = 6  # grey levels of a thumbnail's pixel
_CHECK_EVERY = 15  # frames: a camera that stands still is checked so often
_PATIENCE = 60  # frames without motion, after which it stands still

_F32 = npt.NDArray[np.float32]
_F64 = npt.NDArray[np.float64]
_Image = npt.NDArray[np.uint8]


class CameraMotion:
    """Estimates the motion of the camera of one source.

    In mode ``"auto"`` a camera that stands still costs a comparison of thumbnails a frame; where
    most of the thumbnail changes, and every half a second, the motion is estimated. Once most of
    the image has moved with the camera twice in a row, it is in every frame, until the camera has
    stood still for two seconds.

    Args:
        mode: ``"on"``: in every frame; ``"auto"``; ``"off"``: never.

    Attributes:
        people: boxes xyxy ``(N, 4)`` in source pixels of a recent frame, whose corners are left
            out; may be set by another thread.
        moving: whether the camera moves, as far as is known.
        moved: frames in which the camera moved.

    Raises:
        ConfigError: there is no such mode.
    """

    def __init__(self, mode: str = "auto") -> None:
        if mode not in CAMERA_MOTIONS:
            raise ConfigError(
                f"camera_motion: expected one of {', '.join(CAMERA_MOTIONS)}, got {mode!r}"
            )
        self.people: _F32 = np.empty((0, 4), np.float32)
        self.moving = mode == "on"
        self.moved = 0
        self._mode = mode
        self._size: Size | None = None
        self._small: _Image | None = None
        self._thumb: _Image | None = None
        self._suspected = False  # the camera seems to have moved in the frame before
        self._still = 0  # frames since the camera moved last
        self._frames = 0
        self._waiting: deque[tuple[int, _F64]] = deque()  # number of a frame, motion into it

    def note(self, frame: Frame) -> None:
        """Take in the next frame that is read; its motion waits for `until`."""
        motion = self(frame.image)
        if motion is not None:
            self._waiting.append((frame.index, motion))

    def until(self, index: int) -> _F64 | None:
        """The motion from the frame asked for last to frame ``index``, as ``__call__`` gives it.

        It spans frames that were read and left out in between. May be called by another thread
        than ``note``.
        """
        motion = None
        while self._waiting and self._waiting[0][0] <= index:
            motion = chain(motion, self._waiting.popleft()[1])
        return motion

    def __call__(self, image: _Image) -> _F64 | None:
        """Estimate the motion from the frame before to the next one.

        Args:
            image: ``(H, W, 3)`` or ``(H, W)`` uint8.

        Returns:
            ``(2, 3)``: it takes a point ``(x, y, 1)`` of the frame before, in source pixels, to its
            place in this frame; None where the camera did not move or nobody can tell.
        """
        size = Size.of(image)
        if self._mode == "off" or min(size) < _LEAST_SIDE:
            return None
        cv2 = load_cv2()
        scale = min(_WIDTH / size.width, 1.0)
        small_size = (round(size.width * scale), max(round(size.height * scale), _LEAST_SIDE // 2))
        small = cv2.resize(image, small_size, interpolation=cv2.INTER_LINEAR)
        if small.ndim == 3:
            small = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)
        thumb = cv2.resize(small, _THUMB, interpolation=cv2.INTER_AREA)
        before, self._small = self._small, small
        thumb_before, self._thumb = self._thumb, thumb
        same_size, self._size = size == self._size, size
        if before is None or thumb_before is None or not same_size:
            return None
        self._frames += 1
        due = self._frames % _CHECK_EVERY == 1
        if not (self.moving or self._suspected or due or _differs(thumb, thumb_before)):
            return None
        factors = small_size[0] / size.width, small_size[1] / size.height
        motion, sure = self._estimate(before, small, factors)
        if motion is None or _shift(motion, small_size) < _MOVED:
            self._still += 1
            self._suspected = False
            if self._mode == "auto" and self._still > _PATIENCE:
                self.moving = False
            return None
        if not self.moving:
            self.moving, self._suspected = sure and self._suspected, sure
            if not sure:
                return None
        self._still = 0
        self.moved += 1
        motion[:, 2] /= factors
        return motion

    def _estimate(
        self, before: _Image, small: _Image, factors: tuple[float, float]
    ) -> tuple[_F64 | None, bool]:
        """The motion in small pixels, and whether most of the image agrees with it."""
        cv2 = load_cv2()
        mask = None
        if len(self.people):
            mask = np.full(before.shape, 255, np.uint8)
            margin = 0.1 * (self.people[:, 2:] - self.people[:, :2])
            grown = np.hstack([self.people[:, :2] - margin, self.people[:, 2:] + margin])
            for x1, y1, x2, y2 in (grown * (factors * 2)).clip(0, 1e6).astype(int).tolist():
                mask[y1 : y2 + 1, x1 : x2 + 1] = 0
        corners = cv2.goodFeaturesToTrack(before, _CORNERS, 0.01, 8, mask=mask, blockSize=5)
        if corners is None or len(corners) < _LEAST_CORNERS:
            return None, False
        moved, status, _ = cv2.calcOpticalFlowPyrLK(
            before, small, corners, None, winSize=(15, 15), maxLevel=3
        )
        there = status.ravel() == 1
        a, b = corners.reshape(-1, 2)[there], moved.reshape(-1, 2)[there]
        if len(a) < _LEAST_CORNERS:
            return None, False
        motion, agree = cv2.estimateAffinePartial2D(
            a, b, method=cv2.RANSAC, ransacReprojThreshold=_TOLERANCE
        )
        if motion is None:
            return None, False
        agreeing = a[agree.ravel() == 1]
        standing = np.count_nonzero(np.hypot(*(b - a).T) < _STANDING)
        zoom = float(np.hypot(*motion[:, 0]))
        if (
            standing >= _RIVALS * len(agreeing)
            or len(agreeing) < max(_LEAST_CORNERS, _LEAST_SHARE * len(corners))
            or not 1 / _LARGEST_ZOOM < zoom < _LARGEST_ZOOM
            or (cells := _cells(agreeing, before.shape)) < _LEAST_CELLS
        ):
            return None, False
        sure = 2 * len(agreeing) >= len(corners) and 2 * cells >= _CELLS[0] * _CELLS[1]
        return np.asarray(motion, np.float64), sure


def chain(first: _F64 | None, then: _F64 | None) -> _F64 | None:
    """Two motions ``(2, 3)`` as one; None stands for none."""
    if first is None or then is None:
        return then if first is None else first
    both = then[:, :2] @ first
    both[:, 2] += then[:, 2]
    return np.asarray(both)


def _differs(thumb: _Image, before: _Image) -> bool:
    """Tell whether as much of the thumbnail has changed as only a camera that moves can change."""
    changed = np.abs(thumb.astype(np.int16) - before) > _CHANGED
    return bool(4 * np.count_nonzero(changed) > changed.size)


def _shift(motion: _F64, size: tuple[int, int]) -> float:
    """Distance that the farthest corner of the image moves, in its pixels."""
    width, height = size
    corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]], float)
    return float(np.hypot(*(corners @ motion.T - corners[:, :2]).T).max())


def _cells(points: _F32, shape: tuple[int, ...]) -> int:
    """Number of cells of the image that points lie in."""
    across, down = _CELLS
    cells = np.floor(points * [across / shape[1], down / shape[0]]).astype(int)
    return len(np.unique(cells, axis=0))
