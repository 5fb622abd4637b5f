"""``jdetrt track``: people in a video, images, a camera, or a list of detections."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jdetrt.cli import options as opt
from jdetrt.cli.paths import model_files, refuse_collisions, source_files
from jdetrt.cli.progress import ProgressBars
from jdetrt.cli.settings import toml_text, tracker_settings
from jdetrt.config import CAMERA_MOTIONS, DEFAULT_PRESET, default_config
from jdetrt.errors import ConfigError, DataError, SessionError
from jdetrt.file_kind import check
from jdetrt.passwords import without_passwords
from jdetrt.shipped import NANO, resolve

if TYPE_CHECKING:
    from jdetrt.cli.track.run import RunOptions
    from jdetrt.cli.track.site import Site, StreamSettings
    from jdetrt.config import TrackerConfig
    from jdetrt.runtime.confidences import Unit
    from jdetrt.runtime.sinks.rotation import Rotation


@dataclass(frozen=True)
class _Options:
    """The command line, parsed; None for what is not given."""

    source: tuple[str, ...]
    model: Path | str | None  # text is the address of one on Triton
    detections: Path | None
    mot: Path | None
    kitti: Path | None
    jsonl: Path | None
    video: Path | None
    images: Path | None
    events: Path | None
    heat_map: Path | None
    regions: Path | None
    live: str | None
    show: bool
    json_path: Path | None
    rotate: Rotation | None
    keep: int | None
    mqtt: str | None
    metrics: str | None
    reconnect_for: float | None
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
    every: int | None
    camera_motion: str
    frame_rate: float | None
    confidence_unit: Unit
    strict: bool
    quiet: bool

    def outputs(self) -> dict[str, Path]:
        """Where results go, by kind."""
        given = {
            "mot": self.mot,
            "kitti": self.kitti,
            "jsonl": self.jsonl,
            "video": self.video,
            "images": self.images,
            "events": self.events,
            "heat_map": self.heat_map,
        }
        return {kind: path for kind, path in given.items() if path is not None}

    def changes(self) -> dict[str, float | None]:
        """Settings of the tracker that the command line changes."""
        return {"score_threshold": self.score_threshold, "nms_iou": self.nms_iou}


def _rotation(text: str) -> Rotation:
    """Read ``100MB`` or ``1h``; raises click.BadParameter."""
    from jdetrt.runtime.sinks.rotation import Rotation

    try:
        return Rotation.parse(text)
    except DataError as err:
        raise click.BadParameter(str(err)) from None


def _old_frames(value: str) -> str:
    """``--frames`` was a folder, which a bare number is hardly meant to be."""
    return "--max-frames" if value.isdecimal() else "--images"


@click.command(cls=opt.Command, renamed={"--frames": _old_frames, "--pictures": "--images"})
@click.argument(
    "source",
    nargs=-1,
    shell_complete=opt.complete_file,
    help="A video, a folder or pattern of images, a MOT sequence, a camera (0, csi://0), a stream "
    "(rtsp://host/stream, http://host/video), or the name of a stream of --config; several are "
    "tracked at once. Default: all streams of --config.",
)
@click.option(
    "--model",
    type=opt.model_or_address,
    metavar="MODEL",
    shell_complete=opt.complete_model,
    help="An ONNX model from `jdetrt export`, a plan from `jdetrt build`, the built-in nano or "
    "nano:WxH, or a model on Triton (grpc://host:8001/name, http://host:8000/name). For a file "
    "called nano, write ./nano. Default without --detections: nano.",
)
@click.option(
    "--detections",
    type=opt.FILE,
    metavar="FILE",
    help="Track these detections instead of running a network: a MOT det.txt, relative to the "
    "sequence or to the current folder. SOURCE is then a MOT sequence; its images are only needed "
    "for --video and --images.",
)
@click.option(
    "--confidence-unit",
    type=click.Choice(["auto", "fraction", "percent", "margin"]),
    default="auto",
    show_default=True,
    help="Unit of the confidences of --detections: 0 to 1, 0 to 100, or margins of a classifier "
    "(any number, 0 at its decision); auto decides by the numbers and says how.",
)
@click.option(
    "--strict",
    is_flag=True,
    help="Refuse --detections with boxes without area instead of leaving these out.",
)
@click.option(
    "--mot",
    type=opt.FILE,
    metavar="FILE|-",
    callback=opt.to_stdout,
    help="Write tracks as MOT Challenge text; `-` writes to stdout as they come. With several "
    "sources, `{name}` in the name of an output stands for that of the source.",
)
@click.option(
    "--kitti",
    type=opt.FILE,
    metavar="FILE|-",
    callback=opt.to_stdout,
    help="Write tracks as KITTI text.",
)
@click.option(
    "--jsonl",
    type=opt.FILE,
    metavar="FILE|-",
    callback=opt.to_stdout,
    help="Write tracks as JSON, one line per frame.",
)
@click.option("--video", type=opt.FILE, metavar="FILE", help="Write an annotated video.")
@click.option(
    "--images", type=opt.FILE, metavar="DIR", help="Write annotated frames into this folder."
)
@click.option(
    "--regions",
    type=opt.FILE,
    metavar="FILE",
    help="Read lines to cross, zones to stay in and masks from a TOML file. With --live they can "
    "be drawn on the page, which saves them there. With several sources, `{name}` stands for each.",
)
@click.option(
    "--events",
    type=opt.FILE,
    metavar="FILE|-",
    callback=opt.to_stdout,
    help="Write what happens at the lines and in the zones of --regions as JSON, one line per "
    "event.",
)
@click.option(
    "--heat-map",
    type=opt.FILE,
    metavar="FILE",
    help="Write an image of where people stood (.png, .jpg, .webp).",
)
@click.option(
    "--live",
    metavar="[HOST:]PORT",
    help="Show the run as a web page on this port, of the loopback unless a host is given; "
    "elsewhere the page asks for a token (JDETRT_LIVE_TOKEN, or a new one).",
)
@click.option("--show", is_flag=True, help="Show the frames in a window; q ends the run.")
@click.option(
    "--rotate",
    type=_rotation,
    metavar="SIZE|TIME",
    help="Begin new output files of a live source at this size or age, such as 100MB or 1h. The "
    "old ones get a date in their names.",
)
@click.option(
    "--keep",
    type=click.IntRange(0),
    metavar="N",
    help="Delete all but the newest N of the old output files. Default: keep all.",
)
@click.option(
    "--mqtt",
    metavar="URL",
    help="Publish tracks as they come to an MQTT broker: mqtt://user:password@host/topic, or "
    "mqtts:// for TLS.",
)
@click.option(
    "--metrics",
    metavar="[HOST:]PORT",
    help="Serve metrics for Prometheus on this port, of the loopback unless a host is given.",
)
@click.option(
    "--reconnect-for",
    type=click.FloatRange(0.0),
    metavar="SECONDS",
    help="End when a live source has been away for this long; 0 ends with its first failure. "
    "Default: wait for it for ever.",
)
@opt.max_frames("Stop after this many frames of each source.")
@click.option(
    "--every",
    type=click.IntRange(1, 1000),
    metavar="N",
    help="Run the network on one frame of N only; in between, tracks move on as they did. Default: "
    "1, every frame.",
)
@click.option(
    "--camera-motion",
    type=click.Choice(CAMERA_MOTIONS),
    default="auto",
    show_default=True,
    help="Estimate how the camera moves and move the tracks along: auto does so while it moves. "
    "With --detections only on does, and needs the images.",
)
@click.option(
    "--frame-rate",
    type=opt.parse_frame_rate,
    metavar="FPS",
    help="Frame rate of SOURCE, such as 25 or 30000/1001, if the stated one is wrong.",
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
    help="Read the tracker settings, or the streams of a site, from a TOML file; options override "
    "it.",
)
@click.option(
    "--save-config",
    type=opt.FILE,
    metavar="FILE",
    help="Write the tracker settings in effect to a TOML file.",
)
@opt.BACKEND
@opt.PROVIDER
@opt.DEVICE
@opt.THREADS
@opt.CUDA_GRAPH
@opt.JSON
@opt.QUIET
def command(**given: Any) -> int:
    """Track people in one SOURCE or in several at once.

    To keep the tracks, name an output, such as --mot or --video. Ctrl-C ends the run and keeps the
    results so far. The exit code is 3 if frames could not be read: an image, or more than 2 frames
    and 1 % of a video; or if none of --detections could be used.
    """
    options = _Options(**given)
    if options.model is not None and options.detections is not None:
        raise click.UsageError("Give either --model or --detections.")
    site = _site(options)
    if site is not None:
        options = _with_site(options, site)
    if not options.source:
        raise click.UsageError("Give a SOURCE, or the streams of a site with --config.")
    if options.detections is not None and len(options.source) > 1:
        raise click.UsageError("With --detections, give one SOURCE, a MOT sequence.")
    if options.model is None and options.detections is None:
        options = replace(options, model=resolve(NANO))
        if not options.quiet:
            click.echo(f"No --model given: tracking with {NANO} ({options.model})", err=True)
    if options.detections is not None:
        options = replace(options, detections=_find(options.source[0], options.detections))
    streams = _streams(options, site)
    _check_outputs(options, streams)
    with ExitStack() as stack:
        if options.model is not None:
            if isinstance(options.model, Path):
                check(options.model, "track", SessionError)
            return _track_sources(options, site, streams, options.model, stack)
        assert options.detections is not None
        from jdetrt.cli.track.detections import track_list

        return track_list(
            Path(options.source[0]),
            options.detections,
            _settings(options, lambda: default_config(options.preset or DEFAULT_PRESET)),
            options.outputs(),
            _run_options(options),
            stack,
            frame_rate=options.frame_rate,
            unit=options.confidence_unit,
            strict=options.strict,
            regions=options.regions,
        )


def _site(options: _Options) -> Site | None:
    from jdetrt.cli.track.site import read_site

    return None if options.config is None else read_site(options.config)


def _with_site(options: _Options, site: Site) -> _Options:
    """The options, with those of the site where the command line says nothing."""
    rotate = options.rotate
    if rotate is None and site.rotate is not None:
        rotate = _rotation(site.rotate)
    return replace(
        options,
        source=options.source or tuple(site.stream),
        model=options.model or (None if site.model is None else opt.model_or_address(site.model)),
        rotate=rotate,
        keep=site.keep if options.keep is None else options.keep,
        every=options.every or site.every,
        mqtt=options.mqtt or site.mqtt,
        metrics=options.metrics or site.metrics,
        live=options.live or site.live,
    )


def _streams(options: _Options, site: Site | None) -> dict[str, StreamSettings]:
    """Settings of the streams by name; a source that the site does not know is its own name."""
    from jdetrt.cli.track.site import StreamSettings

    known = {} if site is None else site.stream
    for text in options.source:
        if (
            known
            and text not in known
            and re.fullmatch(r"[\w -]+", text)
            and not Path(text).exists()
        ):
            raise ConfigError(
                f"{options.config}: has no stream {text!r}, only {', '.join(known)}; and there is "
                "no such file"
            )
    streams = {text: known.get(text, StreamSettings(source=text)) for text in options.source}
    if len(streams) < len(options.source):
        double = next(text for text in options.source if options.source.count(text) > 1)
        raise ConfigError(f"{without_passwords(double)}: given twice; name each source once")
    return streams


def _paths(options: _Options, stream: StreamSettings) -> dict[str, Path]:
    """Paths of the outputs of a stream by kind; those of the command line come first."""
    return {
        **{kind: Path(path) for kind, path in stream.outputs().items()},
        **options.outputs(),
    }


def _regions(options: _Options, name: str, stream: StreamSettings) -> Path | None:
    """The file of the lines and zones of a stream."""
    from jdetrt.runtime.sinks.outputs import output_path

    path = options.regions or stream.regions
    return None if path is None else output_path(path, name, several=False)


def _check_outputs(options: _Options, streams: Mapping[str, StreamSettings]) -> None:
    """Say where there is no output; refuse those in the place of an input or of another output."""
    from jdetrt.runtime.sinks.outputs import output_path, refuse_mixed

    several = len(streams) > 1
    given = [
        (
            _option(kind) + (f" of {name}" if several else ""),
            kind,
            output_path(path, name, several=several),
        )
        for name, settings in streams.items()
        for kind, path in _paths(options, settings).items()
    ]
    refuse_mixed([(kind, path) for _, kind, path in given], len(streams))
    results = (options.mqtt, options.metrics, options.live, options.json_path)
    if not (given or any(results) or options.show) and not options.quiet:
        click.echo(
            "No output named: tracks are only counted. Add --mot FILE, --video FILE or another "
            "output to keep them.",
            err=True,
        )
    refuse_collisions(
        {
            "SOURCE": (file for one in streams.values() for file in source_files(one.source)),
            "--model": model_files(options.model) if isinstance(options.model, Path) else (),
            "--detections": [options.detections] if options.detections else (),
            "--config": [options.config] if options.config else (),
            "--regions": (
                file for name, one in streams.items() if (file := _regions(options, name, one))
            ),
        },
        {
            **{option: path for option, _, path in given},
            "--save-config": options.save_config,
            "--json": options.json_path,
        },
    )


def _track_sources(
    options: _Options,
    site: Site | None,
    streams: Mapping[str, StreamSettings],
    model: Path | str,
    stack: ExitStack,
) -> int:
    from jdetrt.cli.track.run import StreamPlan, track_streams
    from jdetrt.engine.open import open_session
    from jdetrt.runtime.settings import assumptions, tracker_config

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
    common = _settings(options, lambda: tracker_config(session, options.preset), site)
    plans = [
        StreamPlan(
            name if site is not None and name in site.stream else "",
            one.source,
            _paths(options, one),
            common if one.tracker is None else _changed(options, one.tracker),
            options.frame_rate or one.frame_rate,
            one.stall_timeout,
            _first(options.reconnect_for, one.reconnect_for, site.reconnect_for if site else None),
            _regions(options, name, one),
        )
        for name, one in streams.items()
    ]
    own = site is not None and (site.tracker or all(one.tracker for one in streams.values()))
    given = options.preset or (own if site is not None else options.config)
    notes = assumptions(session, tracker_given=bool(given))
    return track_streams(plans, session, _run_options(options), stack, notes)


def _find(source: str, detections: Path) -> Path:
    """The file of --detections: in the sequence's folder, else in the working folder."""
    inside = Path(source, detections)
    return inside if os.path.exists(inside) else detections


