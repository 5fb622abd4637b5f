"""Tracking scores of a model: the pipeline over sequences with ground truth, then the score."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from jdetrt.config import TrackerConfig
from jdetrt.errors import DataError
from jdetrt.evaluation.scores import Scores
from jdetrt.evaluation.trackeval import check_truth, score_files
from jdetrt.files import scratch_folder
from jdetrt.runtime.pipeline import OnFrame, Pipeline
from jdetrt.runtime.settings import tracker_config
from jdetrt.runtime.sinks.text import MotSink
from jdetrt.runtime.sources.open import account_of, open_source
from jdetrt.runtime.tracking.tracker import Tracker
from jdetrt.training.data.paths import MotSequences, find
from jdetrt.types import Session

__all__ = ["evaluate_tracking"]


def evaluate_tracking(
    session: Session,
    sequences: Sequence[str | Path],
    *,
    tracker: TrackerConfig | None = None,
    size: tuple[int, int] | None = None,
    rules: str = "auto",
    results_dir: str | Path | None = None,
    on_frame: OnFrame | None = None,
) -> Scores:
    """Track people through sequences and score the tracks.

    Args:
        session: a JDE model of any kind. It stays open.
        sequences: MOT sequences with images and ground truth, folders of them, or patterns; each
            goes by the name of its folder.
        tracker: its settings; by default as in ``jdetrt track``.
        size: network width and height, for a model that leaves them free.
        rules: the ground truth that counts, as in ``jdetrt.evaluation.trackeval.score``.
        results_dir: keep the tracks here, ``<sequence>.txt``.
        on_frame: called after each frame.

    Raises:
        DataError: no sequence, two of one name, or a ground truth that is missing or wrong.
        SourceError: images are missing or broken.
        SessionError: the model fails.
        MissingDependencyError: TrackEval is not installed.
    """
    folders = _by_name(sequences)
    check_truth(folders, rules)  # now and not after minutes of tracking
    settings = tracker_config(session) if tracker is None else tracker
    with ExitStack() as stack:
        kept = Path(results_dir or stack.enter_context(scratch_folder("track")))
        files = {name: (folder, kept / f"{name}.txt") for name, folder in folders.items()}
        frames = {}
        for name, (folder, results) in files.items():
            with open_source(folder) as source, MotSink(results) as sink:
                follows = Tracker(settings, source.frame_rate)
                Pipeline(source, session, follows, [sink], size=size, on_frame=on_frame).run()
                frames[name] = account_of(source)
        return replace(score_files(files, rules=rules), frames=frames)


def _by_name(paths: Sequence[str | Path]) -> dict[str, Path]:
    folders: dict[str, Path] = {}
    for path in paths:
        found = find(path)
        if not isinstance(found, MotSequences):
            raise DataError(f"{path}: expected a MOT sequence (a folder with gt/gt.txt)")
        for folder in found.folders:
            name = folder.resolve().name
            if name in folders:
                raise DataError(f"{folder}: a sequence '{name}' is there already: {folders[name]}")
            folders[name] = folder
    if not folders:
        raise DataError("no sequence given: nothing to track")
    return folders
