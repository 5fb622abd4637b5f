"""Scores and speed of the same network in several precisions."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import onnx

from jdetrt.account import Account
from jdetrt.engine.open import open_session
from jdetrt.errors import ConfigError, DataError, SessionError
from jdetrt.evaluation.detection import evaluate_detection
from jdetrt.evaluation.summary import quick_score
from jdetrt.progress import NO_PROGRESS, Progress
from jdetrt.runtime.timing import summary

__all__ = ["ApDrop", "Speed", "compare_speed", "score_precisions"]

_WARM_UP = 3


class Speed(msgspec.Struct, frozen=True):
    """Times of networks alone, each by name.

    Attributes:
        milliseconds: mean, std, p50, p90, p95, p99 of each.
        speed_up: p50 of the first over that of each other.
        runs: of each.
    """

    milliseconds: dict[str, dict[str, float]]
    speed_up: dict[str, float]
    runs: int


class ApDrop:
    """Drop in average precision of a quantised model on labelled images.

    Args:
        model: in float32; its average precision is measured first.
        sequences: labelled MOT sequences, or other data that ``jdetrt evaluate`` reads.
        images: number to use of all together, evenly spaced.
        scratch: a folder for the models that are judged.
        threads: CPU threads; None for one a physical core.

    Attributes:
        ap: of the float model, 0 to 1.
        read: account of the images.

    Raises:
        DataError: the data cannot be read, or nobody is labelled in the images.
        SessionError: the model cannot be run.
    """

    def __init__(
        self,
        model: str | Path,
        sequences: Sequence[str],
        *,
        images: int,
        scratch: Path,
        threads: int | None = None,
    ) -> None:
        from jdetrt.training.data.datasets import Mixture, open_data_set, readable  # with torch

        self._readable = readable
        self._data = Mixture([open_data_set(sequence) for sequence in sequences])
        last = len(self._data) - 1
        self._indices = np.unique(np.linspace(0, last, images).round().astype(int)).tolist()
        self._path = scratch / "judged.onnx"
        self._threads = threads
        self.ap = self._measure(Path(model))

    def __call__(self, model: onnx.ModelProto) -> float:
        """Measure the drop of a model, -1 to 1; negative for a gain."""
        self._path.write_bytes(model.SerializeToString())
        return self.ap - self._measure(self._path)

    def _measure(self, path: Path) -> float:
        self.read = Account("image")
        samples = (sample for _, sample in self._readable(self._data, self.read, self._indices))
        with open_session(path, provider="cpu", threads=self._threads) as session:
            return evaluate_detection(session, samples).ap50


def score_precisions(
    models: Mapping[str, Path],
    sequence: str | Path,
    *,
    perturbed_runs: int = 0,
    known: Mapping[str, dict[str, Any]] | None = None,
    images: Account | None = None,
    threads: int | None = None,
    progress: Progress = NO_PROGRESS,
) -> dict[str, dict[str, Any]]:
    """Detection, embedding and tracking scores of each model on one labelled sequence.

    Args:
        models: files by the name of their row.
        sequence: folder of a MOT sequence with images and ground truth.
        perturbed_runs: number of runs with perturbed boxes (`jdetrt.evaluation.perturbed`).
        known: rows that were measured before and stay as they are.
        images: counts those of the sequence, for one model.
        threads: CPU threads; None for one a physical core.
        progress: has a phase, a step for each model.

    Returns:
        The numbers of `QuickScore` by row; ``{"failed": reason}`` of a model other than the first
        that cannot be scored, as quantisation may leave one that detects nobody.

    Raises:
        DataError: images or ground truth are missing, wrong, or without two identified people; or
            the first model detects nobody.
        SessionError: the first model fails, or gives no embeddings.
    """
    rows: dict[str, dict[str, Any]] = dict(known or {})
    missing = [name for name in models if name not in rows]
    phase = f"Scoring {missing[0] if len(missing) == 1 else 'all precisions'}"
    progress.start(phase, len(missing))
    for done, name in enumerate(missing, start=1):
        try:
            with open_session(models[name], provider="cpu", threads=threads) as session:
                score = quick_score(session, sequence, perturbed_runs=perturbed_runs, images=images)
            rows[name] = score.to_dict()
        except (DataError, SessionError) as err:
            if not rows:
                raise
            rows[name] = {"failed": str(err)}
        progress.advance(phase, done)
    progress.finish(phase)
    return rows


def compare_speed(
    models: Mapping[str, Path],
    image: npt.NDArray[np.float32],
    *,
    runs: int = 30,
    threads: int | None = None,
    progress: Progress = NO_PROGRESS,
) -> Speed:
    """Time the networks alone on one frame, in turn, on the CPU.

    Args:
        models: files by name; the first is what the others are compared with.
        image: ``(1, 3, H, W)`` as the networks take it.
        runs: of each.
        threads: CPU threads; None for one a physical core.
        progress: has a phase, a step for each round.

    Raises:
        ConfigError: fewer than 1 run.
        SessionError: a model cannot be run.
    """
    if runs < 1:
        raise ConfigError(f"expected 1 run or more, got {runs}")
    phase = "Timing the networks"
    progress.start(phase, _WARM_UP + runs)
    with ExitStack() as stack:
        sessions = {
            name: stack.enter_context(open_session(path, provider="cpu", threads=threads))
            for name, path in models.items()
        }
        times: dict[str, list[float]] = {name: [] for name in sessions}
        for run in range(_WARM_UP + runs):
            for name, session in sessions.items():
                begin = time.perf_counter()
                session.infer({session.inputs[0].name: image})
                if run >= _WARM_UP:
                    times[name].append(1000 * (time.perf_counter() - begin))
            progress.advance(phase, run + 1)
    progress.finish(phase)
    middle = {name: float(np.median(values)) for name, values in times.items()}
    base, *others = middle
    return Speed(
        milliseconds={name: summary(values) for name, values in times.items()},
        speed_up={name: middle[base] / middle[name] for name in others},
        runs=runs,
    )
