"""From the network's outputs to detections: threshold, non-maximum suppression, source pixels.

The exported graph has already done the heavy part (scores, top-k, boxes, unit embeddings); what
is left is small and depends on settings that a user changes without a new model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from jdetrt.errors import SessionError
from jdetrt.runtime.jit import kernel
from jdetrt.runtime.preprocess import Letterbox, to_source
from jdetrt.types import Array, Detections

__all__ = ["candidates", "detections", "nms", "suppress"]


def detections(
    outputs: Mapping[str, Array],
    letterbox: Letterbox,
    *,
    score_threshold: float = 0.5,
    nms_iou: float = 0.4,
    batch_index: int = 0,
) -> Detections:
    """Turn the outputs of a session into the detections of one picture.

    Kept are slots with a score strictly above ``score_threshold``, then what non-maximum
    suppression leaves of them, then boxes that still have an area in source pixels (one that lies
    wholly left of or above the picture is clamped to a line). The result is in descending order
    of score. The model gives its k best slots and no more: where every one of them is above the
    threshold there may have been others, and a model exported with a larger k finds them.

    Args:
        outputs: ``boxes`` ``(N, k, 4)`` x1 y1 x2 y2 in network pixels, ``scores`` ``(N, k)`` and
            ``embeddings`` ``(N, k, D)`` (which may be absent), floating point.
        letterbox: of the picture that was fed.
        score_threshold: 0 to 1; 0.5 in Towards-Realtime-MOT e9fa1e8, track.py.
        nms_iou: 0 to 1; 0.4 there.
        batch_index: which of the N pictures.

    Raises:
        SessionError: an output is missing, has another shape, or holds NaN or infinity among all
            scores or among the boxes and embeddings of slots above the threshold (FP16 overflow
            in a slot that nobody looks at does no harm).
    """
    found = candidates(outputs, score_threshold=score_threshold, batch_index=batch_index)
    return suppress(found, letterbox, nms_iou=nms_iou)


def candidates(
    outputs: Mapping[str, Array], *, score_threshold: float = 0.5, batch_index: int = 0
) -> Detections:
    """The first half of ``detections``: what is above the threshold, boxes in network pixels.

    Args:
        outputs: as in ``detections``.
        score_threshold: 0 to 1.
        batch_index: which of the pictures.

    Raises:
        SessionError: as in ``detections``.
    """
    boxes, scores, embeddings = _of_picture(outputs, batch_index)
    _refuse_non_finite("scores", scores)
    kept = np.flatnonzero(scores > score_threshold)
    boxes, scores = boxes[kept], scores[kept]
    _refuse_non_finite("boxes", boxes)
    if embeddings is not None:
        embeddings = embeddings[kept]
        _refuse_non_finite("embeddings", embeddings)
    return Detections(boxes, scores, embeddings)


def suppress(found: Detections, letterbox: Letterbox, *, nms_iou: float = 0.4) -> Detections:
    """The second half of ``detections``: non-maximum suppression, then source pixels.

    Args:
        found: boxes in network pixels, as ``candidates`` gives them.
        letterbox: of the picture that was fed.
        nms_iou: 0 to 1.
    """
    best = nms(found.boxes, found.scores, nms_iou)
    mapped = to_source(found.boxes[best], letterbox)
    has_area = (mapped[:, 2] > mapped[:, 0]) & (mapped[:, 3] > mapped[:, 1])
    best = best[has_area]
    return Detections(
        boxes=mapped[has_area],
        scores=found.scores[best],
        embeddings=None if found.embeddings is None else found.embeddings[best],
    )


def _of_picture(
    outputs: Mapping[str, Array], index: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32] | None]:
    if missing := {"boxes", "scores"} - outputs.keys():
        raise SessionError(
            f"the model has no output {' and no output '.join(sorted(missing))}; it has "
            f"{', '.join(sorted(outputs)) or 'none'}. Export it with: jdetrt export"
        )
    boxes, scores, embeddings = outputs["boxes"], outputs["scores"], outputs.get("embeddings")
    slots = scores.shape
    if (
        len(slots) != 2
        or boxes.shape != (*slots, 4)
        or (embeddings is not None and (embeddings.ndim != 3 or embeddings.shape[:2] != slots))
    ):
        shapes = ", ".join(f"{name} {array.shape}" for name, array in outputs.items())
        raise SessionError(
            "the model's outputs have the wrong shape: expected boxes (N, k, 4), scores (N, k), "
            f"embeddings (N, k, D), got {shapes}"
        )
    if not 0 <= index < slots[0]:
        raise SessionError(f"picture {index} asked for, the model gave {slots[0]}")
    return (
        boxes[index].astype(np.float32, copy=False),
        scores[index].astype(np.float32, copy=False),
        None if embeddings is None else embeddings[index].astype(np.float32, copy=False),
    )


def _refuse_non_finite(name: str, array: npt.NDArray[np.float32]) -> None:
    finite = np.isfinite(array)
    if not finite.all():
        raise SessionError(
            f"the model gives non-finite numbers: {array.size - np.count_nonzero(finite)} of "
            f"{array.size} values of its output {name} are NaN or infinite. Its weights may be "
            "damaged, or a lower precision overflows; try the FP32 model"
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
