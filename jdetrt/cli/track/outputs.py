"""Outputs of ``jdetrt track``, and all that watches a run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jdetrt.cli import options as opt
from jdetrt.cli.progress import ProgressBars

if TYPE_CHECKING:
    from jdetrt.config import LabelConfig
    from jdetrt.runtime.events.counter import EventCounter
    from jdetrt.runtime.live.hub import LiveHub
    from jdetrt.runtime.sinks.base import Output, Sink, Watcher
    from jdetrt.runtime.sinks.metrics import Metrics
    from jdetrt.runtime.sinks.mqtt import MqttPublisher
    from jdetrt.runtime.sinks.rotation import Rotation

__all__ = ["Outputs", "RunOptions", "open_watchers"]


@dataclass(frozen=True)
class RunOptions:
    """Options of a whole run.

    Attributes:
        quiet: show no progress and no summary.
        rotation: when files of live sources give way to new ones.
        max_frames: of each stream; None for all.
        every: the network sees one frame of so many.
        camera_motion: when the camera's motion is estimated.
        mqtt, metrics, live: where results, metrics and the live page go; None for nowhere.
        show: whether frames are shown in a window.
        json_path: where the summary goes as JSON.
    """

    quiet: bool
    rotation: Rotation
    max_frames: int | None = None
    every: int = 1
    camera_motion: str = "auto"
    mqtt: str | None = None
    metrics: str | None = None
    live: str | None = None
    show: bool = False
    json_path: Path | None = None


class Outputs:
    """Outputs of all streams, each discarded if it is not complete at the end.

    Attributes:
        paths: of the files, in the order in which they were opened.
    """

    def __init__(self, stack: ExitStack, rotation: Rotation) -> None:
        self.paths: dict[Path, Output] = {}
        self._stack = stack
        self._rotation = rotation

    def open(
        self,
        paths: Mapping[str, Path],
        frame_rate: float,
        *,
        live: bool = False,
        name: str = "",
        several: bool = False,
        counter: EventCounter | None = None,
        label: LabelConfig | None = None,
    ) -> list[Sink]:
        """Open the outputs of a stream, after its counter. Raises OutputError, ConfigError."""
        from jdetrt.runtime.signals import interrupt_held
        from jdetrt.runtime.sinks.outputs import TEXTS, open_output, output_path

        opened: list[Sink] = [] if counter is None else [counter]
        with interrupt_held():
            for kind, template in paths.items():
                path = output_path(template, name, several=several)
                output = open_output(
                    kind,
                    opt.stdout() if path == opt.STDOUT and kind in TEXTS else path,
                    frame_rate,
                    live=live,
                    rotation=self._rotation,
                    stream=name if several else "",
                    counter=counter,
                    label=label,
                )
                opened.append(self._stack.enter_context(output))
                if path != opt.STDOUT:
                    self.paths[path] = output
        return opened

    def written(self) -> list[str]:
        """The files, with what is to be known of them."""
        return [
            f"{path} ({'; '.join(notes)})" if (notes := getattr(output, "notes", ())) else str(path)
            for path, output in self.paths.items()
        ]


def open_watchers(
    options: RunOptions,
    bars: ProgressBars,
    stack: ExitStack,
    counters: Mapping[str, EventCounter],
    files: Mapping[str, Path | None],
    label: LabelConfig | None,
) -> tuple[list[Watcher], Metrics | None, MqttPublisher | None]:
    """Open what watches the run."""
    watchers: list[Watcher] = []
    metrics = publisher = None
    if options.mqtt is not None:
        from jdetrt.runtime.sinks.mqtt import MqttPublisher, events_publisher

        publisher = stack.enter_context(MqttPublisher(options.mqtt, say=bars.message, label=label))
        watchers += [publisher, events_publisher(publisher, counters)]
    if options.live is not None:
        watchers.append(_live_page(options.live, bars, stack, counters, files))
    if options.show:
        from jdetrt.runtime.live.window import Window

        watchers.append(stack.enter_context(Window(counters)))
    if options.metrics is not None:
        from jdetrt.runtime.sinks.metrics import Metrics

        metrics = stack.enter_context(Metrics(options.metrics))
        watchers.append(metrics)
        metrics.regions = counters
        if publisher is not None:
            sent = publisher
            metrics.counters["mqtt_published"] = (
                "Messages handed to the broker or its queue.",
                lambda: sent.published,
            )
            metrics.counters["mqtt_dropped"] = (
                "Messages that found the queue full.",
                lambda: sent.dropped,
            )
    return watchers, metrics, publisher


def _live_page(
    address: str,
    bars: ProgressBars,
    stack: ExitStack,
    counters: Mapping[str, EventCounter],
    files: Mapping[str, Path | None],
) -> LiveHub:
    """Serve the live page to the end of the run, and say where."""
    from jdetrt.runtime.live.hub import LiveHub, LiveStream
    from jdetrt.runtime.live.machine import MachineState
    from jdetrt.runtime.live.server import TOKEN, LiveServer
    from jdetrt.runtime.sinks.metrics import parse_address

    host, port = parse_address(address)
    hub = LiveHub()
    for name, file in files.items():
        shared = list(files.values()).count(file) > 1  # a drawing is of one camera
        stream = LiveStream(
            name,
            counter=counters.get(name),
            regions_file=None if shared else file,
            shared_file=file if shared else None,
        )
        hub.add(stream)
    state = stack.enter_context(MachineState())
    server = LiveServer(
        hub, host=host, port=port, token=os.environ.get(TOKEN), machine=state.summary
    )
    stack.enter_context(server)
    bars.message(f"Live page: {server.url}")
    return hub
