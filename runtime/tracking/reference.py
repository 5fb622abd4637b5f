"""Association exactly as the paper's own code does it, its quirks included.

The steps and their limits are those of Towards-Realtime-MOT e9fa1e8, tracker/multitracker.py
(JDETracker.update) and tracker/matching.py; where they differ from the paper's text, the preset
``paper`` follows the text. tests/oracles/slow_jde_tracker.py is the same thing written out slowly.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from jdetrt.config import ReferenceConfig
from jdetrt.runtime.tracking.assignment import assign
from jdetrt.runtime.tracking.association import SPARSE, Association
from jdetrt.runtime.tracking.costs import iou_pairs
from jdetrt.runtime.tracking.track_store import LOST, REMOVED, TRACKED, Observations

__all__ = ["ReferenceAssociation"]

_I64 = npt.NDArray[np.int64]
_NONE = np.empty(0, np.int64)


class ReferenceAssociation(Association[ReferenceConfig]):
    """Two lists of slots, tracked and lost, in the order in which the reference keeps its lists."""

    revival = 2

    def __init__(self, config: ReferenceConfig, frame_rate: float) -> None:
        super().__init__(config, frame_rate)
        self.tracked = _NONE
        self.lost = _NONE

    def _end_overdue(self) -> None:
        for name in ("tracked", "lost"):
            slots = getattr(self, name)
            ended = self.overdue(slots)
            self.store.release(slots[ended])
            setattr(self, name, slots[~ended])

    def _associate(self, detections: Observations) -> _I64:
        store, config = self.store, self.config
        # Who was seen once may have walked out of the box where frames are missing: step 1 for all.
        is_confirmed = store.confirmed[self.tracked] | (store.elapsed > SPARSE)
        unconfirmed = self.tracked[~is_confirmed]
        pool = np.concatenate((self.tracked[is_confirmed], self.lost))
        # Tracks with one detection are not predicted; lost ones stop growing or shrinking first.
        store.mean[self.lost, 7] = 0.0
        store.predict(pool)

        # 1. Confirmed and lost tracks by appearance inside the motion gate.
        pairs = store.pairs_by_appearance(
            pool,
            detections,
            gate=config.gate,
            motion_weight=config.motion_weight,
            limit=config.appearance_limit,
        )
        rows, columns = assign(pairs, len(detections), config.appearance_limit)
        matched = rows >= 0
        was_tracked = store.state[pool] == TRACKED
        hit = matched & was_tracked
        # A recovered track keeps its old score.
        store.score[pool[hit]] = detections.scores[rows[hit]]
        self._correct(pool[matched], detections, rows[matched])
        recovered = pool[matched & ~was_tracked]
        rest = (columns < 0).nonzero()[0]

        # 2. Tracks of the last frame by overlap.
        missed, rest = self._match_overlap(
            pool[was_tracked & ~matched], detections, rest, config.iou_limit
        )
        is_new = ~store.confirmed[missed]
        missed, forgotten = missed[~is_new], missed[is_new]
        store.state[missed] = LOST

        # 3. Tracks seen once by overlap; those not seen again are forgotten.
        unseen, rest = self._match_overlap(unconfirmed, detections, rest, config.unconfirmed_limit)
        forgotten = np.concatenate((forgotten, unseen))
        store.state[forgotten] = REMOVED

        # 4. Births. A track is reported from its second frame on, also one born in the first.
        born = store.start_tracks(detections, rest)
        store.number(born)

        # 5. The lists. Pruning comes before this frame's removals: a track that is overdue now
        # can still be recovered in the next frame; lost once more, it vanishes at once.
        overdue = self.lost[store.unseen(self.lost) > self.buffer]
        store.state[overdue] = REMOVED
        tracked = np.concatenate(
            (self.tracked[store.state[self.tracked] == TRACKED], born, recovered)
        )
        lost = np.concatenate((self.lost[store.state[self.lost] != TRACKED], missed))
        pruned = store.removed_before[lost]
        store.removed_before[overdue] = True
        store.release(np.concatenate((forgotten, lost[pruned])))
        lost = lost[~pruned]
        gone = self.duplicates(tracked, lost, config.duplicate_limit, plus_one=True)
        if len(gone):
            store.release(gone)
            tracked, lost = tracked[~np.isin(tracked, gone)], lost[~np.isin(lost, gone)]
        self.tracked, self.lost = tracked, lost
        return self.tracked[store.confirmed[self.tracked]]

    def _match_overlap(
        self, slots: _I64, detections: Observations, rest: _I64, limit: float
    ) -> tuple[_I64, _I64]:
        """Match by IoU, correct the tracks that match; return those that do not, of both sides."""
        if len(slots) == 0 or len(rest) == 0:
            return slots, rest
        store = self.store
        pairs = iou_pairs(store.boxes(slots), detections.boxes[rest], limit=limit, plus_one=True)
        rows, columns = assign(pairs, len(rest), limit)
        matched = rows >= 0
        hits, matches = slots[matched], rest[rows[matched]]
        store.score[hits] = detections.scores[matches]
        self._correct(hits, detections, matches)
        return slots[~matched], rest[columns < 0]

    def _correct(self, slots: _I64, detections: Observations, rows: _I64) -> None:
        self.store.correct(slots, detections, rows, smoothing=self.config.smoothing)
        self.store.confirmed[slots] = True
