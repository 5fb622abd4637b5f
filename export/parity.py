"""Does an exported model give the numbers of the torch network that it was made from?

Two runs on float arithmetic may rank two nearly equal scores the other way round, so entries are
not compared by their rank. The model's own top-k indices say which candidate each entry is; its
box, score and embedding must be those that torch computes for that candidate, no candidate may
come twice, and none may have been left out whose score is better than one that was taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import torch

from jdetrt.engine.onnxruntime import session_options
from jdetrt.errors import ExportError, ParityError
from jdetrt.export.deploy_graph import Decode
from jdetrt.export.distance_decode import DistanceDecode
from jdetrt.training.network.model import JdeNetwork
from jdetrt.types import Array

__all__ = ["FLOAT16", "FLOAT32", "Limits", "Parity", "check_parity", "synthetic_pictures"]


class Limits(NamedTuple):
    """The largest differences that are allowed; what they are of, `Parity` says.

    Attributes:
        boxes: share of a side.
        scores: of a score, and of its rank.
        embeddings: one minus the cosine.
    """

    boxes: float
    scores: float
    embeddings: float


# Float32 itself: for a network with confident scores torch in float32 is up to 6e-5 from torch in
# float64, in scores and in shares of a side; for unit embeddings it is some 1e-12.
FLOAT32 = Limits(1e-4, 1e-4, 1e-6)
# Float16 itself: for the network nano with random weights and confident scores torch in float16 is
# up to 2.4e-3, 1.4e-2 and 3.4e-5 from torch in float32. ONNX Runtime rounds far less on most CPUs.
FLOAT16 = Limits(5e-3, 2e-2, 1e-4)

_LEAST_SIDE = 100.0
_TOP_K = "/decode/top_k/"  # nodes of `jdetrt.export.top_k`; indices come last


@dataclass(frozen=True, slots=True)
class Parity:
    """The largest differences between torch and ONNX Runtime, over all frames and entries.

    Attributes:
        frames: images compared.
        boxes_px: of a coordinate, in network pixels.
        boxes: the same as a share of the longest side of the box and its anchor, which is counted
            as no less than 100 pixels. The network predicts shares and logarithms, whose rounding
            errors grow with that side.
        scores: of a score; also how far a score left out may be above one taken, halved.
        embeddings: half of the squared distance, which for unit vectors is one minus the cosine,
            and which unlike a cosine also sees a length other than 1.
    """

    frames: int
    boxes_px: float
    boxes: float
    scores: float
    embeddings: float

    def worst(self, other: Parity) -> Parity:
        """Join the findings of two sets of frames."""
        return Parity(
            self.frames + other.frames,
            max(self.boxes_px, other.boxes_px),
            max(self.boxes, other.boxes),
            max(self.scores, other.scores),
            max(self.embeddings, other.embeddings),
        )


def check_parity(
    network: JdeNetwork,
    decode: Decode | DistanceDecode,
    model: onnx.ModelProto,
    images: npt.NDArray[np.float32],
    limits: Limits = FLOAT32,
) -> Parity:
    """Run a model in ONNX Runtime (CPU) and compare it with the network in torch.

    Args:
        network: the network as it was loaded, batch norms not folded; or, where the weights of the
            model are rounded to float16, the network with its batch norms folded and its weights
            rounded. It computes in float32.
        decode: the decoding of the model.
        model: the exported model; left as it is.
        images: ``(frames, 3, H, W)`` float32 RGB from 0 to 1. A model with a free batch size is
            fed two at a time, a single one together with its mirror image.
        limits: `FLOAT32`, or `FLOAT16` for a model that computes in that.

    Raises:
        ParityError: a difference is larger than its limit.
        ExportError: the network itself gives NaN or infinite numbers.
    """
    session = _session_with_indices(model)
    batch = session.get_inputs()[0].shape[0]
    step = batch if isinstance(batch, int) else 2
    if len(images) % step:
        images = np.concatenate([images, images[-1:, :, :, ::-1]])
    found = Parity(0, 0.0, 0.0, 0.0, 0.0)
    for first in range(0, len(images), step):
        feed = np.ascontiguousarray(images[first : first + step])
        boxes, scores, embeddings, chosen = session.run(None, {"images": feed})
        with torch.inference_mode():
            expected = decode.forward_all(network(torch.from_numpy(feed)))
        for i in range(step):
            where = f"frame {first + i + 1}"
            want = [tensor[i].double().numpy() for tensor in expected]
            if not all(np.isfinite(array).all() for array in want):
                raise ExportError(
                    f"{where}: the network itself gives NaN or infinite numbers; its weights "
                    "are damaged, or its training diverged"
                )
            have = (boxes[i], scores[i], embeddings[i])
            one = compare(have, chosen[i], want, decode)
            _judge(one, where, limits)
            found = found.worst(one)
    return found


def compare(
    have: Sequence[Array],
    chosen: npt.NDArray[np.int64],
    want: Sequence[Array],
    decode: Decode | DistanceDecode,
) -> Parity:
    """Compare one picture.

    Args:
        have: the model's ``boxes (k, 4)``, ``scores (k,)`` and ``embeddings (k, D)``.
        chosen: ``(k,)`` the candidate of each entry.
        want: torch's boxes and scores of every candidate and embeddings of every cell, float64.
        decode: knows the anchor and the cell of each candidate.

    Returns:
        The largest differences; infinite where a candidate comes twice, scores do not descend to
        rounding (ONNX Runtime's sigmoid is not monotone to the last bit), or a number is NaN.
    """
    boxes, scores, embeddings = (array.astype(np.float64) for array in have)
    all_boxes, all_scores, all_embeddings = want
    anchors = decode.priors[chosen, 2:].numpy()
    sides = all_boxes[chosen, 2:] - all_boxes[chosen, :2]
    scale = np.maximum(_LEAST_SIDE, np.maximum(sides, anchors).max(axis=1))
    box = np.abs(boxes - all_boxes[chosen]).max(axis=1)
    score = np.abs(scores - all_scores[chosen])
    distance = ((embeddings - all_embeddings[decode.cells[chosen].numpy()]) ** 2).sum(axis=1) / 2
    left_out = np.delete(all_scores, chosen)
    lead = left_out.max(initial=0.0) - all_scores[chosen].min()
    if len(np.unique(chosen)) != len(chosen) or (np.diff(scores) > FLOAT32.scores).any():
        lead = np.inf
    return Parity(
        1,
        _largest(box),
        _largest(box / scale),
        max(_largest(score), float(lead) / 2),
        _largest(distance),
    )


def synthetic_pictures(
    count: int, size: tuple[int, int], seed: int = 0
) -> list[npt.NDArray[np.uint8]]:
    """Images of soft light, blocks and noise, for want of real ones: ``(H, W, 3)`` uint8."""
    width, height = size
    random = np.random.default_rng(seed)
    pictures = []
    for _ in range(count):
        light = random.uniform(40, 215, (height // 32, width // 32, 3))
        picture = np.kron(light, np.ones((32, 32, 1)))
        for _ in range(24):
            w, h = random.integers(4, width // 2), random.integers(4, height // 2)
            x, y = random.integers(0, width - w), random.integers(0, height - h)
            picture[y : y + h, x : x + w] = random.uniform(0, 255, 3)
        picture += random.normal(0, 6, picture.shape)
        pictures.append(picture.clip(0, 255).astype(np.uint8))
    return pictures


def _session_with_indices(model: onnx.ModelProto) -> Any:
    """Load a model with one output more: the indices of its top-k."""
    choice = [node for node in model.graph.node if node.name.startswith(_TOP_K)][-1]
    extra = onnx.helper.make_tensor_value_info(choice.output[-1], onnx.TensorProto.INT64, None)
    model.graph.output.append(extra)
    try:
        content = model.SerializeToString()
    finally:
        model.graph.output.pop()
    return ort.InferenceSession(content, session_options(), providers=["CPUExecutionProvider"])


def _largest(values: Array) -> float:
    # max() of an array with NaN is NaN, which no comparison finds too large.
    return float(values.max()) if np.isfinite(values).all() else float("inf")


def _judge(found: Parity, where: str, limits: Limits) -> None:
    faults = [
        f"{what} differ by up to {value:.3g} (allowed: {limit:g})"
        for what, value, limit in (
            ("boxes, as a share of their size,", found.boxes, limits.boxes),
            ("scores or their ranking", found.scores, limits.scores),
            ("embeddings", found.embeddings, limits.embeddings),
        )
        if value > limit
    ]
    if faults:
        raise ParityError(
            f"{where}: torch {torch.__version__} and ONNX Runtime {ort.__version__} disagree: "
            f"{'; '.join(faults)}. No model was written. Try other versions of the two, and "
            "report the combination as a bug"
        )
