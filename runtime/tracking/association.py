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

__all__ = ["Association"]

_Config = TypeVar("_Config", bound=TrackerConfig)


class Association(ABC, Generic[_Config]):
    """Matches the detections of a frame with tracks, and returns the slots to report.

    Attributes:
        uses_embeddings: whether appearance plays a part.
        config: its settings.
        buffer: frames that a lost track is kept, at the frame rate of the video.
        store: the tracks.
        frame: number of the last frame, from 1.
    """

    uses_embeddings: ClassVar[bool] = True

    def __init__(
        self,
        config: _Config,
        frame_rate: float,
        noise: npt.NDArray[np.float64] = kalman.REFERENCE_NOISE,
    ) -> None:
        self.config = config
        self.buffer = int(frame_rate / 30.0 * config.buffer)
        self.store = TrackStore(noise)
        self.frame = 0

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
        near = costs < limit
        a = np.repeat(tracked, np.diff(indptr))[near]
        b = lost[columns[near]]
        lost_is_younger = store.last[a] - store.start[a] > store.last[b] - store.start[b]
        gone: npt.NDArray[np.int64] = np.unique(np.where(lost_is_younger, b, a))
        return gone

    @abstractmethod
    def update(self, detections: Observations) -> npt.NDArray[np.int64]:
        """Take in one frame; return the slots to report."""
