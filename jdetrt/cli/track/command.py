"""``jdetrt track``: people in a video, images, a camera, or a list of detections."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jdetrt.cli import options as opt
from jdetrt.cli.progress import ProgressBars
from jdetrt.cli.track.options import (
    Options,
    check_outputs,
    detections_file,
    read_rotation,
    run_options,
    site_of,
    stream_plans,
    stream_settings,
    tracker_of,
    with_site,
)
from jdetrt.config import CAMERA_MOTIONS, DEFAULT_PRESET, default_config
from jdetrt.errors import SessionError
from jdetrt.file_check import check
from jdetrt.shipped import name_for, resolve

if TYPE_CHECKING:
    from jdetrt.cli.track.site import Site, StreamSettings


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
@opt.file(
    "--manifest",
    "Track the recordings that this file lists, in place of SOURCE: a path a line, or JSON lines "
    "or CSV with source, name and truth. Another run does only what is missing.",
)
@opt.output(
    "Folder for the results of --manifest: NAME.txt with the tracks of each recording, records/ "
    "and report.json. Default: the name of the manifest with -tracks.",
    metavar="DIR",
    required=False,
)
@opt.WORKERS
@opt.ADDRESS
@opt.option(
    "--model",
    "An ONNX model from `jdetrt export`, a plan from `jdetrt build`, the built-in nano or "
    "nano:WxH, or a model on Triton (grpc://host:8001/name, http://host:8000/name). For a file "
    "called nano, write ./nano. Default without --detections: nano.",
    type=opt.model_or_address,
    metavar="MODEL",
    shell_complete=opt.complete_model,
)
@opt.file(
    "--detections",
    "Track these detections instead of running a network: a MOT det.txt, relative to the "
    "sequence or to the current folder. SOURCE is then a MOT sequence; its images are only needed "
    "for --video and --images.",
)
@opt.choice(
    "--confidence-unit",
    "Unit of the confidences of --detections: 0 to 1, 0 to 100, or margins of a classifier "
    "(any number, 0 at its decision); auto decides by the numbers and reports its choice.",
    ["auto", "fraction", "percent", "margin"],
    default="auto",
)
@opt.flag("--strict", "Refuse --detections with boxes with no area instead of leaving these out.")
@opt.file(
    "--mot",
    "Write tracks as MOT Challenge text; `-` writes to stdout as they are produced. With several "
    "sources, `{name}` in the name of an output stands for that of the source.",
    metavar="FILE|-",
    callback=opt.to_stdout,
)
@opt.file("--kitti", "Write tracks as KITTI text.", metavar="FILE|-", callback=opt.to_stdout)
@opt.file(
    "--jsonl", "Write tracks as JSON, one line per frame.", metavar="FILE|-", callback=opt.to_stdout
)
@opt.file("--video", "Write an annotated video.")
@opt.file("--images", "Write annotated frames into this folder.", metavar="DIR")
@opt.file(
    "--regions",
    "Read lines to cross, zones to stay in and masks from a TOML file. With --live they can "
    "be drawn on the page, which saves them there. With several sources, `{name}` stands for each.",
)
@opt.file(
    "--events",
    "Write what happens at the lines and in the zones of --regions as JSON, one line per event.",
    metavar="FILE|-",
    callback=opt.to_stdout,
)
@opt.file("--heat-map", "Write an image of where people stood (.png, .jpg, .webp).")
@opt.option(
    "--live",
    "Show the run as a web page on this port, on the loopback interface unless a host is given. "
    "On any other, the page asks for a token (JDETRT_LIVE_TOKEN, or a new one).",
    metavar="[HOST:]PORT",
)
@opt.flag("--show", "Show the frames in a window; press q to end the run.")
@opt.option(
    "--rotate",
    "Start new output files for a live source at this size or age, such as 100MB or 1h. The names "
    "of old files get a date.",
    type=read_rotation,
    metavar="SIZE|TIME",
)
@opt.number(
    "--keep", "Delete all but the newest N of the old output files. Default: keep all.", least=0
)
@opt.option(
    "--mqtt",
    "Publish tracks to an MQTT broker as they are produced: mqtt://user:password@host/topic, or "
    "mqtts:// for TLS.",
    metavar="URL",
)
@opt.option(
    "--metrics",
    "Serve metrics for Prometheus on this port, on the loopback interface unless a host is given.",
    metavar="[HOST:]PORT",
)
@opt.option(
    "--reconnect-for",
    "Stop when a live source has been away for this long; 0 stops at its first failure. Default: "
    "wait for ever.",
    type=click.FloatRange(0.0),
    metavar="SECONDS",
)
@opt.max_frames("Stop after this many frames of each source.")
@opt.number(
    "--every",
    "Run the network on one frame of N only; in between, tracks move on as they did. Default: "
    "1, every frame.",
    most=1000,
)
@opt.choice(
    "--camera-motion",
    "Estimate how the camera moves and move the tracks along: auto does so while it moves. "
    "With --detections, only `on` does, and it needs the images.",
    CAMERA_MOTIONS,
    default="auto",
)
@opt.option(
    "--frame-rate",
    "Frame rate of SOURCE, such as 25 or 30000/1001, if the stated one is wrong.",
    type=opt.parse_frame_rate,
    metavar="FPS",
)
@opt.choice(
    "--decoder",
    "Decoder of video files and RTSP: nvdec is a Jetson's own; auto is that for RTSP on a Jetson, "
    "otherwise the CPU.",
    ["auto", "cpu", "nvdec"],
    default="auto",
)
@opt.PRESET
@opt.share(
    "--score-threshold",
    "Ignore detections with this score or less. Default: that of the preset.",
    metavar="SCORE",
)
@opt.share(
    "--nms-iou",
    "IoU above which two detections count as one. Default: that of the preset.",
    metavar="IOU",
)
@opt.file(
    "--config",
    "Read the tracker settings, or the streams of a site, from a TOML file; options override it.",
)
@opt.file("--save-config", "Write the tracker settings in effect to a TOML file.")
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
    and 1 % of a video; or if no detection of a list could be used. A recording of a manifest that
    fails does not stop the others; the exit code is then 1.
    """
    options = Options(**given)
    if options.manifest is not None:
        from jdetrt.cli.track.manifest import track_listed

        return track_listed(options, options.manifest)
    for name in ("output", "workers", "address"):
        if getattr(options, name) is not None:
            raise click.UsageError(f"--{name} belongs to --manifest; give that, too.")
    if options.model is not None and options.detections is not None:
        raise click.UsageError("Give either --model or --detections.")
    site = site_of(options)
    if site is not None:
        options = with_site(options, site)
    if not options.source:
        raise click.UsageError("Give a SOURCE, or the streams of a site with --config.")
    if options.detections is not None and len(options.source) > 1:
        raise click.UsageError("With --detections, give one SOURCE, a MOT sequence.")
    if options.model is None and options.detections is None:
        name = name_for(_frame_size(options, site))
        options = replace(options, model=resolve(name))
        if not options.quiet:
            click.echo(f"No --model given: tracking with {name} ({options.model})", err=True)
    if options.detections is not None:
        options = replace(
            options, detections=detections_file(options.source[0], options.detections)
        )
    streams = stream_settings(options, site)
    check_outputs(options, streams)
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
            tracker_of(options, lambda: default_config(options.preset or DEFAULT_PRESET)),
            options.outputs(),
            run_options(options),
            stack,
            frame_rate=options.frame_rate,
            unit=options.confidence_unit,
            strict=options.strict,
            regions=options.regions,
        )


def _track_sources(
    options: Options,
    site: Site | None,
    streams: Mapping[str, StreamSettings],
    model: Path | str,
    stack: ExitStack,
) -> int:
    from jdetrt.cli.track.run import track_streams
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
    common = tracker_of(options, lambda: tracker_config(session, options.preset), site)
    plans = stream_plans(options, site, streams, common)
    own = site is not None and (site.tracker or all(one.tracker for one in streams.values()))
    given = options.preset or (own if site is not None else options.config)
    notes = assumptions(session, tracker_given=bool(given))
    return track_streams(plans, session, run_options(options), stack, notes)


def _frame_size(options: Options, site: Site | None) -> tuple[int, int] | None:
    """The size of the frames, where the only source is a file or folder."""
    from jdetrt.runtime.sources.open import open_source

    text = options.source[0]
    if len(options.source) > 1 or site is not None or not os.path.exists(text):
        return None
    with open_source(text, frame_rate=options.frame_rate) as source:
        return source.size
