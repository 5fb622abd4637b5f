"""Two models on the same frames: how far their boxes, scores and embeddings are apart."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from jdetrt.errors import SessionError
from jdetrt.evaluation.agreement import LIMITS, Agreement, Comparison
from jdetrt.runtime.detector import network_size
from jdetrt.runtime.preprocess import letterbox
from jdetrt.types import Frame, Session

__all__ = ["precision_of", "verify"]


def verify(
    session: Session,
    reference: Session,
    frames: Iterable[Frame],
    *,
    score_threshold: float = 0.1,
    edge: float = LIMITS["fp16"].score,
) -> Comparison:
    """Run two models on the same pictures and compare what they give.

    Args:
        session: a JDE model of any kind: ONNX, plan or checkpoint. It stays open.
        reference: another one, of the same size.
        frames: read as needed.
        score_threshold: 0 to 1; entries above it in either model count.
        edge: how far a score may be above the lowest that the other model gives before its absence
            there counts.

    Raises:
        SessionError: the sizes differ, a run fails, a model gives NaN, or there is nothing to
            compare.
        SourceError: a frame cannot be read.
    """
    size = network_size(session)
    if size != network_size(reference):
        width, height = network_size(reference)
        raise SessionError(
            f"the model takes pictures of {size[0]}x{size[1]}, the one it is compared with of "
            f"{width}x{height}; export both at one size"
        )
    agreement = Agreement(score_threshold, edge)
    for frame in frames:
        images = letterbox(frame.image, size)[0][np.newaxis]
        agreement.add(
            session.infer({session.inputs[0].name: images}),
            reference.infer({reference.inputs[0].name: images}),
        )
    return agreement.result()


def precision_of(*sessions: Session) -> str:
    """The lowest precision that models say of themselves, a name in ``LIMITS``.

    A model that says nothing, or something unknown, counts as float32.
    """
    said = " ".join(session.metadata.get("precision", "") for session in sessions)
    return next((name for name in ("int8", "fp16") if name in said), "fp32")