def _settings(
    options: _Options, default: Callable[[], TrackerConfig], site: Site | None = None
) -> TrackerConfig:
    """The settings in effect; written down if asked for."""
    from jdetrt.files import write_text

    if site is None:
        config = tracker_settings(options.config, options.preset, default, options.changes())
    elif site.tracker is not None:
        config = _changed(options, site.tracker)
    else:
        config = tracker_settings(None, options.preset, default, options.changes())
    if options.save_config is not None:
        write_text(options.save_config, toml_text(config))
    return config


def _changed(options: _Options, settings: TrackerConfig) -> TrackerConfig:
    """Settings of a site with those of the command line."""
    return tracker_settings(None, options.preset, lambda: settings, options.changes())


def _option(kind: str) -> str:
    return f"--{kind.replace('_', '-')}"


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)


def _run_options(options: _Options) -> RunOptions:
    from jdetrt.cli.track.run import RunOptions
    from jdetrt.runtime.sinks.rotation import NO_ROTATION

    return RunOptions(
        quiet=options.quiet,
        rotation=replace(options.rotate or NO_ROTATION, keep=options.keep),
        max_frames=options.max_frames,
        every=options.every or 1,
        camera_motion=options.camera_motion,
        mqtt=options.mqtt,
        metrics=options.metrics,
        live=options.live,
        show=options.show,
        json_path=options.json_path,
    )
