"""``jdetrt track``: people in a video, images, a camera, or a list of detections."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jdetrt.cli import options as opt
from jdetrt.cli.paths import model_files, refuse_collisions, source_files
from jdetrt.cli.progress import OnFrame, ProgressBars, phase
from jdetrt.cli.results import plural, print_run
from jdetrt.cli.settings import toml_text, tracker_settings
from jdetrt.config import default_config
from jdetrt.errors import DataError, SessionError
from jdetrt.file_kind import check
from jdetrt.shipped import NANO, resolve

if TYPE_CHECKING:
    from jdetrt.config import TrackerConfig
    from jdetrt.engine.tensorrt.session import MemoryUse
    from jdetrt.runtime.sinks.base import Output, Sink
    from jdetrt.runtime.timing import RunReport
    from jdetrt.runtime.tracking.tracker import Tracker


@dataclass(frozen=True)
class _Options:
    """The command line, parsed; None for what is not given."""

    source: str
    model: Path | None
    detections: Path | None
    mot: Path | None
    kitti: Path | None
    jsonl: Path | None
    video: Path | None
    images: Path | None
    preset: str | None
    score_threshold: float | None
    nms_iou: float | None
    config: Path | None
    save_config: Path | None
    backend: str
    provider: str
    threads: int | None
    cuda_graph: bool
    max_frames: int | None
    frame_rate: float | None
    quiet: bool

    def outputs(self) -> dict[str, Path]:
        """Where results go, by option."""
        given = {
            "--mot": self.mot,
            "--kitti": self.kitti,
            "--jsonl": self.jsonl,
            "--video": self.video,
            "--images": self.images,
        }
        return {option: path for option, path in given.items() if path is not None}


def _old_frames(value: str) -> str:
    """``--frames`` was a folder, which a bare number is hardly meant to be."""
    return "--max-frames" if value.isdecimal() else "--images"


@click.command(cls=opt.Command, renamed={"--frames": _old_frames, "--pictures": "--images"})
@opt.SOURCE
@click.option(
    "--model",
    type=resolve,
    metavar="MODEL",
    shell_complete=opt.complete_model,
    help="An ONNX model from `jdetrt export`, a plan from `jdetrt build`, or the built-in nano or "
    "nano:WxH. For a file called nano, write ./nano. Default without --detections: nano.",
)
@click.option(
    "--detections",
    type=opt.FILE,
    metavar="FILE",
    help="Track these detections instead of running a network: a MOT det.txt, relative to the "
    "sequence or to the current folder. SOURCE is then a MOT sequence; its images are only needed "
    "for --video and --images.",
)
@click.option("--mot", type=opt.FILE, metavar="FILE", help="Write tracks as MOT Challenge text.")
@click.option("--kitti", type=opt.FILE, metavar="FILE", help="Write tracks as KITTI text.")
@click.option(
    "--jsonl", type=opt.FILE, metavar="FILE", help="Write tracks as JSON, one line per frame."
)
@click.option("--video", type=opt.FILE, metavar="FILE", help="Write an annotated video.")
@click.option(
    "--images", type=opt.FILE, metavar="DIR", help="Write annotated frames into this folder."
)
@opt.max_frames("Stop after this many frames.")
@click.option(
    "--frame-rate",
    type=click.FloatRange(0.0, 1000.0, min_open=True),
    metavar="FPS",
    help="Frame rate of SOURCE, if the stated one is wrong.",
)
@opt.PRESET
@click.option(
    "--score-threshold",
    type=opt.FRACTION,
    metavar="SCORE",
    help="Ignore detections with this score or less. Default: that of the preset.",
)
@click.option(
    "--nms-iou",
    type=opt.FRACTION,
    metavar="IOU",
    help="IoU above which two detections count as one. Default: that of the preset.",
)
@click.option(
    "--config",
    type=opt.FILE,
    metavar="FILE",
    help="Read the tracker settings from a TOML file; options override it.",
)
@click.option(
    "--save-config",
    type=opt.FILE,
    metavar="FILE",
    help="Write the tracker settings in effect to a TOML file.",
)
@opt.BACKEND
@opt.PROVIDER
@opt.THREADS
@opt.CUDA_GRAPH
@opt.QUIET
def command(**given: Any) -> None:
    """Track people in SOURCE.

    To keep the tracks, name an output, such as --mot or --video. Ctrl-C ends the run and keeps the
    results so far.
    """
    options = _Options(**given)
    if options.model is not None and options.detections is not None:
        raise click.UsageError("Give either --model or --detections.")
    if options.model is None and options.detections is None:
        options = replace(options, model=resolve(NANO))
        if not options.quiet:
            click.echo(f"No --model given: tracking with {NANO} ({options.model})", err=True)
    if not options.outputs() and not options.quiet:
        click.echo(
            "No output named: tracks are only counted. Add --mot FILE, --video FILE or another "
            "output to keep them.",
            err=True,
        )
    if options.detections is not None:
        options = replace(options, detections=_find(options.source, options.detections))
    refuse_collisions(
        {
            "SOURCE": source_files(options.source),
            "--model": model_files(options.model) if options.model else (),
            "--detections": [options.detections] if options.detections else (),
            "--config": [options.config] if options.config else (),
        },
        {**options.outputs(), "--save-config": options.save_config},
    )
    with ExitStack() as stack:
        if options.model is not None:
            check(options.model, "track", SessionError)
            _track_source(options, options.model, stack)
        elif options.detections is not None:
            _track_detections(options, options.detections, stack)


def _track_source(options: _Options, model: Path, stack: ExitStack) -> None:
    from jdetrt.engine.open import open_session
    from jdetrt.engine.tensorrt.session import memory_of
    from jdetrt.runtime.detector import network_size
    from jdetrt.runtime.pipeline import Pipeline
    from jdetrt.runtime.settings import tracker_config
    from jdetrt.runtime.sources.open import open_source
    from jdetrt.runtime.tracking.tracker import Tracker

    with ProgressBars(quiet=options.quiet) as loading:
        session = stack.enter_context(
            open_session(
                model,
                backend=options.backend,
                provider=options.provider,
                threads=options.threads,
                cuda_graph=options.cuda_graph,
                progress=loading,
            )
        )
    config = _settings(options, lambda: tracker_config(session, options.preset))
    source = stack.enter_context(open_source(options.source, frame_rate=options.frame_rate))
    lengths = [n for n in (source.length, options.max_frames) if n is not None]
    tracker = Tracker(config, source.frame_rate)
    bars = ProgressBars(quiet=options.quiet, rate="FPS")
    pipeline = Pipeline(
        source,
        session,
        tracker,
        _open_sinks(options, source.frame_rate, stack),
        size=network_size(session),
        max_frames=options.max_frames,
        on_frame=OnFrame(bars, source.name),
    )
    bars.start(source.name, min(lengths, default=None))
    memory = partial(memory_of, session)
    _run(options, bars, tracker, source.name, pipeline.run, pipeline.report, memory)


def _track_detections(options: _Options, detections: Path, stack: ExitStack) -> None:
    from jdetrt.runtime.mot_io import is_thinned, read_detections
    from jdetrt.runtime.pipeline import ASSOCIATION, track_detections
    from jdetrt.runtime.sources.open import open_source
    from jdetrt.runtime.sources.seqinfo import read_seqinfo
    from jdetrt.runtime.timing import Stopwatch
    from jdetrt.runtime.tracking.tracker import Tracker

    sequence = Path(options.source)
    info = read_seqinfo(sequence)
    by_frame = read_detections(detections, length=info.length)
    length = min(info.length, options.max_frames or info.length)
    if is_thinned(by_frame) and not options.quiet:
        click.echo(
            f"{detections}: has {plural(len(by_frame), 'frame')} of {info.length}, most of them "
            "after a gap: the gaps count as frames left out, not as frames without people",
            err=True,
        )
    frame_rate = options.frame_rate or info.frame_rate
    config = _settings(options, lambda: default_config(options.preset or "iou"))
    name = sequence.resolve().name
    draws = options.video is not None or options.images is not None
    images = stack.enter_context(open_source(sequence)) if draws else None
    tracker, bars = Tracker(config, frame_rate), ProgressBars(quiet=options.quiet, rate="FPS")
    stopwatch = Stopwatch(ASSOCIATION)
    run = partial(
        track_detections,
        {index: rows for index, rows in by_frame.items() if index <= length},
        tracker,
        _open_sinks(options, frame_rate, stack),
        length=length,
        frames=images,
        on_frame=OnFrame(bars, name),
        stopwatch=stopwatch,
    )
    try:
        bars.start(name, length)
        _run(options, bars, tracker, name, run, stopwatch.report)
    except DataError as err:
        raise DataError(f"{detections}: {err}") from err


def _run(
    options: _Options,
    bars: ProgressBars,
    tracker: Tracker,
    name: str,
    run: Callable[[], RunReport],
    report: Callable[[], RunReport],
    memory: Callable[[], MemoryUse | None] = lambda: None,
) -> None:
    """Run to the end, or to Ctrl-C, and print what was done."""
    try:
        with bars:
            with phase(bars, "Compiling kernels (first use only)", parent=name):
                tracker.warm_up()
            run()
    except KeyboardInterrupt as err:
        if report().frames and not options.quiet:
            print_run(report(), name, options.outputs().values(), memory())
        if str(err):
            click.echo(str(err), err=True)
        raise
    if not options.quiet:
        print_run(report(), name, options.outputs().values(), memory())


def _find(source: str, detections: Path) -> Path:
    """The file of --detections: in the sequence's folder, else in the working folder."""
    inside = Path(source, detections)
    return inside if os.path.exists(inside) else detections


def _settings(options: _Options, default: Callable[[], TrackerConfig]) -> TrackerConfig:
    """The settings in effect; written down if asked for."""
    from jdetrt.files import write_text

    changes = {"score_threshold": options.score_threshold, "nms_iou": options.nms_iou}
    config = tracker_settings(options.config, options.preset, default, changes)
    if options.save_config is not None:
        write_text(options.save_config, toml_text(config))
    return config


def _open_sinks(options: _Options, frame_rate: float, stack: ExitStack) -> list[Sink]:
    """Open the outputs; the stack sees to it that none is left behind half made."""
    from jdetrt.runtime.signals import interrupt_held
    from jdetrt.runtime.sinks.text import JsonLinesSink, KittiSink, MotSink
    from jdetrt.runtime.sinks.video import FramesSink, VideoSink

    kinds: dict[str, Callable[[Path], Output]] = {
        "--mot": MotSink,
        "--kitti": KittiSink,
        "--jsonl": JsonLinesSink,
        "--video": lambda path: VideoSink(path, frame_rate=frame_rate),
        "--images": FramesSink,
    }
    with interrupt_held():
        return [
            stack.enter_context(kinds[option](path)) for option, path in options.outputs().items()
        ]
