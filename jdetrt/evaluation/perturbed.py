"""Tracking scores over perturbed boxes: the effect of chance on them.

A tracker's decisions depend on each other. Two detectors that are equally good, one of them half a
pixel off, may swap two people early or late, and IDF1 or HOTA of a short sequence then differ by
several points. So a single run says little about a small change, such as another precision. Here
the same detections are tracked several times, each time with boxes and scores moved at random by
about as much as INT8 moves them. Means over these runs can be compared as any two samples can: each
is uncertain by the standard deviation of its runs divided by the root of their number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from jdetrt.config import TrackerConfig
from jdetrt.evaluation.trackeval import Score, score_files
from jdetrt.files import scratch_folder
from jdetrt.runtime.decode import Candidates
from jdetrt.runtime.mot.files import mot_lines
from jdetrt.runtime.tracking.filter import reportable
from jdetrt.runtime.tracking.tracker import Tracker

__all__ = ["PERTURBED", "margin", "score_perturbed", "score_tracks", "without_gaps"]

PERTURBED = ("mota", "idf1", "hota")

# Standard deviations. Perturbed boxes overlap the original ones by 0.974 on average; those of nano
# in INT8 overlap those in float32 by 0.973, its scores are 0.013 off
# (benchmarks/results/int8-nano.json).
_EDGE = 0.008  # of the box's width or height, each edge for itself
_SCORE = 0.015


def margin(threshold: float) -> float:
    """Compute the lowest score that a perturbation can lift above a threshold."""
    return max(0.0, threshold - 4 * _SCORE)


def without_gaps(frames: Mapping[int, Candidates], length: int) -> list[Candidates]:
    """Candidates of every frame, none in those that could not be read.

    Args:
        frames: by number from 0, one at least.
        length: number of all frames.
    """
    nobody = next(iter(frames.values()))[:0]
    return [frames.get(index, nobody) for index in range(length)]


def score_tracks(
    frames: Sequence[Candidates], sequence: Path, settings: TrackerConfig, frame_rate: float
) -> Score:
    """Track candidates of a MOT sequence, as ``jdetrt track`` does, and score the tracks.

    Args:
        frames: of the whole sequence.
        sequence: its folder, with ground truth.
        settings: of the tracker.
        frame_rate: in Hz.

    Raises:
        DataError: the ground truth is missing or wrong.
        MissingDependencyError: TrackEval is not installed.
    """
    tracker = Tracker(settings, frame_rate)
    lines = []
    for frame, candidates in enumerate(frames, start=1):
        above = candidates[candidates.scores > settings.score_threshold]
        tracks = tracker.update(above.suppress(settings.nms_iou).to_source())
        lines.append(mot_lines(frame, reportable(tracks, settings.max_aspect, settings.min_area)))
    with scratch_folder("score") as temporary:
        results = Path(temporary, "tracks.txt")
        results.write_text("".join(lines))
        return score_files({sequence.resolve().name: (sequence, results)}).combined


def score_perturbed(
    frames: Sequence[Candidates],
    sequence: Path,
    settings: TrackerConfig,
    frame_rate: float,
    *,
    runs: int,
    seed: int = 0,
) -> dict[str, list[float]]:
    """Track perturbed copies of candidates of a MOT sequence.

    Args:
        frames: of the whole sequence, down to scores of `margin`.
        sequence: its folder, with ground truth.
        settings: of the tracker.
        frame_rate: in Hz.
        runs: number of copies.
        seed: of the first copy.

    Returns:
        MOTA, IDF1 and HOTA (percent) of each run, by the names in `PERTURBED`.

    Raises:
        DataError, MissingDependencyError: as `score_tracks`.
    """
    results: dict[str, list[float]] = {name: [] for name in PERTURBED}
    for run in range(seed, seed + runs):
        copy = [_perturb(one, np.random.default_rng((run, at))) for at, one in enumerate(frames)]
        scores = score_tracks(copy, sequence, settings, frame_rate)
        for name, values in results.items():
            values.append(getattr(scores, name))
    return results


def _perturb(candidates: Candidates, random: np.random.Generator) -> Candidates:
    sides = np.tile(candidates.boxes[:, 2:] - candidates.boxes[:, :2], 2)
    boxes = candidates.boxes + random.normal(0.0, _EDGE, sides.shape) * sides
    scores = np.clip(candidates.scores + random.normal(0.0, _SCORE, len(sides)), 0.0, 1.0)
    moved = Candidates(
        boxes.astype(np.float32),
        scores.astype(np.float32),
        candidates.embeddings,
        candidates.letterbox,
    )
    return moved[np.argsort(-scores, kind="stable")]
