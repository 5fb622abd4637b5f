"""The same network in several precisions: how well it tracks in each, and how fast it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from jdetrt.engine.open import open_session
from jdetrt.errors import ConfigError, DataError, SessionError
from jdetrt.evaluation.detection import evaluate_detection
from jdetrt.evaluation.summary import quick_score
from jdetrt.runtime.timing import summary

__all__ = ["ApDrop", "compare_speed", "score_precisions"]

_WARM_UP = 3


class ApDrop:
    """How much average precision a quantised model loses on labelled pictures.

    Args:
        model: in float32; its average precision is measured first.
        sequences: labelled MOT sequences, or other data that ``jdetrt evaluate`` reads.
        pictures: of all together, evenly spread.
        scratch: a folder for the models that are judged.
        threads: CPU threads; None for one a physical core.

    Attributes:
        ap: of the float model, 0 to 1.

    Raises:
        DataError: the data cannot be read, or nobody is labelled in the pictures.
        SessionError: the model cannot be run.
    """

    def __init__(
        self,
        model: str | Path,
        sequences: list[str],
        *,
        pictures: int,
        scratch: Path,
        threads: int | None = None,
    ) -> None:
        from jdetrt.training.data.datasets import Mixture, open_data_set  # which loads torch

        self._data = Mixture([open_data_set(sequence) for sequence in sequences])
        last = len(self._data) - 1
        self._places = np.unique(np.linspace(0, last, pictures).round().astype(int)).tolist()
        self._path = scratch / "judged.onnx"
        self._threads = threads
        self.ap = self._measure(Path(model))

    def __call__(self, model: onnx.ModelProto) -> float:
        """The loss of a model, 0 to 1; negative for a gain."""
        self._path.write_bytes(model.SerializeToString())
        return self.ap - self._measure(self._path)

    def _measure(self, path: Path) -> float:
        samples = (self._data[place] for place in self._places)
        with open_session(path, provider="cpu", threads=self._threads) as session:
            return evaluate_detection(session, samples).ap50


def score_precisions(
    models: Mapping[str, Path],
    sequence: str | Path,
    *,
    shakes: int = 0,
    known: Mapping[str, dict[str, Any]] | None = None,
    threads: int | None = None,
    on_model: Callable[[str, int, int], None] | None = None,
) -> dict[str, dict[str, Any]]:
    """Detection, embedding and tracking scores of each model on one labelled sequence.

    Args:
        models: files by the name of their row.
        sequence: folder of a MOT sequence with pictures and ground truth.
        shakes: how often to track with shaken boxes too (`jdetrt.evaluation.perturbed`).
        known: rows that were measured before and stay as they are.
        threads: CPU threads; None for one a physical core.
        on_model: called with the name of the model, those done before it and how many there are.

    Returns:
        The numbers of `QuickScore` by row; ``{"failed": reason}`` of a model other than the first
        that cannot be scored, as quantisation may leave one that sees nobody.

    Raises:
        DataError: pictures or ground truth are missing, wrong, or without two identified people; or
            the first model sees nobody.
        SessionError: the first model fails, or gives no embeddings.
    """
    rows: dict[str, dict[str, Any]] = dict(known or {})
    for done, (name, path) in enumerate(models.items()):
        if name in rows:
            continue
        if on_model is not None:
            on_model(name, done, len(models))
        try:
            with open_session(path, provider="cpu", threads=threads) as session:
                rows[name] = quick_score(session, sequence, shakes=shakes).to_dict()
        except (DataError, SessionError) as err:
            if not rows:
                raise
            rows[name] = {"failed": str(err)}
    return rows


def compare_speed(
    models: Mapping[str, Path],
    image: npt.NDArray[np.float32],
    *,
    runs: int = 30,
    threads: int | None = None,
) -> dict[str, Any]:
    """Time the networks alone on one frame, in turn, on the CPU.

    Args:
        models: files by name; the first is what the others are compared with.
        image: ``(1, 3, H, W)`` as the networks take it.
        runs: of each.
        threads: CPU threads; None for one a physical core.

    Returns:
        ``milliseconds``: mean, p50, p90, p95, p99 and so on by name; ``speed_up``: the p50 of the
        first over that of each other; ``runs``.

    Raises:
        ConfigError: fewer than 1 run.
        SessionError: a model cannot be run.
    """
    if runs < 1:
        raise ConfigError(f"expected 1 run or more, got {runs}")
    sessions = {}
    try:
        for name, path in models.items():
            sessions[name] = open_session(path, provider="cpu", threads=threads)
        times: dict[str, list[float]] = {name: [] for name in sessions}
        for run in range(_WARM_UP + runs):
            for name, session in sessions.items():
                begin = time.perf_counter()
                session.infer({session.inputs[0].name: image})
                if run >= _WARM_UP:
                    times[name].append(1000 * (time.perf_counter() - begin))
    finally:
        for session in sessions.values():
            session.close()
    middle = {name: float(np.median(values)) for name, values in times.items()}
    base, *others = middle
    return {
        "milliseconds": {name: summary(values) for name, values in times.items()},
        "speed_up": {name: middle[base] / middle[name] for name in others},
        "runs": runs,
    }
