"""The tracker: detections of one frame in, tracks out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from jdetrt.config import (
    FusedConfig,
    IouConfig,
    PaperConfig,
    ReferenceConfig,
    TrackerConfig,
    default_config,
)
from jdetrt.errors import ConfigError, DataError
from jdetrt.runtime.tracking.assignment import assign
from jdetrt.runtime.tracking.association import Association
from jdetrt.runtime.tracking.clock import Clock
from jdetrt.runtime.tracking.costs import Pairs
from jdetrt.runtime.tracking.fused import FusedAssociation
from jdetrt.runtime.tracking.kalman import boxes_of
from jdetrt.runtime.tracking.motion import IouAssociation
from jdetrt.runtime.tracking.paper import PaperAssociation
from jdetrt.runtime.tracking.reference import ReferenceAssociation
from jdetrt.runtime.tracking.track_store import Observations
from jdetrt.types import Detections, Tracks

__all__ = ["Tracker"]

_ASSOCIATIONS: dict[type, Callable[[Any, float], Association[Any]]] = {
    ReferenceConfig: ReferenceAssociation,
    PaperConfig: PaperAssociation,
    IouConfig: IouAssociation,
    FusedConfig: FusedAssociation,
}


class Tracker:
    """Tracks people from frame to frame. One tracker for each video; its ids start at 1.

    Args:
        settings: a preset by name, or settings of one, such as ``IouConfig(buffer=90)``.
            ``"fused"`` goes by motion first and by appearance where motion cannot decide, at any
            frame rate; ``"reference"`` makes the decisions of the paper's own code; ``"paper"``
            follows the paper's text (section 3.6); ``"iou"`` uses motion alone.
        frame_rate: of the video, in Hz; lost tracks are kept for ``buffer`` frames at 30 Hz.

    Attributes:
        config: the settings in effect.
        clock: counts the timestamps that are out of order.

    Raises:
        ConfigError: no such preset, a frame rate of 0 or less.

    >>> tracker = Tracker("iou")
    >>> for x in (10, 12, 14):
    ...     tracks = tracker.update(Detections([[x, 10, x + 40, 110]], [0.9]))
    >>> tracks.ids, tracks.age, tracks.detection
    (array([1]), array([2]), array([0]))
    """

    def __init__(
        self, settings: str | TrackerConfig = "reference", frame_rate: float = 30.0
    ) -> None:
        if not frame_rate > 0.0 or not np.isfinite(frame_rate):
            raise ConfigError(f"frame_rate: expected a number above 0, got {frame_rate}")
        self.frame_rate = frame_rate
        self.config: TrackerConfig = (
            default_config(settings) if isinstance(settings, str) else settings
        )
        self.reset()

    def reset(self) -> None:
        """Forget all tracks; ids start at 1 again."""
        self._association = _make(self.config, self.frame_rate)
        self._reported = np.empty(0, np.int64)  # slots of the tracks of the last update
        association = self._association
        self.clock = Clock(self.frame_rate, association.buffer / association.frame)

    def warm_up(self) -> None:
        """Compile all that ``update`` needs, so that no frame has to wait for it.

        Takes some seconds the first time after an installation, then milliseconds: compiled
        kernels are kept on disk. The tracks of this tracker are not touched.
        """
        association = _make(self.config, self.frame_rate)
        people = np.arange(12)
        for frame in range(16):
            # Pairs of people side by side, who take turns at being hidden for a while.
            x = 150.0 * (people // 2) + 12.0 * (people % 2) + 3.0 * frame
            boxes = np.stack([x, 0 * x, x + 40, 0 * x + 100], axis=1).astype(np.float32)
            shown = (people + frame // 3) % 4 != 0
            embeddings = np.ones((len(people), 4 * association.uses_embeddings), np.float32)
            scores = np.full(len(people), 0.3 if frame % 5 == 4 else 0.9, np.float32)
            slots = association.update(Observations(boxes[shown], scores[shown], embeddings[shown]))
            association.store.boxes(slots)
        # Three against three, none of which settles by itself.
        costs = np.array([0.2, 0.3, 0.3, 0.2, 0.2, 0.3])
        assign(Pairs(np.array([0, 2, 4, 6]), np.array([0, 1, 1, 2, 0, 2]), costs), 3, 0.7)

    def update(
        self,
        detections: Detections,
        timestamp: float | None = None,
        motion: npt.ArrayLike | None = None,
    ) -> Tracks:
        """Take in the detections of the next frame; call it for frames without any, too.

        With timestamps, people move on and lost tracks age by the time that has passed, so that
        frames may be dropped, come irregularly or stay away for a while. The settings stay those
        at ``frame_rate``: timestamps that are ``1 / frame_rate`` apart change nothing.

        The order of the detections decides the order of new ids, so pass them by falling score,
        as non-maximum suppression leaves them.

        Args:
            detections: boxes in source pixels; those with a score not above the settings'
                ``score_threshold`` are left out.
            timestamp: of the frame, in seconds since any moment; None where it is not known: the
                frame is then ``1 / frame_rate`` after the one before. At the same timestamp again
                no time has passed; at one that is earlier by more than a frame all tracks end, and
                ids go on with the next. ``clock`` counts both.
            motion: of the camera, ``(2, 3)``: takes a point ``(x, y, 1)`` of the frame before, in
                source pixels, to its place in this frame
                (`jdetrt.runtime.camera_motion.CameraMotion`); None where it stands still.

        Returns:
            The tracks detected in this frame; boxes and embeddings are the filtered ones.

        Raises:
            DataError: a box that is not finite or has no area, a score or a timestamp that is not
                finite, an embedding that is not finite or of another length than before; a motion
                that is no such matrix. The tracks are then as they were.
        """
        # Contiguous, because a kernel is compiled anew for arrays that are not.
        boxes = np.ascontiguousarray(detections.boxes)
        scores = np.ascontiguousarray(detections.scores)
        embeddings = detections.embeddings if self._association.uses_embeddings else None
        if embeddings is not None:
            embeddings = np.ascontiguousarray(embeddings)
        if not np.isfinite(scores).all():
            raise DataError(
                f"detection {int(np.argmin(np.isfinite(scores)))}: its score is not finite; "
                "remove it before tracking"
            )
        above = scores > self.config.score_threshold
        if not above.all():
            boxes, scores = boxes[above], scores[above]
            embeddings = None if embeddings is None else embeddings[above]
        observations = Observations(boxes, scores, embeddings)
        store = self._association.store
        row = observations.bad
        if row >= 0:
            raise DataError(
                f"detection {int(np.flatnonzero(above)[row])}: box {boxes[row].tolist()} or its "
                "embedding is not finite, or the box has no area (x2 <= x1 or y2 <= y1); "
                "remove it before tracking"
            )
        length = observations.embeddings.shape[1]
        if len(observations) and len(store) and length != store.embedding.shape[1]:
            raise DataError(
                f"embeddings of length {length}, but this tracker's tracks have "
                f"{store.embedding.shape[1]}; call reset() before changing the model"
            )
        self.clock.check(timestamp)
        warp = None if motion is None else _motion(motion)
        slots = self._association.update(observations, self.clock.step(timestamp), warp)
        self._reported = slots
        rows = store.row[slots]
        return Tracks.unchecked(
            store.id[slots],
            store.boxes(slots).astype(np.float32),
            store.score[slots],
            detection=rows if len(observations) == len(above) else np.flatnonzero(above)[rows],
            embeddings=None if embeddings is None else store.embedding.take(slots, axis=0),
            age=store.frame - store.start[slots],
        )

    def between(self, timestamp: float) -> Tracks:
        """The tracks of the last update, moved on to a later time; nothing changes.

        For frames that no detector looks at. Positions go on at their filtered velocity, sizes
        stay.

        Args:
            timestamp: seconds, as in ``update``.

        Returns:
            The tracks, each with detection -1.
        """
        store, slots = self._association.store, self._reported
        states = store.mean[slots]
        elapsed = self._association.frame * self.clock.since(timestamp)
        states[:, :2] += elapsed * states[:, 4:6]
        boxes = boxes_of(states, np.arange(len(slots)))
        return Tracks.unchecked(
            store.id[slots],
            boxes.astype(np.float32),
            store.score[slots],
            detection=np.full(len(slots), -1),
            embeddings=store.embedding.take(slots, axis=0) if store.embedding.shape[1] else None,
            age=store.frame - store.start[slots],
        )


def _motion(motion: npt.ArrayLike) -> npt.NDArray[np.float64]:
    matrix = np.ascontiguousarray(motion, np.float64)
    if matrix.shape != (2, 3) or not np.isfinite(matrix).all() or not np.linalg.det(matrix[:, :2]):
        raise DataError(
            "motion: expected a matrix of shape (2, 3) that takes points of the frame before to "
            f"this one, got shape {matrix.shape}: {matrix.tolist()}"
        )
    return matrix


def _make(config: TrackerConfig, frame_rate: float) -> Association[Any]:
    make = _ASSOCIATIONS.get(type(config))
    if make is None:
        raise ConfigError(f"settings: expected those of a preset, got a {type(config).__name__}")
    return make(config, frame_rate)
