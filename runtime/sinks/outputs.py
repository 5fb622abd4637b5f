"""Outputs of a stream by kind: where each goes, and how it is opened."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from jdetrt.config import LabelConfig
from jdetrt.errors import ConfigError
from jdetrt.runtime.events.counter import EventCounter
from jdetrt.runtime.sinks.base import Output
from jdetrt.runtime.sinks.draw_regions import regions_overlay
from jdetrt.runtime.sinks.frames import FramesSink
from jdetrt.runtime.sinks.heat_map import HeatMapSink
from jdetrt.runtime.sinks.rotation import NO_ROTATION, Rotation
from jdetrt.runtime.sinks.target import STDOUT
from jdetrt.runtime.sinks.text import EventsSink, JsonLinesSink, KittiSink, MotSink
from jdetrt.runtime.sinks.video import VideoSink

__all__ = ["KINDS", "open_output", "output_path", "refuse_mixed"]

TEXTS = ("mot", "kitti", "jsonl", "events")
KINDS = (*TEXTS, "video", "images", "heat_map")
_NAME = "{name}"


def output_path(path: str | Path, stream: str, *, several: bool) -> Path:
    """The path of an output of one stream.

    Args:
        path: ``{name}`` in it stands for the name of the stream. Without it and with several
            streams, the name is added: to that of a file, or as a folder within a folder.
        stream: name of the stream.
        several: whether there are other streams.

    >>> str(output_path("out/tracks.txt", "door", several=True))
    'out/tracks-door.txt'
    >>> str(output_path("out/{name}.txt", "door", several=True))
    'out/door.txt'
    """
    name = re.sub(r"[^\w.-]+", "-", stream).strip(".-") or "stream"
    if _NAME in str(path):
        return Path(str(path).replace(_NAME, name))
    path = Path(path)
    if not several or path == STDOUT:
        return path
    return path.with_name(f"{path.stem}-{name}{path.suffix}") if path.suffix else path / name


def open_output(
    kind: str,
    path: str | Path | TextIO,
    frame_rate: float,
    *,
    live: bool = False,
    rotation: Rotation = NO_ROTATION,
    stream: str = "",
    counter: EventCounter | None = None,
    label: LabelConfig | None = None,
) -> Output:
    """Open an output of a source.

    Args:
        kind: one of ``KINDS``.
        path: file or folder; ``-`` or an open stream for text.
        frame_rate: of the source.
        live: whether the source is: a file then grows under its own name.
        rotation: when it gives way to a new one.
        stream: name to write into JSON lines.
        counter: of lines and zones, which are drawn on the frames of a video or of images.
        label: class of the tracks; None for people.

    Raises:
        OutputError: it cannot be made.
        ConfigError: what is no text is to go to standard output, or there are no lines and zones
            to write events of.
    """
    growing = rotation if live else None
    overlay = None if counter is None else regions_overlay(counter)
    name = label.name if label else ""
    if kind == "events" and counter is None:
        raise ConfigError("--events: there are no lines or zones; name them with --regions FILE")
    if kind not in TEXTS and path in ("-", STDOUT):
        option = kind.replace("_", "-")
        raise ConfigError(f"--{option}: goes to a file; only text goes to standard output")
    makers: Mapping[str, Callable[[Any], Output]] = {
        "mot": lambda target: MotSink(target, live=growing, label=label),
        "kitti": lambda target: KittiSink(target, live=growing, label=label),
        "jsonl": lambda target: JsonLinesSink(
            target, live=growing, stream=stream, clock=live, label=label
        ),
        "video": lambda target: VideoSink(
            target, frame_rate, live=growing, overlay=overlay, name=name
        ),
        "images": lambda target: FramesSink(target, overlay=overlay, name=name),
        "events": lambda target: EventsSink(
            target, _given(counter), live=growing, stream=stream, clock=live
        ),
        "heat_map": HeatMapSink,
    }
    return makers[kind](path)


def _given(counter: EventCounter | None) -> EventCounter:
    assert counter is not None  # checked for this kind
    return counter


def refuse_mixed(paths: Sequence[tuple[str, Path]], streams: int) -> None:
    """Refuse outputs of which one would take the place of another.

    Raises:
        ConfigError: two kinds go to standard output, or lines without a name of several streams.
    """
    to_stdout = [kind for kind, path in paths if path == STDOUT]
    if len(set(to_stdout)) > 1:
        raise ConfigError(
            f"--{to_stdout[0]} and --{to_stdout[1]} both go to standard output; name a file"
        )
    if streams > 1 and set(to_stdout) & {"mot", "kitti"}:
        raise ConfigError(
            f"--{to_stdout[0]} -: its lines do not say which of the {streams} streams they are "
            "of; use --jsonl -, or a file for each: tracks-{name}.txt"
        )
