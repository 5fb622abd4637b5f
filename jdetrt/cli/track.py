"""``jdetrt track``: people through a video, a folder, a camera, or given detections."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jdetrt.cli.paths import model_files, refuse_collisions, source_files
from jdetrt.cli.run_output import ProgressBar, print_summary
from jdetrt.cli.settings import toml_text, tracker_settings
from jdetrt.config import PRESETS, default_config
from jdetrt.errors import DataError
from jdetrt.shipped import NANO, resolve

if TYPE_CHECKING:
    from jdetrt.config import TrackerConfig
    from jdetrt.engine.tensorrt.session import MemoryUse
    from jdetrt.runtime.sinks.base import Output, Sink
    from jdetrt.runtime.timing import RunReport

_FILE = click.Path(path_type=Path)
_FRACTION = click.FloatRange(0.0, 1.0)
_PRESETS = click.Choice(PRESETS)
_BACKENDS = click.Choice(["auto", "onnxruntime", "tensorrt", "tensorrt-rtx"])
_PROVIDERS = click.Choice(["auto", "cpu", "cuda", "tensorrt"])


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
    frames: Path | None
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
            "--frames": self.frames,
        }
        return {option: path for option, path in given.items() if path is not None}


@click.command()
@click.argument("source")
@click.option(
    "--model",
    type=resolve,
    metavar="FILE",
    help="The network: an ONNX file of `jdetrt export`, a plan of `jdetrt build`, or nano or "
    "nano:WxH, which ship (a file of that name is ./nano); default without --detections: nano.",
)
@click.option(
    "--detections",
    type=_FILE,
    help="Associate these detections (det.txt, in the sequence's folder or here); no network.",
)
@click.option("--mot", type=_FILE, help="Write MOT Challenge text.")
@click.option("--kitti", type=_FILE, help="Write KITTI text.")
@click.option("--jsonl", type=_FILE, help="Write JSON, one line a frame.")
@click.option("--video", type=_FILE, help="Write a video with the tracks drawn in.")
@click.option("--frames", type=_FILE, help="Write such pictures into this folder.")
@click.option(
    "--preset",
    type=_PRESETS,
    help="How to associate, with the preset's own settings; by default as the model says, or "
    "else reference with embeddings and iou without.",
)
@click.option("--score-threshold", type=_FRACTION, help="Leave out detections up to this score.")
@click.option("--nms-iou", type=_FRACTION, help="Overlap above which two detections are one.")
@click.option("--config", type=_FILE, help="Settings of the preset (TOML); options override it.")
@click.option("--save-config", type=_FILE, help="Write the settings in effect here (TOML).")
@click.option(
    "--backend",
    type=_BACKENDS,
    default="auto",
    show_default=True,
    help="What runs the network; auto: plans TensorRT, ONNX files ONNX Runtime. With tensorrt the "
    "plan of an ONNX file is found in the cache folder or built.",
)
@click.option(
    "--provider",
    type=_PROVIDERS,
    default="auto",
    show_default=True,
    help="What computes in ONNX Runtime.",
)
@click.option(
    "--threads", type=click.IntRange(1, 1024), help="CPU threads; by default one a physical core."
)
@click.option(
    "--cuda-graph",
    is_flag=True,
    help="Replay a plan as a CUDA graph, which takes the CPU less time.",
)
@click.option("--max-frames", type=click.IntRange(1), help="Stop after so many frames.")
@click.option(
    "--frame-rate",
    type=click.FloatRange(0.0, 1000.0, min_open=True),
    help="Frames a second, in place of what the source says.",
)
@click.option("-q", "--quiet", is_flag=True, help="No progress and no summary.")
def command(**given: Any) -> None:
    """Track people in SOURCE.

    SOURCE is a video, a folder or pattern of pictures, a MOT sequence, or a camera (camera:0,
    csi://0, rtsp://host/stream); with --detections it is a MOT sequence, whose pictures are only
    needed to draw. Ctrl-C ends the run and keeps the results up to there.
    """
    options = _Options(**given)
    if options.model is not None and options.detections is not None:
        raise click.UsageError("give one of --model FILE and --detections FILE")
    if options.model is None and options.detections is None:
        options = replace(options, model=resolve(NANO))
        if not options.quiet:
            click.echo(f"No --model given: tracking with {NANO} ({options.model})", err=True)
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
            _track_source(options, options.model, stack)
        elif options.detections is not None:
            _track_detections(options, options.detections, stack)


def _track_source(options: _Options, model: Path, stack: ExitStack) -> None:
    from jdetrt.cli.build_bar import BuildBar
    from jdetrt.engine.open import open_session
    from jdetrt.engine.tensorrt.session import memory_of
    from jdetrt.runtime.detector import network_size
    from jdetrt.runtime.pipeline import Pipeline
    from jdetrt.runtime.settings import tracker_config
    from jdetrt.runtime.sources.open import open_source
    from jdetrt.runtime.tracking.tracker import Tracker

    with BuildBar(quiet=options.quiet) as build_bar:
        session = stack.enter_context(
            open_session(
                model,
                backend=options.backend,
                provider=options.provider,
                threads=options.threads,
                cuda_graph=options.cuda_graph,
                progress=build_bar,
            )
        )
    config = _settings(options, lambda: tracker_config(session, options.preset))
    source = stack.enter_context(open_source(options.source, frame_rate=options.frame_rate))
    lengths = [n for n in (source.length, options.max_frames) if n is not None]
    bar = ProgressBar(source.name, min(lengths, default=None), quiet=options.quiet)
    pipeline = Pipeline(
        source,
        session,
        Tracker(config, source.frame_rate),
        _open_sinks(options, source.frame_rate, stack),
        size=network_size(session),
        max_frames=options.max_frames,
        on_frame=bar.advance,
    )
    _run(options, bar, source.name, pipeline.run, pipeline.report, lambda: memory_of(session))


def _track_detections(options: _Options, detections: Path, stack: ExitStack) -> None:
    from jdetrt.runtime.mot_io import read_detections
    from jdetrt.runtime.pipeline import ASSOCIATION, track_detections
    from jdetrt.runtime.sources.open import open_source
    from jdetrt.runtime.sources.seqinfo import read_seqinfo
    from jdetrt.runtime.timing import Stopwatch
    from jdetrt.runtime.tracking.tracker import Tracker

    sequence = Path(options.source)
    info = read_seqinfo(sequence)
    seen = read_detections(detections, length=info.length)
    length = min(info.length, options.max_frames or info.length)
    frame_rate = options.frame_rate or info.frame_rate
    config = _settings(options, lambda: default_config(options.preset or "iou"))
    name = sequence.resolve().name
    draws = options.video is not None or options.frames is not None
    pictures = stack.enter_context(open_source(sequence)) if draws else None
    bar = ProgressBar(name, length, quiet=options.quiet)
    stopwatch = Stopwatch(ASSOCIATION)
    run = partial(
        track_detections,
        {index: detected for index, detected in seen.items() if index <= length},
        Tracker(config, frame_rate),
        _open_sinks(options, frame_rate, stack),
        length=length,
        frames=pictures,
        on_frame=bar.advance,
        stopwatch=stopwatch,
    )
    try:
        _run(options, bar, name, run, stopwatch.report)
    except DataError as err:
        raise DataError(f"{detections}: {err}") from err


def _run(
    options: _Options,
    bar: ProgressBar,
    name: str,
    run: Callable[[], RunReport],
    report: Callable[[], RunReport],
    memory: Callable[[], MemoryUse | None] = lambda: None,
) -> None:
    """Run to the end, or to Ctrl-C, and say what was done."""
    try:
        with bar:
            run()
    except KeyboardInterrupt as err:
        if report().frames and not options.quiet:
            print_summary(report(), name, options.outputs().values(), memory())
        if str(err):
            click.echo(str(err), err=True)
        raise
    if not options.quiet:
        print_summary(report(), name, options.outputs().values(), memory())


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
        "--frames": FramesSink,
    }
    with interrupt_held():
        return [
            stack.enter_context(kinds[option](path)) for option, path in options.outputs().items()
        ]
