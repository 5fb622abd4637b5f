"""Settings of a site: several cameras with their names, outputs and trackers, in one TOML file.

::

    model = "nano"
    rotate = "1h"
    mqtt = "mqtt://broker/site"

    [tracker]
    preset = "iou"

    [stream.door]
    source = "rtsp://viewer:${DOOR_PASSWORD}@10.0.0.7/stream"
    jsonl = "results/{name}.jsonl"

    [stream.yard]
    source = "rtsp://10.0.0.8/stream"
    tracker = { preset = "iou", buffer = 120 }
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from jdetrt.config import AnyTrackerConfig, Positive, Section
from jdetrt.documents import convert, read_toml
from jdetrt.errors import ConfigError

__all__ = ["Site", "StreamSettings", "read_site"]

Name = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^\w[\w. -]*\Z")]
Seconds = Annotated[float, Meta(ge=0.0, le=1e9)]
_OUTPUTS = ("mot", "kitti", "jsonl", "video", "images", "events", "heat_map")
_PATHS = (*_OUTPUTS, "regions")
_VARIABLE = re.compile(r"\$\{(\w+)\}")


class StreamSettings(Section, frozen=True):
    """Settings of one stream; those of the site hold where it says nothing.

    Paths are relative to the folder of the TOML file; ``{name}`` in one stands for the name of the
    stream. ``${VARIABLE}`` in a source stands for an environment variable.
    """

    source: str
    mot: str | None = None
    kitti: str | None = None
    jsonl: str | None = None
    video: str | None = None
    images: str | None = None
    events: str | None = None
    heat_map: str | None = None
    frame_rate: Positive | None = None
    stall_timeout: Positive | None = None  # seconds without a frame after which it counts as away
    reconnect_for: Seconds | None = None
    tracker: AnyTrackerConfig | None = None
    regions: str | None = None  # TOML file with lines and zones (jdetrt.runtime.events.regions)

    def outputs(self) -> dict[str, str]:
        """Paths of the outputs by kind."""
        return {kind: path for kind in _OUTPUTS if (path := getattr(self, kind)) is not None}


class Site(Section, frozen=True):
    """Settings of a site."""

    stream: dict[Name, StreamSettings]
    model: str | None = None
    tracker: AnyTrackerConfig | None = None
    every: Annotated[int, Meta(ge=1, le=1000)] | None = None  # the network sees one frame of these
    reconnect_for: Seconds | None = None
    rotate: str | None = None
    keep: Annotated[int, Meta(ge=0)] | None = None
    mqtt: str | None = None
    metrics: str | None = None
    live: str | None = None


def read_site(path: str | Path) -> Site | None:
    """Read the TOML file of a site; None where it is of something else, such as a tracker.

    Raises:
        ConfigError: it cannot be read, has an unknown or wrong key, or names an environment
            variable that is not set.
    """
    path = Path(path)
    content = read_toml(path, dict[str, Any], ConfigError)
    if "stream" not in content:
        return None
    place = "stream: "
    try:
        tables = convert(content["stream"], dict[str, dict[str, Any]])
        for name, table in tables.items():  # so that a message has the name
            place = f"stream.{name}: "
            convert(table, StreamSettings)
        place = ""
        site = convert(content, Site)
    except ValueError as err:
        raise ConfigError(f"{path}: {place}{err}") from err
    streams = {
        name: msgspec.structs.replace(
            settings,
            source=_source(_expanded(settings.source, f"{path}: stream.{name}"), path.parent),
            **{
                kind: str(path.parent / value)
                for kind in _PATHS
                if (value := getattr(settings, kind)) not in (None, "-")
            },
        )
        for name, settings in site.stream.items()
    }
    mqtt = None if site.mqtt is None else _expanded(site.mqtt, f"{path}: mqtt")
    return msgspec.structs.replace(site, stream=streams, mqtt=mqtt)


def _source(text: str, folder: Path) -> str:
    """A source; a file is looked for beside the TOML file, where the working folder has none."""
    if os.path.exists(text) or not os.path.exists(folder / text):
        return text
    return str(folder / text)


def _expanded(text: str, place: str) -> str:
    def value(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise ConfigError(f"{place}: the environment variable {match[1]} is not set")
        return os.environ[match[1]]

    return _VARIABLE.sub(value, text)
