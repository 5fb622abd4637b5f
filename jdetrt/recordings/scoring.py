"""Scores of the recordings of a manifest that have ground truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from jdetrt.errors import DataError, MissingDependencyError
from jdetrt.evaluation.scores import Scores
from jdetrt.evaluation.trackeval import SequenceScore, combine, score_sequence
from jdetrt.progress import NO_PROGRESS, Progress
from jdetrt.recordings.manifest import Manifest, Recording
from jdetrt.recordings.pool import Workers, spread

__all__ = ["ManifestScores", "score_manifest"]

_PHASE = "Scoring"


@dataclass(frozen=True, slots=True)
class ManifestScores:
    """Scores of a manifest.

    Attributes:
        scores: of the recordings that could be scored; ``unscored`` are those without ground truth.
        failures: errors by name of a recording.
    """

    scores: Scores
    failures: dict[str, str]


def score_manifest(
    manifest: Manifest,
    folder: Path,
    workers: Workers,
    *,
    rules: str = "auto",
    names: Sequence[str] | None = None,
    only_present: bool = False,
    strict: bool = False,
    progress: Progress = NO_PROGRESS,
) -> ManifestScores:
    """Score the results of all recordings that have ground truth, and combine them.

    The numbers are those of `jdetrt.evaluation.trackeval.score` of the same files. A recording that
    cannot be scored stops no other.

    Args:
        manifest: of the recordings.
        folder: of their results, ``NAME.txt``.
        workers: that do the work.
        rules: as in `jdetrt.evaluation.trackeval.score`.
        names: score these recordings only.
        only_present: leave out recordings that have no results.
        strict: refuse boxes without area, instead of leaving them out.
        progress: told of each recording that is done.

    Raises:
        DataError: no recording has ground truth and results, or a name is not in the manifest.
        ConfigError: the workers cannot begin.
        MissingDependencyError: TrackEval is not installed, or Ray, for several workers.
    """
    listed = [one for one in manifest.recordings if names is None or one.name in names]
    if unknown := set(names or ()) - {one.name for one in listed}:
        raise DataError(f"{manifest.path}: lists no recording {', '.join(sorted(unknown))}")
    rows = [one for one in listed if one.truth is not None]
    if not rows:
        raise DataError(
            f"{manifest.path}: no recording has ground truth; give it as truth (JSON lines or CSV "
            "with source and truth), or list MOT sequences"
        )
    results = {one.name: folder / f"{one.name}.txt" for one in rows}
    if only_present:
        rows = [one for one in rows if results[one.name].is_file()]
    progress.start(_PHASE, len(rows))
    measured: dict[str, SequenceScore] = {}
    failures: dict[str, str] = {}
    make = partial(_scorer, folder.absolute(), rules, strict)
    outcomes = spread(make, rows, workers, fatal=MissingDependencyError)
    for done, outcome in enumerate(outcomes, start=1):
        name = rows[outcome.index].name
        if outcome.result is None:
            failures[name] = outcome.error or ""
        else:
            measured[name] = outcome.result
        progress.advance(_PHASE, done)
    progress.finish(_PHASE)
    if not measured:
        reasons = f": {next(iter(failures.values()))}" if failures else ""
        raise DataError(f"{folder}: has no results that can be scored{reasons}")
    scores = combine({one.name: measured[one.name] for one in rows if one.name in measured})
    unscored = tuple(one.name for one in listed if one.truth is None)
    return ManifestScores(replace(scores, unscored=unscored), failures)


@contextmanager
def _scorer(
    folder: Path, rules: str, strict: bool, threads: int | None
) -> Iterator[Callable[[Recording], SequenceScore]]:
    """Give the function that scores a recording."""

    def score(recording: Recording) -> SequenceScore:
        assert recording.truth is not None  # others are not handed out
        results = folder / f"{recording.name}.txt"
        return score_sequence(recording.truth, results, rules=rules, strict=strict)

    yield score
