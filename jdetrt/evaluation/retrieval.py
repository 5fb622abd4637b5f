"""Retrieval of a person in another frame by features alone (paper section 4.4, figure 4).

Every cell of the other frame is compared with the cell of the person: once by what the detection
is made from, once by the embedding. The better the features tell people apart, the fewer cells
light up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from jdetrt.config import ANCHORS_PER_CELL, STRIDES
from jdetrt.errors import DataError
from jdetrt.evaluation.embedding import best_anchors, to_network
from jdetrt.runtime.opencv import load_cv2
from jdetrt.runtime.preprocess import Letterbox, letterbox
from jdetrt.training.network.anchors import grids
from jdetrt.training.network.model import JdeNetwork

__all__ = ["Retrieval", "draw", "retrieve"]

_F32 = npt.NDArray[np.float32]
_U8 = npt.NDArray[np.uint8]

_PANEL = 640  # width of each of the four images
_TITLE = 28  # height of the line above each
_BAR = 72  # width of the colour bar with its numbers
_OPAQUE = 0.6  # share of the colours over the image
_WHITE = (255, 255, 255)
_QUERY = (0, 255, 255)


@dataclass(frozen=True, slots=True)
class Retrieval:
    """Similarity of another frame to a person.

    Attributes:
        detection: ``(rows, columns)`` float32, cosine similarity of the features that the detection
            is made from, -1 to 1.
        embedding: ``(rows, columns)`` float32, that of the embeddings.
        stride: network pixels a cell.
        letterbox: of the other frame.
    """

    detection: _F32
    embedding: _F32
    stride: int
    letterbox: Letterbox


class _Features(NamedTuple):
    detection: Tensor  # [C, rows, columns]
    embedding: Tensor  # [D, rows, columns]


def retrieve(
    network: JdeNetwork,
    query: _U8,
    box: npt.ArrayLike,
    target: _U8,
    *,
    size: tuple[int, int],
    anchors: _F32,
) -> Retrieval:
    """Compare a person with every cell of another frame, at the level whose anchor fits best.

    Args:
        network: in evaluation mode.
        query: ``(H, W, 3)`` uint8 BGR, the frame with the person.
        box: of the person: left, top, right, bottom in pixels of ``query``.
        target: ``(H, W, 3)`` uint8 BGR, the other frame, of any size.
        size: network width and height.
        anchors: ``(3, 4, 2)`` anchor sizes in network pixels.

    Raises:
        DataError: the box has no area, or its middle is outside of the frame; or the network has no
            anchors, by which the level of a person is found.
    """
    if network.body.boxes != "anchors":
        raise DataError(
            f"the body '{network.body_name}' predicts distances, not anchors, and the level of a "
            "person is found by anchors; take a checkpoint of another body"
        )
    person = np.asarray(box, np.float32).reshape(1, 4)
    height, width, _ = query.shape
    middle = (person[0, :2] + person[0, 2:]) / 2
    if not (person[0, 2:] > person[0, :2]).all():
        raise DataError(f"box {person[0].tolist()}: has no area")
    if not ((middle >= 0) & (middle < (width, height))).all():
        raise DataError(
            f"box {person[0].tolist()}: its centre is outside the frame of {width}x{height}"
        )
    images, fits = zip(*(letterbox(image, size) for image in (query, target)), strict=True)
    found = best_anchors(to_network(person, fits[0]), size, anchors)
    head = int(found.anchors[0]) // ANCHORS_PER_CELL
    cell = int(found.cells[0]) - sum(columns * rows for columns, rows in grids(*size)[:head])
    seen, other = _features(network, np.stack(images), head)
    return Retrieval(
        detection=_similarity(seen.detection, cell, other.detection),
        embedding=_similarity(seen.embedding, cell, other.embedding),
        stride=STRIDES[head],
        letterbox=fits[1],
    )


@torch.inference_mode()
def _features(network: JdeNetwork, images: _F32, head: int) -> list[_Features]:
    """Compute the input of the last detection layer, and the embedding map, of each image."""
    taken: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        taken.append(inputs[0])

    detection = cast(nn.Sequential, network.levels[head].get_submodule("detection"))
    hook = detection[-1].register_forward_pre_hook(keep)
    try:
        maps = network(torch.from_numpy(images))[head]
    finally:
        hook.remove()
    return [_Features(*pair) for pair in zip(taken[0], maps.embedding, strict=True)]


def _similarity(query: Tensor, cell: int, target: Tensor) -> _F32:
    person = query.flatten(1)[:, cell, None, None]
    similar: _F32 = torch.cosine_similarity(person, target, dim=0).numpy()
    return similar


def draw(
    found: Retrieval,
    query: _U8,
    box: npt.ArrayLike,
    target: _U8,
    *,
    target_box: npt.ArrayLike | None = None,
) -> _U8:
    """Draw figure 4: both frames above, both similarity maps over the other frame below.

    Args:
        found: by `retrieve`, with the same images and box.
        query: ``(H, W, 3)`` uint8 BGR.
        box: of the person: left, top, right, bottom in pixels of ``query``.
        target: ``(H, W, 3)`` uint8 BGR.
        target_box: of the same person in ``target``, where that is known.

    Returns:
        uint8 BGR image.
    """
    truth = None if target_box is None else np.asarray(target_box, float)
    frames = (
        _panel(query, "Query", np.asarray(box, float)),
        _panel(target, "Target", truth),
    )
    maps = (
        _panel(_heat(found.detection, found, target), "Detection feature map", truth),
        _panel(_heat(found.embedding, found, target), "Dense embedding", truth),
    )
    height = max(panel.shape[0] for panel in (*frames, *maps))
    rows = [np.hstack([_pad(panel, height) for panel in row]) for row in (frames, maps)]
    return np.hstack([np.vstack(rows), _colour_bar(2 * height)])


def _heat(similarity: _F32, found: Retrieval, target: _U8) -> _U8:
    """Draw the similarity over the target; a cell covers the network pixels around its corner.

    Candidates are centred on the corner of their cell (``candidate_priors``).
    """
    cv2 = load_cv2()
    fit = found.letterbox
    width, height = fit.source_size
    x = (np.arange(width) * fit.gain + fit.pad_x) / found.stride
    y = (np.arange(height) * fit.gain + fit.pad_y) / found.stride
    at_x, at_y = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
    spread = cv2.remap(similarity, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    colours = _colours(spread)
    blended: _U8 = cv2.addWeighted(colours, _OPAQUE, target, 1 - _OPAQUE, 0)
    return blended


def _colours(similarity: _F32) -> _U8:
    """Map similarities to colours: blue at 0 and below, red at 1."""
    cv2 = load_cv2()
    shades = np.rint(similarity.clip(0.0, 1.0) * 255).astype(np.uint8)
    colours: _U8 = cv2.applyColorMap(shades, cv2.COLORMAP_TURBO)
    return colours


def _panel(image: _U8, title: str, box: npt.NDArray[np.floating[Any]] | None) -> _U8:
    cv2 = load_cv2()
    gain = _PANEL / image.shape[1]
    shown = cv2.resize(image, (_PANEL, max(round(image.shape[0] * gain), 1)))
    if box is not None:
        left, top, right, bottom = np.rint(box * gain).astype(int).tolist()
        cv2.rectangle(shown, (left, top), (right, bottom), _QUERY, 2)
    head = np.zeros((_TITLE, _PANEL, 3), np.uint8)
    _write(head, title, (8, 20))
    return np.vstack([head, shown])


def _pad(panel: _U8, height: int) -> _U8:
    return np.pad(panel, ((0, height - len(panel)), (0, 0), (0, 0)))


def _colour_bar(height: int) -> _U8:
    bar = np.zeros((height, _BAR, 3), np.uint8)
    top, bottom = _TITLE, height - _TITLE
    values = np.linspace(1.0, 0.0, bottom - top, dtype=np.float32)
    bar[top:bottom, 8:28] = _colours(values[:, None])
    for value in (1.0, 0.5, 0.0):
        _write(bar, f"{value:.1f}", (34, round(bottom + (top - bottom) * value) + 5))
    return bar


def _write(image: _U8, text: str, at: tuple[int, int]) -> None:
    cv2 = load_cv2()
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.55, _WHITE, 1, cv2.LINE_AA)
