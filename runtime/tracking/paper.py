"""Association as the paper words it (section 3.6): one assignment a frame, cosine affinity.

What the text leaves open is marked "(ours)" in ``jdetrt.config.PaperConfig``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from jdetrt.config import PaperConfig
from jdetrt.runtime.tracking.assignment import assign
from jdetrt.runtime.tracking.association import Association
from jdetrt.runtime.tracking.track_store import Observations

__all__ = ["PaperAssociation"]

_I64 = npt.NDArray[np.int64]


class PaperAssociation(Association[PaperConfig]):
    """One pool of tracklets: those born, and those seen in fewer than ``birth_frames`` frames."""

    revival = 0

    def __init__(self, config: PaperConfig, frame_rate: float) -> None:
        super().__init__(config, frame_rate)
        self.pool = np.empty(0, np.int64)

    def _end_overdue(self) -> None:
        ended = self.overdue(self.pool)
        self.store.release(self.pool[ended])
        self.pool = self.pool[~ended]

    def _associate(self, detections: Observations) -> _I64:
        store, config, pool = self.store, self.config, self.pool
        store.predict(pool)
        pairs = store.pairs_by_appearance(
            pool,
            detections,
            gate=config.gate,
            motion_weight=config.motion_weight,
            limit=config.appearance_limit,
            cosine=True,
        )
        rows, columns = assign(pairs, len(detections), config.appearance_limit)
        matched = rows >= 0
        hits = pool[matched]
        store.correct(
            hits,
            detections,
            rows[matched],
            smoothing=config.smoothing,
            renormalise=False,
        )
        store.score[hits] = detections.scores[rows[matched]]

        # Tracklets end when not updated for `buffer` frames; before their birth, at the first miss.
        ended = ~matched & ((store.unseen(pool) >= self.buffer) | ~store.confirmed[pool])
        store.release(pool[ended])
        fresh = store.start_tracks(detections, (columns < 0).nonzero()[0])
        self.pool = np.concatenate((pool[~ended], fresh))
        candidates = self.pool[~store.confirmed[self.pool]]
        born = candidates[store.frame - store.start[candidates] + 1 >= config.birth_frames]
        store.confirmed[born] = True
        store.number(born)
        reported: _I64 = self.pool[store.last[self.pool] == store.frame]
        return reported[store.confirmed[reported]]
