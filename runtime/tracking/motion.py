"""Association by motion alone, for detections without embeddings."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from jdetrt.config import IouConfig
from jdetrt.runtime.tracking.assignment import assign
from jdetrt.runtime.tracking.association import SPARSE, Association
from jdetrt.runtime.tracking.costs import NO_WEIGHTS, Pairs, iou_pairs, near_pairs
from jdetrt.runtime.tracking.track_store import LOST, TRACKED, Observations

__all__ = ["IouAssociation"]

_I64 = npt.NDArray[np.int64]


_Config = TypeVar("_Config", bound=IouConfig)


class IouAssociation(Association[_Config]):
    """Three passes over one pool of tracks.

    1. High-score detections with all tracks, by overlap.
    2. Low-score detections with the tracks of the last frame, by overlap: people half hidden.
    3. High-score detections still free with tracks still free, by distance: people whose boxes
       no longer overlap because the camera moved or they were hidden for a while.
    """

    uses_embeddings = False

    def __init__(self, config: _Config, frame_rate: float) -> None:
        super().__init__(config, frame_rate, np.array(config.noise))
        self.pool = np.empty(0, np.int64)

    def _end_overdue(self) -> None:
        ended = self.overdue(self.pool)
        self.store.release(self.pool[ended])
        self.pool = self.pool[~ended]

    def _associate(self, detections: Observations) -> _I64:
        store, config = self.store, self.config
        store.mean[self.pool[store.state[self.pool] == LOST], 7] = 0.0  # no longer grow or shrink
        store.predict(self.pool)
        is_high = detections.scores >= config.high_score
        high, low = is_high.nonzero()[0], (~is_high).nonzero()[0]
        is_confirmed = store.confirmed[self.pool]

        free, high = self._first(self.pool[is_confirmed], detections, high)
        was_tracked = store.state[free] == TRACKED
        hidden, _ = self._overlap(free[was_tracked], detections, low, config.second_limit)
        unseen, high = self._overlap(
            self.pool[~is_confirmed], detections, high, config.unconfirmed_limit, weigh=True
        )
        apart = np.concatenate((hidden, free[~was_tracked]))
        if store.elapsed > SPARSE:  # who was seen once may have walked out of the box since
            apart, unseen = np.concatenate((apart, unseen)), unseen[:0]
        free, high = self._near(apart, detections, high)

        store.state[free] = LOST
        store.state[unseen] = LOST
        fresh = store.start_tracks(detections, high[detections.scores[high] >= config.birth_score])
        if store.frame == 1:
            self._confirm(fresh)
        missed = store.last[self.pool] < store.frame
        ended = missed & ((store.unseen(self.pool) > self.buffer) | ~store.confirmed[self.pool])
        store.release(self.pool[ended])
        pool = np.concatenate((self.pool[~ended], fresh))
        is_lost = store.state[pool] == LOST
        gone = self.duplicates(
            pool[~is_lost], pool[is_lost], config.duplicate_limit, plus_one=False
        )
        if len(gone):
            store.release(gone)
            pool = pool[~np.isin(pool, gone)]
        self.pool = pool
        reported: _I64 = self.pool[store.last[self.pool] == store.frame]
        return reported[store.confirmed[reported]]

    def _first(self, slots: _I64, detections: Observations, rest: _I64) -> tuple[_I64, _I64]:
        return self._overlap(slots, detections, rest, self.config.first_limit, weigh=True)

    def _overlap(
        self,
        slots: _I64,
        detections: Observations,
        rest: _I64,
        limit: float,
        *,
        weigh: bool = False,
    ) -> tuple[_I64, _I64]:
        if len(slots) == 0 or len(rest) == 0:
            return slots, rest
        weights = detections.scores[rest] if weigh else NO_WEIGHTS
        pairs = iou_pairs(
            self.store.boxes(slots), detections.boxes[rest], limit=limit, weights=weights
        )
        if weigh:
            pairs = self._weigh(pairs, limit, slots, detections, rest)
        return self._match(pairs, limit, slots, detections, rest)

    def _weigh(
        self, pairs: Pairs, limit: float, slots: _I64, detections: Observations, rest: _I64
    ) -> Pairs:
        """Costs of overlapping pairs at high scores; a hook for more than overlap."""
        return pairs

    def _weigh_near(self, pairs: Pairs, slots: _I64, detections: Observations, rest: _I64) -> Pairs:
        """Costs of pairs by distance; a hook for more than distance."""
        return pairs

    def _near(self, slots: _I64, detections: Observations, rest: _I64) -> tuple[_I64, _I64]:
        if len(slots) == 0 or len(rest) == 0:
            return slots, rest
        config, store = self.config, self.store
        reach = config.reach + config.reach_growth * store.unseen(slots)
        pairs = near_pairs(
            store.mean,
            slots,
            np.minimum(reach, config.reach_limit),
            detections.xyah[rest],
            height_ratio=config.height_ratio,
        )
        pairs = self._weigh_near(pairs, slots, detections, rest)
        return self._match(pairs, 1.0, slots, detections, rest)

    def _match(
        self, pairs: Pairs, limit: float, slots: _I64, detections: Observations, rest: _I64
    ) -> tuple[_I64, _I64]:
        """Correct the tracks that match; return the tracks and the detections that do not."""
        rows, columns = assign(pairs, len(rest), limit)
        matched = rows >= 0
        hits, matches = slots[matched], rest[rows[matched]]
        self.store.score[hits] = detections.scores[matches]
        self._correct(hits, detections, matches)
        self._confirm(hits[~self.store.confirmed[hits]])
        return slots[~matched], rest[columns < 0]

    def _correct(self, slots: _I64, detections: Observations, rows: _I64) -> None:
        self.store.correct(slots, detections, rows)

    def _confirm(self, slots: _I64) -> None:
        if len(slots):
            self.store.confirmed[slots] = True
            self.store.number(slots)
