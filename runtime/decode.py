"""From the network's outputs to detections: threshold, non-maximum suppression, source pixels.

The exported graph has already done the heavy part (scores, top-k, boxes, unit embeddings); the rest
is small and depends on settings that a user changes without a new model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from jdetrt.errors import SessionError
from jdetrt.runtime.jit import kernel
from jdetrt.runtime.preprocess import Letterbox, to_source
from jdetrt.types import Array, Detections

__all__ = ["Candidates", "candidates", "detections", "nms"]


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """The network's answer to one image, above a score threshold and before suppression.

    ``candidates[index]`` takes rows by a mask, an array of indices or a slice.

    Attributes:
        boxes: ``(N, 4)`` float32, x1 y1 x2 y2 in network pixels.
        scores: ``(N,)`` float32, 0 to 1.
        embeddings: ``(N, D)`` float32 appearance vectors, or None where there are none.
        letterbox: of the image, from source to network pixels.
    """

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    embeddings: npt.NDArray[np.float32] | None
    letterbox: Letterbox

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, rows: Array | slice) -> Candidates:
        embeddings = self.embeddings
        return Candidates(
            self.boxes[rows],
            self.scores[rows],
            None if embeddings is None else embeddings[rows],
            self.letterbox,
        )

    def suppress(self, nms_iou: float = 0.4) -> Candidates:
        """Candidates that non-maximum suppression keeps, in descending order of score.

        Args:
            nms_iou: of two that overlap by more, the one with the lower score goes; 0 to 1.
        """
        return self[nms(self.boxes, self.scores, nms_iou)]

    def to_source(self) -> Detections:
        """Detections in source pixels, in the order of the candidates.

        A box wholly left of or above the image has no area once it is clamped and is left out.
        """
        boxes, scores, embeddings = (
            to_source(self.boxes, self.letterbox),
            self.scores,
            self.embeddings,
        )
        has_area = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        if not has_area.all():
            boxes, scores = boxes[has_area], scores[has_area]
            embeddings = None if embeddings is None else embeddings[has_area]
        return Detections.unchecked(boxes, scores, embeddings)


def detections(
    outputs: Mapping[str, Array],
    letterbox: Letterbox,
    *,
    score_threshold: float = 0.5,
    nms_iou: float = 0.4,
    batch_index: int = 0,
) -> Detections:
    """Turn the outputs of a session into the detections of one image.

    Entries with a score strictly above ``score_threshold`` go through non-maximum suppression;
    those left are mapped to source pixels. The result is in descending order of score. The model
    gives its k best entries and no more: where every one of them is above the threshold there may
    have been others, and a model exported with a larger k finds them.

    Args:
        outputs: ``boxes`` ``(N, k, 4)`` x1 y1 x2 y2 in network pixels, ``scores`` ``(N, k)`` and
            ``embeddings`` ``(N, k, D)`` (which may be absent), floating point.
        letterbox: of the image that was fed.
        score_threshold: 0 to 1; 0.5 in Towards-Realtime-MOT e9fa1e8, track.py.
        nms_iou: 0 to 1; 0.4 there.
        batch_index: which of the N images.

    Raises:
        SessionError: an output is missing, has another shape, or holds NaN or infinity among all
            scores or among the boxes and embeddings of entries above the threshold (FP16 overflow
            in an entry that is not used does no harm).
    """
    entries = candidates(
        outputs, letterbox, score_threshold=score_threshold, batch_index=batch_index
    )
    return entries.suppress(nms_iou).to_source()


def candidates(
    outputs: Mapping[str, Array],
    letterbox: Letterbox,
    *,
    score_threshold: float = 0.5,
    batch_index: int = 0,
) -> Candidates:
    """Entries of a session's outputs above the threshold: the first half of `detections`.

    Args and errors are those of `detections`.
    """
    boxes, scores, embeddings = _of_image(outputs, batch_index)
    _refuse_non_finite("scores", scores)
    rows = np.flatnonzero(scores > score_threshold)
    boxes, scores = _rows(boxes, rows), scores[rows]
    _refuse_non_finite("boxes", boxes)
    if embeddings is not None:
        embeddings = _rows(embeddings, rows)
        _refuse_non_finite("embeddings", embeddings)
    return Candidates(boxes, scores, embeddings, letterbox)


def _rows(array: Array, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """A copy of some rows; only these are converted."""
    taken: npt.NDArray[np.float32] = array[rows].astype(np.float32, copy=False)
    return taken


def _of_image(
    outputs: Mapping[str, Array], index: int
) -> tuple[Array, npt.NDArray[np.float32], Array | None]:
    if missing := {"boxes", "scores"} - outputs.keys():
        raise SessionError(
            f"the model has no output {' and no output '.join(sorted(missing))}; it has "
            f"{', '.join(sorted(outputs)) or 'none'}. Export it with: jdetrt export"
        )
    boxes, scores, embeddings = outputs["boxes"], outputs["scores"], outputs.get("embeddings")
    entries = scores.shape
    if (
        len(entries) != 2
        or boxes.shape != (*entries, 4)
        or (embeddings is not None and (embeddings.ndim != 3 or embeddings.shape[:2] != entries))
    ):
        shapes = ", ".join(f"{name} {array.shape}" for name, array in outputs.items())
        raise SessionError(
            "the model's outputs have the wrong shape: expected boxes (N, k, 4), scores (N, k), "
            f"embeddings (N, k, D), got {shapes}"
        )
    if not 0 <= index < entries[0]:
        raise SessionError(f"image {index} asked for, the model gave {entries[0]}")
    return (
        boxes[index],
        scores[index].astype(np.float32, copy=False),
        None if embeddings is None else embeddings[index],
    )


def _refuse_non_finite(name: str, array: npt.NDArray[np.float32]) -> None:
    finite = np.isfinite(array)
    if not finite.all():
        raise SessionError(
            f"the model outputs non-finite numbers: {array.size - np.count_nonzero(finite)} of "
            f"{array.size} values of its output {name} are NaN or infinite. Its weights may be "
            "damaged, or its precision may be too low; try the FP32 model"
        )


def nms(
    boxes: npt.NDArray[np.float32], scores: npt.NDArray[np.float32], iou: float
) -> npt.NDArray[np.int64]:
    """Greedy non-maximum suppression, with the decisions of ``torchvision.ops.nms``.

    The best box is kept and every other whose intersection over union with it is strictly above
    ``iou`` is dropped; then the best of the rest, and so on. Widths are x2 - x1 (no +1). Among
    equal scores the earlier box comes first.

    Args:
        boxes: ``(N, 4)`` float32, x1 y1 x2 y2.
        scores: ``(N,)`` float32.
        iou: the limit, 0 to 1.

    Returns:
        Indices of the boxes kept, int64, in descending order of score.

    >>> boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10]], np.float32)
    >>> nms(boxes, np.array([0.6, 0.9, 0.7], np.float32), 0.5).tolist()
    [1, 2]
    """
    order = np.argsort(-scores, kind="stable")
    kept = _greedy(np.ascontiguousarray(boxes[order], np.float32), float(iou))
    best: npt.NDArray[np.int64] = order[kept].astype(np.int64, copy=False)
    return best


@kernel
def _greedy(boxes: Any, limit: Any) -> Any:
    """Mark which of ``boxes``, best first, survive."""
    count = len(boxes)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept = np.ones(count, np.bool_)
    for i in range(count):
        if not kept[i]:
            continue
        for j in range(i + 1, count):
            if not kept[j]:
                continue
            width = min(boxes[i, 2], boxes[j, 2]) - max(boxes[i, 0], boxes[j, 0])
            height = min(boxes[i, 3], boxes[j, 3]) - max(boxes[i, 1], boxes[j, 1])
            if width <= 0 or height <= 0:
                continue
            intersection = width * height
            union = areas[i] + areas[j] - intersection
            if union > 0 and intersection / union > limit:
                kept[j] = False
    return kept
