"""Calibrated scores: what they are fitted to, and that they reach the network's outputs."""

import copy

import numpy as np
import pytest
import torch

from jdetrt.config import ScoreScale
from jdetrt.errors import ConfigError
from jdetrt.training.network.model import random_network
from jdetrt.training.score_calibration import (
    calibrate_for,
    calibrate_scores,
    fit_platt,
    right_boxes,
)


def test_fit_finds_what_scores_were_made_of() -> None:
    random = np.random.default_rng(0)
    scores = random.uniform(0.05, 0.9, 40_000)
    chance = 1 / (1 + np.exp(-(3 * np.log(scores / (1 - scores)) + 0.8)))
    right = (random.random(len(scores)) < chance).astype(np.int64)
    assert fit_platt(scores, right) == pytest.approx((3.0, 0.8), abs=0.15)


def test_fit_of_scores_that_make_no_mistake_is_finite() -> None:
    scores = np.array([0.2, 0.3, 0.6, 0.7])
    slope, offset = fit_platt(scores, np.array([0, 0, 1, 1]))
    assert 0 < slope < 20
    fitted = 1 / (1 + np.exp(-(slope * np.log(scores / (1 - scores)) + offset)))
    assert (fitted[:2] < 0.5).all()
    assert (fitted[2:] > 0.5).all()


@pytest.mark.parametrize(
    ("right", "words"), [([1, 1], "0 wrong"), ([0, 0], "0 boxes are right"), ([1, 0], "are worse")]
)
def test_what_cannot_be_fitted(right: list[int], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        fit_platt(np.array([0.2, 0.8]), np.array(right))


def test_right_boxes() -> None:
    people = np.array([[0, 0, 10, 10], [20, 0, 30, 10]], np.float32)
    ignore = np.array([[40, 0, 50, 10]], np.float32)
    found = np.array(
        [
            [0, 0, 10, 9],
            [0, 0, 10, 10],
            [20, 0, 30, 20],
            [40, 0, 50, 9],
            [24, 0, 60, 10],
            [5, 5, 5, 5],
        ],
        np.float32,
    )
    assert right_boxes(found, people, ignore).tolist() == [1, 0, 1, -1, 0, 0]
    assert right_boxes(found, people[:0], ignore[:0]).tolist() == [0] * 6
    assert right_boxes(found[:0], people, ignore).tolist() == []


@torch.inference_mode()
def test_logits_are_scaled_and_nothing_else() -> None:
    network, images = random_network(0, "nanodet-g", 16), torch.rand(1, 3, 64, 96)
    before = [maps.detection.clone() for maps in network(images)]
    calibrate_scores(network, 3.0, -0.5)
    for old, maps in zip(before, network(images), strict=True):
        torch.testing.assert_close(maps.detection[:, 0], 3 * old[:, 0] - 0.5)
        assert torch.equal(maps.detection[:, 1:], old[:, 1:])
    with pytest.raises(ConfigError, match="two logits"):
        calibrate_scores(random_network(0, "nano", 16), 1.0, 0.0)


def test_of_several_sizes_the_nearest_counts() -> None:
    scales = [ScoreScale((64, 64), 2.0, 0.0), ScoreScale((256, 256), 5.0, 0.0)]
    network = random_network(0, "nanodet-g", 16)
    for size, slope in (((96, 96), 2.0), ((128, 160), 5.0)):
        one = copy.deepcopy(network)
        calibrate_for(one, scales, size)
        for level, before in zip(one.levels, network.levels, strict=True):
            weights = [
                list(part.get_submodule("detection").children())[-1].get_parameter("weight")[0]
                for part in (level, before)
            ]
            torch.testing.assert_close(weights[0], slope * weights[1])
    calibrate_for(random_network(0, "nano", 16), [], (64, 64))
