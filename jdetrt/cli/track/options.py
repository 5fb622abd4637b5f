"""Options of ``jdetrt track``, joined with the settings of a site."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jdetrt.cli import options as opt
from jdetrt.cli.paths import model_files, refuse_collisions, source_files
from jdetrt.cli.settings import toml_text, tracker_settings
from jdetrt.errors import ConfigError, DataError
from jdetrt.passwords import without_passwords

if TYPE_CHECKING:
    from jdetrt.cli.track.outputs import RunOptions
    from jdetrt.cli.track.run import StreamPlan
    from jdetrt.cli.track.site import Site, StreamSettings
    from jdetrt.config import TrackerConfig
    from jdetrt.runtime.confidences import Unit
    from jdetrt.runtime.sinks.rotation import Rotation
    from jdetrt.runtime.sources.camera_uri import Decoder

__all__ = [
    "Options",
    "check_outputs",
    "detections_file",
    "read_rotation",
    "run_options",
    "site_of",
    "stream_plans",
    "stream_settings",
    "tracker_of",
    "with_site",
]


@dataclass(frozen=True)
class Options:
    """The command line, parsed; None for what is not given."""

    source: tuple[str, ...]
    manifest: Path | None
    output: Path | None
    workers: int | None
    address: str | None
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
    cuda_graph: bool | None
    max_frames: int | None
    every: int | None
    camera_motion: str
    frame_rate: float | None
    decoder: Decoder
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


def read_rotation(text: str) -> Rotation:
    """Read ``100MB`` or ``1h``; raises click.BadParameter."""
    from jdetrt.runtime.sinks.rotation import Rotation

    try:
        return Rotation.parse(text)
    except DataError as err:
        raise click.BadParameter(str(err)) from None


def site_of(options: Options) -> Site | None:
    """The site of --config; None where that is something else."""
    from jdetrt.cli.track.site import read_site

    return None if options.config is None else read_site(options.config)


def with_site(options: Options, site: Site) -> Options:
    """The options, with those of the site where the command line says nothing."""
    rotate = options.rotate
    if rotate is None and site.rotate is not None:
        rotate = read_rotation(site.rotate)
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


def stream_settings(options: Options, site: Site | None) -> dict[str, StreamSettings]:
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


def _paths(options: Options, stream: StreamSettings) -> dict[str, Path]:
    """Paths of the outputs of a stream by kind; those of the command line come first."""
    return {
        **{kind: Path(path) for kind, path in stream.outputs().items()},
        **options.outputs(),
    }


def _regions(options: Options, name: str, stream: StreamSettings) -> Path | None:
    """The file of the lines and zones of a stream."""
    from jdetrt.runtime.sinks.outputs import output_path

    path = options.regions or stream.regions
    return None if path is None else output_path(path, name, several=False)


def check_outputs(options: Options, streams: Mapping[str, StreamSettings]) -> None:
    """Say where there is no output; refuse those in the place of an input or of another output."""
    from jdetrt.runtime.sinks.outputs import output_path, refuse_mixed

    several = len(streams) > 1
    given = [
        (
            _option(kind) + (f" of {without_passwords(name)}" if several else ""),
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


def detections_file(source: str, detections: Path) -> Path:
    """The file of --detections: in the sequence's folder, else in the working folder."""
    inside = Path(source, detections)
    return inside if os.path.exists(inside) else detections


def tracker_of(
    options: Options, default: Callable[[], TrackerConfig], site: Site | None = None
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


def stream_plans(
    options: Options,
    site: Site | None,
    streams: Mapping[str, StreamSettings],
    common: TrackerConfig,
) -> list[StreamPlan]:
    """Make the plans of all streams; ``common`` are the settings of those that have none."""
    from jdetrt.cli.track.run import StreamPlan

    return [
        StreamPlan(
            name if site is not None and name in site.stream else "",
            one.source,
            _paths(options, one),
            common if one.tracker is None else _changed(options, one.tracker),
            options.frame_rate or one.frame_rate,
            one.stall_timeout,
            _first(options.reconnect_for, one.reconnect_for, site.reconnect_for if site else None),
            _regions(options, name, one),
            options.decoder,
        )
        for name, one in streams.items()
    ]


def _changed(options: Options, settings: TrackerConfig) -> TrackerConfig:
    """Settings of a site with those of the command line."""
    return tracker_settings(None, options.preset, lambda: settings, options.changes())


def _option(kind: str) -> str:
    return f"--{kind.replace('_', '-')}"


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)


def run_options(options: Options) -> RunOptions:
    """Options of the whole run."""
    from jdetrt.cli.track.outputs import RunOptions
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
