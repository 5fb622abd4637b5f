"""Scores that say how many of such boxes are right: Platt's scaling of a detector's logits.

Platt 1999, "Probabilistic outputs for support vector machines": a logistic regression from the
logit to whether the box was right. It keeps the order of the boxes, so that average precision stays
as it is; and thresholds, of trackers above all, mean the same whatever the detector was trained by.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from jdetrt.boxes import box_iou
from jdetrt.config import ScoreScale
from jdetrt.errors import ConfigError
from jdetrt.training.network.model import JdeNetwork

__all__ = ["calibrate_for", "calibrate_scores", "fit_platt", "right_boxes"]

_Floats = npt.NDArray[np.floating]
_IOU = 0.5
_STEPS = 50


def right_boxes(found: _Floats, people: _Floats, ignore: _Floats) -> npt.NDArray[np.int64]:
    """Say which boxes of a picture are right, the best ones first to choose.

    Args:
        found: ``(n, 4)`` x1 y1 x2 y2, in descending order of score.
        people: ``(m, 4)`` likewise, in any order.
        ignore: ``(k, 4)``; a box that is with nobody and overlaps one of these does not count.

    Returns:
        ``(n,)``: 1 where the box has an IoU of at least 0.5 with somebody whom no better box has,
        -1 where it does not count, 0 elsewhere.
    """
    with_people, with_ignored = box_iou(found, people), box_iou(found, ignore)
    free = np.ones(len(people), bool)
    right = np.zeros(len(found), np.int64)
    for row in range(len(found)):
        fits = np.where(free, with_people[row], 0.0)
        if fits.max(initial=0.0) >= _IOU:
            free[fits.argmax()] = False
            right[row] = 1
        elif with_ignored[row].max(initial=0.0) >= _IOU:
            right[row] = -1
    return right


def fit_platt(scores: _Floats, right: npt.NDArray[np.integer]) -> tuple[float, float]:
    """Fit ``sigmoid(slope * logit(score) + offset)`` to the share of boxes that are right.

    The most likely values, by Newton's method; with Platt's priors in place of 0 and 1 as targets,
    so that they exist where scores and boxes can be told apart without a mistake.

    Args:
        scores: ``(n,)`` above 0 and below 1.
        right: ``(n,)`` 1 or 0.

    Returns:
        Slope and offset.

    Raises:
        ConfigError: there are no right boxes, or no wrong ones; or better scores are worse.
    """
    hits = int(np.count_nonzero(right))
    misses = len(right) - hits
    if not hits or not misses:
        raise ConfigError(f"scores cannot be calibrated: {hits} boxes are right, {misses} wrong")
    scores = scores.astype(np.float64)
    inputs = np.stack([np.log(scores / (1 - scores)), np.ones(len(scores))], axis=1)
    wanted = np.where(right > 0, (hits + 1) / (hits + 2), 1 / (misses + 2))
    values = np.array([1.0, 0.0])
    for _ in range(_STEPS):
        chance = 1 / (1 + np.exp(-(inputs @ values)))
        gradient = inputs.T @ (chance - wanted)
        curvature = inputs.T @ (inputs * (chance * (1 - chance))[:, None]) + 1e-9 * np.eye(2)
        values -= np.clip(np.linalg.solve(curvature, gradient), -1.0, 1.0)
    slope, offset = values.tolist()
    if slope <= 0:
        raise ConfigError(f"scores cannot be calibrated: better ones are worse (slope {slope:.2f})")
    return slope, offset


@torch.no_grad()
def calibrate_scores(network: JdeNetwork, slope: float, offset: float) -> None:
    """Turn all logits into ``slope * logit + offset``, in the weights of the last convolutions.

    Args:
        network: of a body that predicts distances; changed in place.
        slope: above 0.
        offset: of the logit.

    Raises:
        ConfigError: the network predicts anchors.
    """
    if network.body.boxes != "distances":
        raise ConfigError(f"the body '{network.body_name}' has two logits a box, not one")
    for level in network.levels:
        last = list(level.get_submodule("detection").children())[-1]
        weight, bias = last.get_parameter("weight"), last.get_parameter("bias")
        weight[0] *= slope
        bias[0] = slope * bias[0] + offset


def calibrate_for(network: JdeNetwork, scales: Sequence[ScoreScale], size: tuple[int, int]) -> None:
    """Calibrate a network for the size that it runs at, in place: with the nearest in pixels.

    Args:
        network: as for `calibrate_scores`.
        scales: of its configuration; with none it stays as it is.
        size: network width and height.
    """
    if scales:
        pixels = math.log(math.prod(size))
        scale = min(scales, key=lambda one: abs(math.log(math.prod(one.size)) - pixels))
        calibrate_scores(network, scale.slope, scale.offset)
