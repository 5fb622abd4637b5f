"""``jdetrt track``: people through a video, a folder, a camera, or given detections."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from jdetrt.cli.run_output import print_summary, progress
from jdetrt.errors import ConfigError, JdetrtError

if TYPE_CHECKING:
    from jdetrt.config import TrackerConfig
    from jdetrt.runtime.sinks import Sink

_FILE = click.Path(path_type=Path)
_FRACTION = click.FloatRange(0.0, 1.0)
_PRESETS = click.Choice(["reference", "paper", "iou"])
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
    provider: str
    threads: int | None
    max_frames: int | None
    frame_rate: float | None
    quiet: bool

    def outputs(self) -> dict[str, Path]:
        """Where results go, by option."""
        return self._paths("mot", "kitti", "jsonl", "video", "frames")

    def inputs(self) -> dict[str, Path]:
        """What is read, by option."""
        return {
            "SOURCE": Path(self.source),
            **self._paths("model", "detections", "config"),
        }

    def _paths(self, *names: str) -> dict[str, Path]:
        given = {f"--{name}": getattr(self, name) for name in names}
        return {option: path for option, path in given.items() if path is not None}


@click.command()
@click.argument("source")
@click.option("--model", type=_FILE, help="The network: an ONNX file of `jdetrt export`.")
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
    help="How to associate; by default reference with embeddings, iou without.",
)
@click.option("--score-threshold", type=_FRACTION, help="Leave out detections up to this score.")
@click.option("--nms-iou", type=_FRACTION, help="Overlap above which two detections are one.")
@click.option("--config", type=_FILE, help="Settings of the preset (TOML); options override it.")
@click.option("--save-config", type=_FILE, help="Write the settings in effect here (TOML).")
@click.option(
    "--provider", type=_PROVIDERS, default="auto", show_default=True, help="What computes."
)
@click.option(
    "--threads", type=click.IntRange(1, 1024), help="CPU threads; by default one a physical core."
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
    from jdetrt.runtime.interrupt import sigterm_as_ctrl_c

    options = _Options(**given)
    if (options.model is None) == (options.detections is None):
        raise click.UsageError("give one of --model FILE and --detections FILE")
    _refuse_collisions(options)
    with sigterm_as_ctrl_c():
        if options.model is not None:
            _track_source(options, options.model)
        elif options.detections is not None:
            _track_detections(options, options.detections)


def _track_source(options: _Options, model: Path) -> None:
    from jdetrt.engine.open import open_session
    from jdetrt.runtime.contract import has_embeddings, network_size
    from jdetrt.runtime.pipeline import Pipeline
    from jdetrt.runtime.sources import open_source
    from jdetrt.runtime.tracker import Tracker

    with ExitStack() as stack:
        session = stack.enter_context(
            open_session(model, provider=options.provider, threads=options.threads)
        )
        size = network_size(session)
        preset, config = _settings(options, "reference" if has_embeddings(session) else "iou")
        source = stack.enter_context(open_source(options.source, frame_rate=options.frame_rate))
        tracker = Tracker(preset, source.frame_rate, config)
        sinks = _open_sinks(options, source.frame_rate)
        lengths = [n for n in (source.length, options.max_frames) if n is not None]
        total = min(lengths, default=None)
        advance = stack.enter_context(progress(source.name, total, quiet=options.quiet))
        pipeline = Pipeline(
            source,
            session,
            tracker,
            sinks,
            size=size,
            max_frames=options.max_frames,
            on_frame=lambda frame, tracks: advance(),
        )
        try:
            pipeline.run()
        except KeyboardInterrupt as err:
            stack.close()  # ends the bar, so that what follows stands below it
            if not options.quiet and pipeline.report().frames:
                print_summary(pipeline.report(), source.name, options.outputs().values())
            click.echo(str(err), err=True)
            raise
    if not options.quiet:
        print_summary(pipeline.report(), source.name, options.outputs().values())


def _track_detections(options: _Options, detections: Path) -> None:
    from jdetrt.runtime.mot_io import read_detections, read_seqinfo
    from jdetrt.runtime.pipeline import track_detections
    from jdetrt.runtime.sources import open_source
    from jdetrt.runtime.tracker import Tracker

    sequence = Path(options.source)
    info = read_seqinfo(sequence)
    inside = sequence / detections
    path = inside if os.path.exists(inside) else detections
    seen = read_detections(path, length=info.length)
    length = min(info.length, options.max_frames or info.length)
    frame_rate = options.frame_rate or info.frame_rate
    preset, config = _settings(options, "iou")
    tracker = Tracker(preset, frame_rate, config)
    name = sequence.resolve().name
    with ExitStack() as stack:
        draws = options.video is not None or options.frames is not None
        pictures = stack.enter_context(open_source(sequence)) if draws else None
        sinks = _open_sinks(options, frame_rate)
        advance = stack.enter_context(progress(name, length, quiet=options.quiet))
        try:
            report = track_detections(
                {index: detected for index, detected in seen.items() if index <= length},
                tracker,
                sinks,
                length=length,
                frames=pictures,
                on_frame=lambda frame, tracks: advance(),
            )
        except KeyboardInterrupt as err:
            stack.close()
            click.echo(str(err), err=True)
            raise
    if not options.quiet:
        print_summary(report, name, options.outputs().values())


def _settings(options: _Options, default: str) -> tuple[str, TrackerConfig]:
    """The preset and its settings: from the file, then from the options; written if asked for."""
    import msgspec

    from jdetrt.config import IouConfig, PaperConfig, ReferenceConfig, load
    from jdetrt.files import write_text
    from jdetrt.runtime.tracker import default_config

    config: TrackerConfig
    if options.config is None:
        config = default_config(options.preset or default)
    else:  # the key `preset` of the file says which of the three it is
        config = load(options.config, cast(Any, ReferenceConfig | PaperConfig | IouConfig))
    preset = msgspec.to_builtins(config)["preset"]
    if options.preset not in (None, preset):
        raise ConfigError(
            f"{options.config}: holds settings of the preset '{preset}', but --preset says "
            f"'{options.preset}'; leave one of them out"
        )
    given = {"score_threshold": options.score_threshold, "nms_iou": options.nms_iou}
    changes = {key: value for key, value in given.items() if value is not None}
    config = msgspec.structs.replace(config, **changes)
    if options.save_config is not None:
        values = msgspec.to_builtins(config)
        lines = (f"{key} = {json.dumps(value)}\n" for key, value in values.items())
        write_text(options.save_config, "".join(lines))
    return preset, config


def _open_sinks(options: _Options, frame_rate: float) -> list[Sink]:
    from jdetrt.runtime.sinks import FramesSink, JsonLinesSink, KittiSink, MotSink, VideoSink

    kinds: dict[str, Any] = {
        "--mot": MotSink,
        "--kitti": KittiSink,
        "--jsonl": JsonLinesSink,
        "--video": lambda path: VideoSink(path, frame_rate=frame_rate),
        "--frames": FramesSink,
    }
    sinks: list[Sink] = []
    try:
        for option, path in options.outputs().items():
            sinks.append(kinds[option](path))
    except JdetrtError:
        for sink in sinks:
            sink.discard()
        raise
    return sinks


def _refuse_collisions(options: _Options) -> None:
    """No output takes the place of an input or of another output."""
    outputs = options.outputs()
    if options.save_config is not None:
        outputs["--save-config"] = options.save_config
    # os.path and not Path: a name that is too long, or a loop of links, is then simply not there.
    inputs = {os.path.realpath(path): option for option, path in options.inputs().items()}
    taken = dict(inputs)
    for option, path in outputs.items():
        other = taken.setdefault(os.path.realpath(path), option)
        if other != option:
            raise ConfigError(f"{option} {path}: is also {other}; give it another name")
    if options.frames is not None and os.path.isdir(options.frames) and os.listdir(options.frames):
        # The folder is replaced as a whole, so nothing that is read may lie in it.
        folder = os.path.realpath(options.frames) + os.sep
        held = [option for path, option in inputs.items() if path.startswith(folder)]
        source = os.path.realpath(options.source)
        if held or (os.path.isdir(source) and folder.startswith(source + os.sep)):
            raise ConfigError(
                f"--frames {options.frames}: holds files of {(held or ['SOURCE'])[0]}; "
                "name a new folder"
            )
