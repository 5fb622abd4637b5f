"""Tracking of all recordings of a manifest, and the report on it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from jdetrt.errors import ConfigError, JdetrtError
from jdetrt.files import remove_leftovers, write_json
from jdetrt.progress import NO_PROGRESS, Progress
from jdetrt.recordings.manifest import Manifest, Recording
from jdetrt.recordings.pool import Workers, spread
from jdetrt.recordings.record import Result, changes, read_record, source_facts
from jdetrt.recordings.tracking import RecordingTracker, Task, TrackSettings, UnusableModelError

__all__ = ["ManifestReport", "RecordingReport", "Totals", "track_manifest"]

_PHASE = "Recordings"


class RecordingReport(msgspec.Struct, kw_only=True):
    """Report on a recording.

    Attributes:
        name: of its results.
        source: path of the recording.
        state: "tracked", "up to date" (by an earlier run) or "failed".
        error: why it failed; None else.
        changed: what was no longer as in an earlier run, so that it was tracked again.
        attempts: at it in this run; more than 1 where workers died.
        result: of this run or of an earlier one; None where it failed.
    """

    name: str
    source: str
    state: str
    error: str | None = None
    changed: list[str] = []
    attempts: int = 0
    result: Result | None = None


class Totals(msgspec.Struct, kw_only=True):
    """Numbers of all recordings together.

    Attributes:
        recordings: in the manifest, without those listed twice.
        tracked, up_to_date, failed: of them, by state.
        frames, detections, tracks: of all results, those of earlier runs included.
        left_out: frames that could not be read.
        short: recordings of which more frames are missing than may be.
        without_tracks: recordings in which nobody was tracked.
        retries: attempts beyond the first, because workers died.
        unlisted: results in the folder of recordings that are not in the manifest.
        seconds: of this run; and ``fps``, frames that it tracked a second, all workers together.
    """

    recordings: int
    tracked: int
    up_to_date: int
    failed: int
    frames: int
    detections: int
    tracks: int
    left_out: int
    short: int
    without_tracks: int
    retries: int
    unlisted: int
    seconds: float
    fps: float


class ManifestReport(msgspec.Struct, kw_only=True):
    """Report on all recordings of a manifest, as it is written to ``report.json``.

    Attributes:
        manifest: its path.
        read: account of its rows.
        settings: facts that the results follow from, such as the model and its hash.
        totals: of all recordings.
        recordings: in the order of the manifest.
        notes: on what was assumed, each once.
    """

    manifest: str
    read: dict[str, Any]
    settings: dict[str, Any]
    totals: Totals
    recordings: list[RecordingReport]
    notes: list[str] = []


def track_manifest(
    manifest: Manifest,
    settings: TrackSettings,
    workers: Workers,
    *,
    progress: Progress = NO_PROGRESS,
) -> ManifestReport:
    """Track the recordings of a manifest whose results are not there yet.

    Results of an earlier run count where the recording, the model, the settings and the results
    themselves are as they were. A recording that fails leaves no results of this run, and stops no
    other. After Ctrl-C or a kill, another call does what is missing.

    Args:
        manifest: of the recordings.
        settings: of the work.
        workers: that do it.
        progress: told of each recording that is done.

    Returns:
        The report, which is also written to ``report.json`` in the folder of the settings.

    Raises:
        ConfigError: an output would replace an input or another output, lines and zones are
            missing or wrong, or the workers cannot begin.
        SessionError: the model cannot be opened.
        OutputError: the report cannot be written.
        MissingDependencyError: several workers are asked for, and Ray is not installed.
    """
    begin = time.perf_counter()
    settings.check()
    _check_outputs(manifest, settings)
    common = settings.origin()
    reports: dict[str, RecordingReport] = {}
    tasks = []
    for recording in manifest.recordings:
        report, task = _look(recording, settings, common)
        reports[recording.name] = report
        tasks += [] if task is None else [task]
    done = len(reports) - len(tasks)
    progress.start(_PHASE, len(reports))
    progress.advance(_PHASE, done)
    make = partial(RecordingTracker, settings)
    if tasks:
        for outcome in spread(make, tasks, workers, fatal=UnusableModelError):
            report = reports[tasks[outcome.index].name]
            report.attempts = outcome.attempts
            report.error = outcome.error and _with_stale(outcome.error, report)
            report.state = "failed" if outcome.result is None else "tracked"
            report.result = outcome.result
            if report.error:
                progress.message(f"{report.name}: {report.error}")
            done += 1
            progress.advance(_PHASE, done)
    progress.finish(_PHASE)
    for place in settings.paths("name").values():
        remove_leftovers(place)  # of workers that died
    seconds = time.perf_counter() - begin
    merged = _merged(manifest, settings.folder, common, [*reports.values()], seconds)
    write_json(Path(settings.folder, "report.json"), merged)
    return merged


def _check_outputs(manifest: Manifest, settings: TrackSettings) -> None:
    """Refuse outputs in the place of an input or of each other."""
    inputs = {str(manifest.path.resolve()): "the manifest"}
    if settings.model is not None:
        inputs[str(Path(settings.model).resolve())] = "the model"
    for recording in manifest.recordings:
        inputs[str(Path(recording.source).resolve())] = f"the recording of {recording.name}"
        if recording.truth is not None:
            truth = recording.truth / "gt" / "gt.txt"
            inputs[str(truth.resolve())] = f"the ground truth of {recording.name}"
    places = {str(Path(settings.folder, "report.json").resolve()): "the report"}
    for recording in manifest.recordings:
        paths = map(Path, settings.paths(recording.name).values())
        for path in (*paths, settings.record(recording.name)):
            place = str(path.resolve())
            if other := inputs.get(place) or places.get(place):
                raise ConfigError(
                    f"{path}: results of {recording.name} would take the place of {other}; name "
                    "another folder or file"
                )
            places[place] = f"results of {recording.name}"


def _look(
    recording: Recording, settings: TrackSettings, common: dict[str, Any]
) -> tuple[RecordingReport, Task | None]:
    """Look whether a recording has its results; the task where it does not, and can have them."""
    report = RecordingReport(name=recording.name, source=recording.source, state="failed")
    try:
        own = {"recording": source_facts(recording.source), "source": recording.source}
        origin = {**common, **own, **settings.regions_of(recording.name)}
    except JdetrtError as err:
        report.error = str(err)
        return report, None
    record = read_record(settings.record(recording.name))
    if record is not None:
        report.changed = changes(record, origin)
        if not report.changed:
            report.state, report.result = "up to date", record.result
            return report, None
    return report, Task.of(recording, origin)


def _with_stale(error: str, report: RecordingReport) -> str:
    if not report.changed or "no results" in error:
        return error
    return f"{error}; results of an earlier run are kept ({', '.join(report.changed)} changed)"


def _merged(
    manifest: Manifest,
    folder: str,
    common: dict[str, Any],
    reports: Sequence[RecordingReport],
    seconds: float,
) -> ManifestReport:
    results = [report.result for report in reports if report.result is not None]
    states = [report.state for report in reports]
    new = sum(r.result.frames for r in reports if r.result is not None and r.state == "tracked")
    there = {path.stem for path in Path(folder, "records").glob("*.json")}
    totals = Totals(
        recordings=len(reports),
        tracked=states.count("tracked"),
        up_to_date=states.count("up to date"),
        failed=states.count("failed"),
        frames=sum(result.frames for result in results),
        detections=sum(result.detections for result in results),
        tracks=sum(result.tracks for result in results),
        left_out=sum(result.left_out for result in results),
        short=sum(result.short for result in results),
        without_tracks=sum(not result.tracks for result in results),
        retries=sum(max(0, report.attempts - 1) for report in reports),
        unlisted=len(there - {report.name for report in reports}),
        seconds=seconds,
        fps=new / seconds,
    )
    notes = dict.fromkeys(note for result in results for note in result.notes)
    return ManifestReport(
        manifest=str(manifest.path),
        read={manifest.account.many: manifest.account.to_dict()},
        settings=common,
        totals=totals,
        recordings=[*reports],
        notes=[*notes],
    )
