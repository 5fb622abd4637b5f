"""Base of the three ways to associate."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from jdetrt.config import TrackerConfig
from jdetrt.runtime.tracking import kalman
from jdetrt.runtime.tracking.costs import iou_pairs
from jdetrt.runtime.tracking.track_store import Observations, TrackStore

__all__ = ["LEAST_BUFFER", "SPARSE", "Association"]

_RATE = 30.0  # Hz, that settings are given for
SPARSE = 1.5  # frames from one to the next; above, people may walk out of their boxes in between
LEAST_BUFFER = 3  # frames; below about 3 FPS a buffer in seconds would be no frame at all

_Config = TypeVar("_Config", bound=TrackerConfig)


class Association(ABC, Generic[_Config]):
    """Matches the detections of a frame with tracks, and returns the slots to report.

    Attributes:
        uses_embeddings: whether appearance plays a part.
        config: its settings.
        frame: duration of a frame of the video, in the unit of time: a frame, or with ``by_time``
            one at 30 FPS.
        buffer: how long a lost track is kept, in the unit of time.
        store: the tracks.
    """

    uses_embeddings: ClassVar[bool] = True
    by_time: ClassVar[bool] = False  # settings are of frames at 30 FPS, not of the video's
    revival: ClassVar[int] = 1  # frames after its buffer in which a track can still be matched

    def __init__(
        self,
        config: _Config,
        frame_rate: float,
        noise: npt.NDArray[np.float64] = kalman.REFERENCE_NOISE,
    ) -> None:
        self.config = config
        self.frame = _RATE / frame_rate if self.by_time else 1.0
        buffer = float(config.buffer) if self.by_time else int(frame_rate / _RATE * config.buffer)
        self.buffer = max(buffer, self.frame * min(config.buffer, LEAST_BUFFER))
        self.store = TrackStore(noise)

    def update(
        self,
        detections: Observations,
        elapsed: float = 1.0,
        motion: npt.NDArray[np.float64] | None = None,
    ) -> npt.NDArray[np.int64]:
        """Take in one frame.

        Args:
            detections: of the frame.
            elapsed: frames since the one before, 0 or more; infinity where all tracks end.
            motion: ``(2, 3)`` of the camera since then; None for none.

        Returns:
            ``(M,)`` the slots to report.
        """
        longest = self.buffer + (self.revival + 1) * self.frame
        self.store.next_frame(min(elapsed * self.frame, longest))
        if elapsed != 1.0:
            self._end_overdue()
        if motion is not None:
            self.store.warp(motion)
        return self._associate(detections)

    def duplicates(
        self,
        tracked: npt.NDArray[np.int64],
        lost: npt.NDArray[np.int64],
        limit: float,
        *,
        plus_one: bool,
    ) -> npt.NDArray[np.int64]:
        """Tracks to drop: of a tracked and a lost one in the same place the younger.

        On a tie the tracked one goes (reference tracker/multitracker.py,
        remove_duplicate_stracks). The same place is ``1 - IoU < limit``.
        """
        store = self.store
        if len(tracked) == 0 or len(lost) == 0:
            return lost[:0]
        indptr, columns, costs = iou_pairs(
            store.boxes(tracked), store.boxes(lost), limit=limit, plus_one=plus_one
        )
        if len(costs) == 0:  # as in nearly every frame
            return lost[:0]
        near = costs < limit
        a = np.repeat(tracked, np.diff(indptr))[near]
        b = lost[columns[near]]
        lost_is_younger = store.last[a] - store.start[a] > store.last[b] - store.start[b]
        gone: npt.NDArray[np.int64] = np.unique(np.where(lost_is_younger, b, a))
        return gone

    def overdue(self, slots: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Tell which of ``slots`` have been away for too long to be matched in this frame."""
        return self.store.unseen(slots) > self.buffer + self.revival * self.frame

    @abstractmethod
    def _end_overdue(self) -> None:
        """Release the tracks that ended in the time since the frame before."""

    @abstractmethod
    def _associate(self, detections: Observations) -> npt.NDArray[np.int64]:
        """Match the detections of a frame; return the slots to report."""
