"""Runs of ``jdetrt track``: streams with their outputs, and all that watches them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jdetrt.cli.paths import refuse_collisions, source_files
from jdetrt.cli.progress import OnFrame, ProgressBars, phase
from jdetrt.cli.results import print_regions, print_run, print_streams, write_json
from jdetrt.cli.track.outputs import Outputs, RunOptions, open_watchers
from jdetrt.errors import SourceError

if TYPE_CHECKING:
    from jdetrt.account import Account
    from jdetrt.config import TrackerConfig
    from jdetrt.engine.tensorrt.session import MemoryUse
    from jdetrt.runtime.sources.camera_uri import Decoder
    from jdetrt.runtime.sources.open import Source
    from jdetrt.runtime.timing import RunReport
    from jdetrt.types import Session

__all__ = ["StreamPlan", "run_to_the_end", "summarise", "track_streams"]


@dataclass(frozen=True)
class StreamPlan:
    """One stream of a run.

    Attributes:
        name: "" for that of the source.
        source: its URI.
        outputs: paths by kind, ``{name}`` in them not yet replaced.
        settings: the tracker's.
        frame_rate: frames per second, in place of what the source says.
        stall_timeout: seconds without a frame after which a live source counts as away.
        reconnect_for: seconds that it may be away; None for any time.
        decoder: of video files and RTSP: auto, cpu or nvdec.
        regions: file of lines, zones and masks; with a live page it may be still to be made.
    """

    name: str
    source: str
    outputs: Mapping[str, Path]
    settings: TrackerConfig
    frame_rate: float | None = None
    stall_timeout: float | None = None
    reconnect_for: float | None = None
    regions: Path | None = None
    decoder: Decoder = "auto"


def track_streams(
    plans: Sequence[StreamPlan],
    session: Session,
    options: RunOptions,
    stack: ExitStack,
    notes: Sequence[str] = (),
) -> int:
    """Track all streams to their end, or to Ctrl-C, and print what was done.

    Args:
        plans: of the streams.
        session: of the model.
        options: of the run.
        stack: closes what is opened.
        notes: on what is assumed of the model.

    Returns:
        The exit code: 3 where frames of a file are missing.
    """
    from jdetrt.engine.tensorrt.session import memory_of
    from jdetrt.runtime.detector import network_size
    from jdetrt.runtime.events.open import open_counter
    from jdetrt.runtime.multi_pipeline import MultiPipeline, Stream, unique
    from jdetrt.runtime.pipeline import Pipeline
    from jdetrt.runtime.settings import label_of
    from jdetrt.runtime.sources.open import account_of
    from jdetrt.runtime.tracking.tracker import Tracker

    label = label_of(session)
    several = len(plans) > 1
    bars = ProgressBars(quiet=options.quiet, rate="FPS")
    sources = [stack.enter_context(_open(plan, bars, wait=several)) for plan in plans]
    names = unique([plan.name or one.name for plan, one in zip(plans, sources, strict=True)])
    _check_names(plans, names)
    outputs = Outputs(stack, options.rotation)
    counters = {
        name: open_counter(plan.regions, source.frame_rate, to_draw=options.live is not None)
        for plan, source, name in zip(plans, sources, names, strict=True)
        if plan.regions is not None
    }
    streams = [
        Stream(
            source,
            Tracker(plan.settings, source.frame_rate),
            outputs.open(
                plan.outputs,
                source.frame_rate,
                live=source.live,
                name=name,
                several=several,
                counter=counters.get(name),
                label=label,
            ),
            OnFrame(bars, name),
            name,
            counters[name].select if name in counters else None,
        )
        for plan, source, name in zip(plans, sources, names, strict=True)
    ]
    files = {name: plan.regions for plan, name in zip(plans, names, strict=True)}
    watchers, metrics, publisher = open_watchers(options, bars, stack, counters, files, label)
    size, frames = network_size(session), options.max_frames
    if several:
        many = MultiPipeline(
            streams,
            session,
            size=size,
            max_frames=frames,
            every=options.every,
            camera_motion=options.camera_motion,
            watchers=watchers,
            say=bars.message,
        )
        run: Callable[[], object] = many.run
    else:
        one = streams[0]
        single = Pipeline(
            one.source,
            session,
            one.tracker,
            one.sinks,
            size=size,
            max_frames=frames,
            every=options.every,
            camera_motion=options.camera_motion,
            on_frame=one.on_frame,
            name=one.name,
            watchers=watchers,
            select=one.select,
        )
        run = single.run

    def reports() -> dict[str, RunReport]:
        of_streams = many.report().streams if several else (single.report(),)
        return dict(zip(names, of_streams, strict=True))

    def summary() -> int:
        more: dict[str, Any] = {}
        if several:
            report = many.report()
            more |= {"fps": report.fps, "batches": report.batches, "batch": report.batch}
        if counters:
            more["regions"] = {name: counter.state() for name, counter in counters.items()}
        if publisher is not None:
            more["mqtt"] = {"published": publisher.published, "dropped": publisher.dropped}
        accounts = {
            name: [account_of(one)]
            for name, one in zip(names, sources, strict=True)
            if not one.live
        }
        return summarise(options, reports(), outputs, accounts, notes, more, memory_of(session))

    if metrics is not None:
        metrics.reports = reports
    for source, name in zip(sources, names, strict=True):
        lengths = [n for n in (source.length, frames) if n is not None]
        bars.start(name, min(lengths, default=None))
    return run_to_the_end(run, bars, names[0], streams[0].tracker.warm_up, summary)


def run_to_the_end(
    run: Callable[[], object],
    bars: ProgressBars,
    name: str,
    warm_up: Callable[[], None],
    summary: Callable[[], int],
) -> int:
    """Run, and give the summary at the end, which may be Ctrl-C or a source that is lost.

    Returns:
        The exit code that the summary gives.
    """
    try:
        with bars:
            with phase(bars, "Compiling kernels (first use only)", parent=name):
                warm_up()
            run()
    except KeyboardInterrupt as err:
        summary()
        if str(err):
            click.echo(str(err), err=True)
        raise
    except SourceError:
        summary()
        raise
    return summary()


def summarise(
    options: RunOptions,
    streams: Mapping[str, RunReport],
    outputs: Outputs,
    accounts: Mapping[str, Sequence[Account]],
    notes: Sequence[str],
    more: Mapping[str, Any] | None = None,
    memory: MemoryUse | None = None,
) -> int:
    """Print what was done, what was left out and what was assumed, and write it as JSON.

    Args:
        options: say where it goes.
        streams: the report of each stream by its name.
        outputs: of all streams.
        accounts: of what was read, by stream.
        notes: on what was assumed.
        more: the streams together (fps, batches, batch), and mqtt.
        memory: of the GPU.

    Returns:
        The exit code, as `jdetrt.cli.track.accounts.tell_accounts` gives it.
    """
    from jdetrt.cli.track.accounts import tell_accounts

    more = more or {}
    if not options.quiet and any(report.frames for report in streams.values()):
        if len(streams) == 1:
            name, report = next(iter(streams.items()))
            print_run(report, name, memory)
        else:
            print_streams(streams)
            click.echo(
                f"All streams: {more['fps']:.1f} FPS, {more['batch']:.1f} images in a run of the "
                "network"
            )
        for name, state in more.get("regions", {}).items():
            print_regions(state, name if len(streams) > 1 else "")
        if "mqtt" in more:
            sent = more["mqtt"]
            click.echo(f"MQTT: {sent['published']} published, {sent['dropped']} dropped")
        for line in outputs.written():
            click.echo(f"Written: {line}")
    told, code = tell_accounts(streams, accounts, notes, quiet=options.quiet)
    write_json({"streams": streams, **more, **told}, options.json_path)
    return code


def _check_names(plans: Sequence[StreamPlan], names: Sequence[str]) -> None:
    """Refuse an output whose name, now that that of its stream is known, is that of an input."""
    from jdetrt.runtime.sinks.outputs import output_path

    several = len(plans) > 1
    refuse_collisions(
        {"SOURCE": (file for plan in plans for file in source_files(plan.source))},
        {
            f"--{kind.replace('_', '-')} of {name}": output_path(path, name, several=several)
            for plan, name in zip(plans, names, strict=True)
            for kind, path in plan.outputs.items()
        },
    )


def _open(plan: StreamPlan, bars: ProgressBars, *, wait: bool) -> Source:
    from jdetrt.runtime.sources.camera import STALLED_AFTER
    from jdetrt.runtime.sources.open import open_source

    return open_source(
        plan.source,
        frame_rate=plan.frame_rate,
        reconnect_for=plan.reconnect_for,
        stall_timeout=plan.stall_timeout or STALLED_AFTER,
        wait=wait,
        say=bars.message,
        decoder=plan.decoder,
    )
