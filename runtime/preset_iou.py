"""Association by motion alone, for detections without embeddings."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from jdetrt.config import IouConfig
from jdetrt.runtime.matching import assign, iou_pairs
from jdetrt.runtime.tracks import LOST, TRACKED, Observations, TrackStore

__all__ = ["IouPreset"]

_I64 = npt.NDArray[np.int64]


class IouPreset:
    """High-score detections first, then low-score ones for the tracks seen in the last frame."""

    def __init__(self, config: IouConfig, frame_rate: float) -> None:
        self.config = config
        self.buffer = int(frame_rate / 30.0 * config.buffer)
        self.store = TrackStore()
        self.frame = 0
        self.pool = np.empty(0, np.int64)

    def update(self, seen: Observations) -> _I64:
        """Take in one frame; return the slots to report."""
        store, config, pool = self.store, self.config, self.pool
        self.frame += 1
        lost = store.state[pool] == LOST
        store.mean[pool[lost], 7] = 0.0
        store.predict(pool)
        is_high = seen.scores >= config.high_score
        high = is_high.nonzero()[0]
        low = (~is_high).nonzero()[0]
        conf = store.confirmed[pool]
        rest, high = self._match(pool[conf], seen, high, config.first_limit, fuse=True)
        was_tracked = store.state[rest] == TRACKED
        missed, _ = self._match(rest[was_tracked], seen, low, config.second_limit)
        forgotten, high = self._match(pool[~conf], seen, high, config.unconfirmed_limit, fuse=True)
        store.state[missed] = LOST
        old = rest[~was_tracked]
        old_lost = old[self.frame - store.last[old] > self.buffer]
        store.release(forgotten)
        store.release(old_lost)
        fresh = store.start_tracks(seen, high[seen.scores[high] >= config.birth_score], self.frame)
        if self.frame == 1:
            store.confirmed[fresh] = True
            store.number(fresh)
        gone = np.concatenate((forgotten, old_lost))
        keep = pool if len(gone) == 0 else pool[~np.isin(pool, gone)]
        self.pool = np.concatenate((keep, fresh))
        return self.pool[store.confirmed[self.pool] & (store.last[self.pool] == self.frame)]

    def _match(
        self, slots: _I64, seen: Observations, left: _I64, limit: float, fuse: bool = False
    ) -> tuple[_I64, _I64]:
        if len(slots) == 0 or len(left) == 0:
            return slots, left
        store = self.store
        pairs = iou_pairs(store.boxes(slots), seen.boxes[left], limit=limit, plus_one=False)
        rows, columns = assign(pairs, len(left), limit)
        matched = rows >= 0
        hits, detections = slots[matched], left[rows[matched]]
        store.score[hits] = seen.scores[detections]
        store.correct(hits, seen, detections, self.frame)
        new = hits[~store.confirmed[hits]]
        if len(new):
            store.confirmed[new] = True
            store.number(new)
        return slots[~matched], left[columns < 0]
