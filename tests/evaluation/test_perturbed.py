"""Tracking scores over perturbed boxes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from walkers import FRAMES, PEOPLE, samples_of, true_session, walkers

from jdetrt.config import IouConfig, ReferenceConfig
from jdetrt.evaluation.perturbed import PERTURBED, margin, score_perturbed, score_tracks
from jdetrt.evaluation.summary import QuickScore, quick_score
from jdetrt.runtime.decode import Candidates
from jdetrt.runtime.preprocess import letterbox
from jdetrt.types import Detections

SAME = letterbox(np.zeros((192, 192, 3), np.uint8), (192, 192))[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return walkers(tmp_path / "walkers")


def perturbed(folder: Path, runs: int) -> QuickScore:
    return quick_score(true_session(samples_of(folder)), folder, perturbed_runs=runs)


def test_a_run_each_and_the_same_for_the_same_seed(folder: Path) -> None:
    found = perturbed(folder, 3)
    assert found.perturbed is not None
    assert set(found.perturbed) == set(PERTURBED)
    assert all(len(values) == 3 for values in found.perturbed.values())
    assert found.perturbed == perturbed(folder, 3).perturbed
    more = perturbed(folder, 4).perturbed
    assert more is not None
    assert {name: values[:3] for name, values in more.items()} == found.perturbed


def test_what_does_not_hang_on_half_pixels_stays(folder: Path) -> None:
    """Three people apart from each other: no perturbation takes one for another."""
    found = perturbed(folder, 5)
    assert found.perturbed is not None
    assert found.perturbed["mota"] == pytest.approx([found.mota] * 5)
    assert found.perturbed["mota"] == pytest.approx([100 * (1 - 1 / FRAMES)] * 5)
    plain = perturbed(folder, 0)
    assert plain.perturbed is None
    assert "shaken" not in plain.to_dict()
    assert {**found.to_dict(), "shaken": None} == {**plain.to_dict(), "shaken": None}


def test_boxes_move_by_what_int8_moves_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    corner = random.uniform(0, 100, (4000, 2))
    boxes = np.concatenate([corner, corner + random.uniform(20, 90, corner.shape)], axis=1)
    scores = np.linspace(0.9, 0.1, len(boxes)).astype(np.float32)
    embeddings = np.eye(4000, 2, dtype=np.float32)
    seen = Candidates(boxes.astype(np.float32), scores, embeddings, SAME)
    got: list[Candidates] = []

    def keep(frames: list[Candidates], *_: object) -> object:
        got.append(frames[0])
        return score_tracks(frames_of(folder), folder, IouConfig(), 30.0)

    monkeypatch.setattr("jdetrt.evaluation.perturbed.score_tracks", keep)
    score_perturbed([seen], folder, IouConfig(), 30.0, runs=2)
    one, two = got
    assert not np.array_equal(one.boxes, two.boxes)
    assert (np.diff(one.scores) <= 0).all()
    overlap = intersection_over_union(one.boxes[order(one, seen)], seen.boxes)
    assert overlap.mean() == pytest.approx(0.974, abs=0.002)
    assert (one.scores[order(one, seen)] - seen.scores).std() == pytest.approx(0.015, rel=0.05)


def test_candidates_below_the_threshold_can_be_lifted(folder: Path) -> None:
    assert margin(0.5) == pytest.approx(0.44)
    assert margin(0.01) == 0.0
    faint = 0.495

    def dim(index: int, seen: Detections) -> Detections:
        return Detections(seen.boxes, np.full(PEOPLE, faint, np.float32), seen.embeddings)

    session = true_session(samples_of(folder), change=dim)
    found = quick_score(session, folder, tracker=ReferenceConfig(), perturbed_runs=5)
    assert found.mota == 0.0  # no score is above 0.5
    assert found.perturbed is not None
    assert max(found.perturbed["mota"]) > 0.0


def frames_of(folder: Path) -> list[Candidates]:
    nobody = Candidates(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), None, SAME)
    return [nobody] * FRAMES


def order(found: Candidates, seen: Candidates) -> npt.NDArray[Any]:
    """Where each of the seen ones is among those found: the nearest corner."""
    far = ((found.boxes[:, None, :] - seen.boxes[None, :, :]) ** 2).sum(axis=2)
    nearest: npt.NDArray[Any] = far.argmin(axis=0)
    return nearest


def intersection_over_union(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[Any]:
    low, high = np.maximum(a[:, :2], b[:, :2]), np.minimum(a[:, 2:], b[:, 2:])
    both = np.clip(high - low, 0, None).prod(axis=1)
    areas = [(box[:, 2:] - box[:, :2]).prod(axis=1) for box in (a, b)]
    overlap: npt.NDArray[Any] = both / (areas[0] + areas[1] - both)
    return overlap
