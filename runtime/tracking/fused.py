"""Association by motion first, and by appearance where motion cannot decide."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from jdetrt.config import FusedConfig
from jdetrt.runtime.tracking.costs import Pairs, iou_pairs, near_pairs, subset
from jdetrt.runtime.tracking.motion import IouAssociation
from jdetrt.runtime.tracking.rivals import cosine_distances, weigh_rivals
from jdetrt.runtime.tracking.track_store import Observations

__all__ = ["FusedAssociation"]

_I64 = npt.NDArray[np.int64]


class FusedAssociation(IouAssociation[FusedConfig]):
    """The passes of `IouAssociation`, in which appearance takes part.

    1. Where overlapping pairs compete, because people cross, the embeddings are compared too. The
       farther apart frames are, the less need a pair of like height overlap.
    2. Low-score detections by overlap alone, and their embeddings are not remembered: they show
       people half hidden.
    3. By distance, with a share of appearance.
    4. High-score detections that would start a track with tracks still free, by appearance, as far
       as somebody can have walked meanwhile.

    Its unit of time is a frame at 30 FPS, so that the settings hold at any frame rate.
    """

    uses_embeddings = True
    by_time = True

    def _first(self, slots: _I64, detections: Observations, rest: _I64) -> tuple[_I64, _I64]:
        config, store = self.config, self.store
        least = config.first_limit
        more = config.sparse_growth * (store.elapsed - 1.0)
        limit = min(least + more, config.sparse_limit)
        if limit <= least or len(slots) == 0 or len(rest) == 0:
            return super()._first(slots, detections, rest)
        weights = detections.scores[rest]
        pairs = iou_pairs(store.boxes(slots), detections.boxes[rest], limit=limit, weights=weights)
        height = store.mean[np.repeat(slots, np.diff(pairs.indptr)), 3]
        other = detections.xyah[rest[pairs.columns], 3]
        alike = np.minimum(height, other) >= config.height_ratio * np.maximum(height, other)
        pairs = subset(pairs, alike | (pairs.costs <= least))
        pairs = self._weigh(pairs, limit, slots, detections, rest)
        return self._match(pairs, limit, slots, detections, rest)

    def _weigh(
        self, pairs: Pairs, limit: float, slots: _I64, detections: Observations, rest: _I64
    ) -> Pairs:
        if not detections.embeddings.shape[1] or len(pairs.columns) < 2:
            return pairs
        return weigh_rivals(
            pairs,
            slots,
            self.store.embedding,
            rest,
            detections.embeddings,
            weight=self.config.crossing_weight,
            limit=limit,
        )

    def _near(self, slots: _I64, detections: Observations, rest: _I64) -> tuple[_I64, _I64]:
        slots, rest = super()._near(slots, detections, rest)
        if len(slots) == 0 or not detections.embeddings.shape[1]:
            return slots, rest
        config, store = self.config, self.store
        is_new = detections.scores[rest] >= config.birth_score
        new, others = rest[is_new], rest[~is_new]
        if len(new) == 0:
            return slots, rest
        reach = config.reach + config.appearance_growth * store.unseen(slots)
        pairs = near_pairs(
            store.mean,
            slots,
            np.minimum(reach, config.appearance_reach),
            detections.xyah[new],
            height_ratio=config.height_ratio,
        )
        limit = config.appearance_limit
        pairs = Pairs(pairs.indptr, pairs.columns, self._distances(pairs, slots, detections, new))
        pairs = subset(pairs, pairs.costs <= limit)
        slots, new = self._match(pairs, limit, slots, detections, new)
        return slots, np.sort(np.concatenate((new, others)))

    def _weigh_near(self, pairs: Pairs, slots: _I64, detections: Observations, rest: _I64) -> Pairs:
        if not detections.embeddings.shape[1] or len(pairs.columns) == 0:
            return pairs
        share = self.config.appearance_share
        unlike = np.minimum(2.0 * self._distances(pairs, slots, detections, rest), 1.0)
        return Pairs(pairs.indptr, pairs.columns, (1.0 - share) * pairs.costs + share * unlike)

    def _distances(
        self, pairs: Pairs, slots: _I64, detections: Observations, rest: _I64
    ) -> npt.NDArray[np.float64]:
        return cosine_distances(pairs, slots, self.store.embedding, rest, detections.embeddings)

    def _correct(self, slots: _I64, detections: Observations, rows: _I64) -> None:
        # Each pass has high-score detections alone, or low-score ones alone.
        is_high = len(rows) > 0 and detections.scores[rows[0]] >= self.config.high_score
        smoothing = self.config.smoothing if is_high else 1.0
        self.store.correct(slots, detections, rows, smoothing=smoothing)
