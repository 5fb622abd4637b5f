"""``jdetrt track --manifest``: the recordings that a file lists."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from jdetrt.cli import options as opt
from jdetrt.cli.paths import refuse_collisions
from jdetrt.cli.progress import ProgressBars
from jdetrt.cli.results import plural, print_table, tell_notes, write_json
from jdetrt.cli.settings import read_tracker_settings
from jdetrt.cli.track.options import Options, site_of
from jdetrt.engine.triton_url import is_triton_url
from jdetrt.errors import ConfigError, SessionError
from jdetrt.file_check import check

if TYPE_CHECKING:
    from jdetrt.recordings.run import ManifestReport, RecordingReport
    from jdetrt.recordings.tracking import TrackSettings

__all__ = ["track_listed"]

_ROWS = 40  # of a table; of more recordings those are shown that need a look
# Options of live sources, of one source, or of a window.
_FOREIGN = (
    *("source", "detections", "live", "show", "rotate", "keep", "mqtt", "metrics"),
    *("reconnect_for", "save_config", "strict"),
)


def track_listed(options: Options, manifest: Path) -> int:
    """Track the recordings of a manifest and print the report.

    Returns:
        The exit code: 1 where a recording failed, 3 where frames of one are missing.
    """
    for name in _FOREIGN:
        if getattr(options, name) not in (None, False, ()):
            shown = "SOURCE" if name == "source" else f"--{name.replace('_', '-')}"
            raise click.UsageError(f"Give either --manifest or {shown}.")
    if opt.STDOUT in options.outputs().values():
        raise click.UsageError("With --manifest, outputs are files: name them with {name}.")
    if isinstance(options.model, Path):
        check(options.model, "track", SessionError)
    folder = options.output or Path(f"{manifest.stem}-tracks")
    settings = _settings(options, folder)

    from jdetrt.recordings.manifest import read_manifest
    from jdetrt.recordings.pool import Workers
    from jdetrt.recordings.run import track_manifest

    listed = read_manifest(manifest)
    refuse_collisions(
        {
            "--manifest": [manifest, *(recording.source for recording in listed.recordings)],
            "--config": [options.config] if options.config else (),
        },
        {"--json": options.json_path},
    )
    workers = Workers(options.workers, options.address, options.threads)
    try:
        with ProgressBars(quiet=options.quiet) as bars:
            report = track_manifest(listed, settings, workers, progress=bars)
    except KeyboardInterrupt:
        click.echo("Interrupted. The same command goes on where this one ended.", err=True)
        raise
    _show(report, folder, quiet=options.quiet)
    write_json(report, options.json_path)
    if report.totals.failed:
        return 1
    return opt.WORSE if report.totals.short else 0


def _settings(options: Options, folder: Path) -> TrackSettings:
    from jdetrt.config import preset_of
    from jdetrt.recordings.tracking import TrackSettings

    if site_of(options) is not None:
        raise ConfigError(
            f"{options.config}: is that of a site with streams; with --manifest, --config has the "
            "settings of the tracker"
        )
    tracker = None if options.config is None else read_tracker_settings(options.config)
    if tracker is not None and options.preset not in (None, preset_of(tracker)):
        raise ConfigError(
            f"{options.config}: has settings of the preset '{preset_of(tracker)}', but --preset is "
            f"'{options.preset}'; leave one of them out"
        )
    model = options.model
    if model is not None and not is_triton_url(model):
        model = Path(model).absolute()
    outputs = {"mot": folder / "{name}.txt", **options.outputs()}
    return TrackSettings(
        folder=str(folder.absolute()),
        outputs={kind: str(path.absolute()) for kind, path in outputs.items()},
        model=None if model is None else str(model),
        backend=options.backend,
        provider=options.provider,
        cuda_graph=options.cuda_graph,
        tracker=tracker,
        preset=options.preset,
        **{name: value for name, value in options.changes().items() if value is not None},
        max_frames=options.max_frames,
        every=options.every or 1,
        camera_motion=options.camera_motion,
        frame_rate=options.frame_rate,
        regions=None if options.regions is None else str(options.regions.absolute()),
    )


def _show(report: ManifestReport, folder: Path, *, quiet: bool) -> None:
    totals = report.totals
    if not quiet:
        _table(report.recordings)
        for reason, count in report.read["recordings"].get("by_design", {}).items():
            click.echo(f"{plural(count, 'row')} of the manifest left out: {reason}")
        if totals.unlisted:
            click.echo(
                f"{folder} also has results of {plural(totals.unlisted, 'recording')} that the "
                "manifest does not list"
            )
        missing = f" ({totals.left_out} could not be read)" if totals.left_out else ""
        click.echo(
            f"{plural(totals.recordings, 'recording')}: {totals.tracked} tracked, "
            f"{totals.up_to_date} up to date, {totals.failed} failed; "
            f"{plural(totals.frames, 'frame')}{missing}, "
            f"{plural(totals.detections, 'detection')}, {plural(totals.tracks, 'track')}"
        )
        if totals.tracked:
            click.echo(f"This run: {totals.seconds:.1f} s, {totals.fps:.1f} FPS together")
        if totals.retries:
            click.echo(
                f"Workers that died cost {plural(totals.retries, 'second try', 'more tries')}"
            )
        tell_notes(report.notes)
    if totals.without_tracks:
        click.echo(
            f"Warning: nobody was tracked in {plural(totals.without_tracks, 'recording')}; is the "
            "score threshold too high?",
            err=True,
        )
    for one in report.recordings:
        if one.error:
            click.echo(f"Failed: {one.name}: {one.error}", err=True)
    if not quiet:
        click.echo(f"Written: {folder / 'report.json'}")


def _table(recordings: list[RecordingReport]) -> None:
    """A row a recording; of many, those that need a look."""
    shown = recordings
    if len(recordings) > _ROWS:
        shown = [one for one in recordings if one.result is None or one.result.left_out]
        shown = shown[:_ROWS]
        click.echo(
            f"{len(shown)} of {len(recordings)} recordings are shown, of those that failed or lack "
            "frames; report.json has all"
        )
    rows = [
        {
            "name": one.name,
            "state": one.state,
            **{
                name: getattr(one.result, name, None)
                for name in ("frames", "left_out", "detections", "tracks", "fps")
            },
        }
        for one in shown
    ]
    if rows:
        print_table(
            rows,
            name=("Recording", ""),
            state=("State", ""),
            frames=("Frames", "d"),
            left_out=("Left out", "d"),
            detections=("Detections", "d"),
            tracks=("Tracks", "d"),
            fps=("FPS", ".1f"),
        )
