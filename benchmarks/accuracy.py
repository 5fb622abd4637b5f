"""Accuracy of a configuration of a sweep: scores of one run, and of runs over perturbed boxes."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from jdetrt.account import Account
from jdetrt.benchmarks.result import PERTURBED
from jdetrt.errors import ConfigError
from jdetrt.evaluation.detection import evaluate_detection
from jdetrt.evaluation.perturbed import margin, score_perturbed, without_gaps
from jdetrt.evaluation.tracking import evaluate_tracking
from jdetrt.runtime.decode import Candidates, candidates
from jdetrt.runtime.detector import Detector
from jdetrt.runtime.settings import tracker_config
from jdetrt.runtime.sources.open import account_of, open_source
from jdetrt.training.data.paths import MotSequences, find
from jdetrt.types import Session

__all__ = ["Accuracy", "measure_accuracy"]


class Accuracy(NamedTuple):
    """Scores of a model on a sequence.

    Attributes:
        scores: HOTA, MOTA, IDF1 and AP50 in percent, ID switches, false positives and negatives of
            one run; AP50 is None where torch, which reads the labels, is not installed.
        perturbed: HOTA, MOTA and IDF1 in percent of each run over perturbed boxes; None without.
    """

    scores: dict[str, float | int | None]
    perturbed: dict[str, list[float]] | None


def measure_accuracy(
    session: Session, gt: str | Path, *, preset: str | None = None, perturbed_runs: int = 0
) -> Accuracy:
    """Measure the accuracy of a model.

    Args:
        session: a JDE model. It stays open.
        gt: a MOT sequence with images and ground truth.
        preset: of the tracker; by default as in tracking.
        perturbed_runs: number of runs over perturbed boxes.

    Raises:
        ConfigError: perturbed runs over more than one sequence.
        DataError: the ground truth is missing or wrong.
        MissingDependencyError: TrackEval is not installed.
        SessionError, SourceError: the model or the images fail.
    """
    settings = tracker_config(session, preset)
    scores = evaluate_tracking(session, [gt], tracker=settings).combined.to_dict()
    perturbed = None
    if perturbed_runs:
        folder = _only_sequence(gt)
        frames, rate = _candidates(session, folder, margin(settings.score_threshold))
        runs = score_perturbed(frames, folder, settings, rate, runs=perturbed_runs)
        perturbed = {name: runs[name.lower()] for name in PERTURBED}
    return Accuracy({**scores, "AP50": _average_precision(session, gt)}, perturbed)


def _only_sequence(gt: str | Path) -> Path:
    data = find(gt)
    if isinstance(data, MotSequences) and len(data.folders) == 1:
        return Path(data.folders[0])
    raise ConfigError(
        f"{gt}: runs over perturbed boxes need one MOT sequence; name one, or ask for 0 runs"
    )


def _candidates(
    session: Session, sequence: Path, threshold: float
) -> tuple[list[Candidates], float]:
    """Candidates of each frame above a score, read and letterboxed as in tracking; the rate, Hz."""
    [buffer] = Detector(session).buffers(1)
    frames = {}
    with open_source(sequence) as source:
        for frame in source:
            fit = buffer.fill(frame.image)
            buffer.submit()
            found = candidates(session.wait(), fit, score_threshold=threshold)
            frames[frame.index - 1] = found
        return without_gaps(frames, account_of(source).total), source.frame_rate


def _average_precision(session: Session, gt: str | Path) -> float | None:
    try:
        from jdetrt.training.data.datasets import open_data_set, readable
    except ModuleNotFoundError:
        return None
    samples = (sample for _, sample in readable(open_data_set(gt), Account("image")))
    return 100 * evaluate_detection(session, samples).ap50
