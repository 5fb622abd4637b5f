"""Track several sources at once with one network: `track_many`, which `jdetrt` itself exports."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from jdetrt import shipped
from jdetrt.errors import ConfigError
from jdetrt.functions.loading import load, tracking_settings
from jdetrt.runtime.detector import Detector
from jdetrt.runtime.events.counter import EventCounter
from jdetrt.runtime.events.open import open_counter
from jdetrt.runtime.multi_pipeline import MultiPipeline, MultiReport, Stream, unique
from jdetrt.runtime.settings import label_of
from jdetrt.runtime.sinks.base import FrameResult, Sink, Watcher
from jdetrt.runtime.sinks.outputs import KINDS, open_output, output_path, refuse_mixed
from jdetrt.runtime.sinks.rotation import NO_ROTATION, Rotation
from jdetrt.runtime.sources.open import Source, open_source
from jdetrt.runtime.sources.status import Say, silent
from jdetrt.runtime.tracking.tracker import Tracker
from jdetrt.types import Frame, Tracks

if TYPE_CHECKING:
    from jdetrt.config import TrackerConfig

__all__ = ["track_many"]


def track_many(
    sources: Mapping[str, str | Path | Source] | Sequence[str | Path | Source],
    model: str | Path | Detector = shipped.NANO,
    *,
    on_frame: Callable[[str, Frame, Tracks], None] | None = None,
    size: tuple[int, int] | None = None,
    tracker: str | Path | TrackerConfig | Mapping[str, str | Path | TrackerConfig] | None = None,
    score_threshold: float | None = None,
    nms_iou: float | None = None,
    max_frames: int | None = None,
    every: int = 1,
    mot: str | Path | None = None,
    kitti: str | Path | None = None,
    jsonl: str | Path | None = None,
    video: str | Path | None = None,
    images: str | Path | None = None,
    regions: str | Path | Mapping[str, EventCounter] | None = None,
    events: str | Path | None = None,
    heat_map: str | Path | None = None,
    rotate: str | Rotation | None = None,
    reconnect_for: float | None = None,
    watchers: Sequence[Watcher] = (),
    say: Say = silent,
    backend: str = "auto",
    provider: str = "auto",
    threads: int | None = None,
    cuda_graph: bool | None = None,
) -> MultiReport:
    """Track people through several sources with one network, to their end.

    The frames of all sources go through the network in batches, where the model takes them; each
    source has its own tracker and its own ids. A camera that is slow or away holds up no other, and
    is opened again for as long as it takes, also when it is away at the beginning. The call returns
    when all sources have ended, which cameras do not: leave by an exception, such as Ctrl-C.

    Args:
        sources: by name, or without names; each as `jdetrt.track` takes it.
        model: as `jdetrt.load` takes it; or a detector, which keeps its thresholds and stays open.
        on_frame: gets the name of the stream, the frame and its tracks, as each is finished.
        size: width and height of the network input, as in `jdetrt.load`.
        tracker: as in `jdetrt.track`, for all sources or by name.
        score_threshold: as in `jdetrt.track`.
        nms_iou: as in `jdetrt.track`.
        max_frames: end each stream after this number of frames.
        every: run the network on one frame of so many; in between, tracks move on as they did.
        mot: write MOT Challenge text; ``{name}`` in this and the following paths stands for the
            name of the stream, without which it is added at the end.
        kitti: write KITTI text.
        jsonl: write JSON, one line per frame; ``-`` for standard output.
        video: write videos with the tracks drawn.
        images: write images with the tracks drawn.
        regions: TOML file of lines, zones and masks, or counters by the names of the streams; as
            in `jdetrt.track`.
        events: write what happens at the lines and in the zones, one JSON object per line.
        heat_map: write images of where people stood.
        rotate: begin new files of live sources: ``"100MB"``, ``"1h"``.
        reconnect_for: seconds that a camera may be away before it counts as lost for good; None
            for any time.
        watchers: functions that get each `jdetrt.runtime.sinks.base.FrameResult`.
        say: gets a line when a source goes away, comes back or ends early.
        backend: as in `jdetrt.load`.
        provider: as in `jdetrt.load`.
        threads: as in `jdetrt.load`.
        cuda_graph: as in `jdetrt.load`.

    Returns:
        The reports of all streams, and their rate together.

    Raises:
        ConfigError: no source, no such preset, or outputs in each other's place.
        SourceError: sources cannot be opened, break off or have no frame; the others are complete.
        OutputError: an output cannot be written.
        JdetrtError: as in `jdetrt.load`.

    ::

        jdetrt.track_many(
            {"door": "rtsp://10.0.0.7/stream", "yard": "rtsp://10.0.0.8/stream"},
            on_frame=lambda name, frame, tracks: print(name, frame.index, tracks.ids),
        )
    """
    paths = (mot, kitti, jsonl, events, video, images, heat_map)
    given = dict(zip(KINDS, paths, strict=True))
    outputs = {kind: path for kind, path in given.items() if path is not None}
    refuse_mixed([(kind, Path(path)) for kind, path in outputs.items()], len(sources))
    rotation = Rotation.parse(rotate) if isinstance(rotate, str) else rotate or NO_ROTATION
    with ExitStack() as stack:
        detector = model if isinstance(model, Detector) else None
        if detector is None:
            assert not isinstance(model, Detector)
            detector = stack.enter_context(
                load(
                    model,
                    size=size,
                    backend=backend,
                    provider=provider,
                    threads=threads,
                    cuda_graph=cuda_graph,
                )
            )
        opened = [
            stack.enter_context(
                open_source(one, reconnect_for=reconnect_for, wait=True, say=say)
                if isinstance(one, (str, Path))
                else one
            )
            for one in (sources.values() if isinstance(sources, Mapping) else sources)
        ]
        names = unique([*sources] if isinstance(sources, Mapping) else [s.name for s in opened])
        files = {os.path.realpath(one.uri) for one in opened if os.path.exists(one.uri)}
        streams = []
        for name, source in zip(names, opened, strict=True):
            own = tracker.get(name) if isinstance(tracker, Mapping) else tracker
            settings = tracking_settings(detector, own, score_threshold, nms_iou)
            counter = _counter(regions, name, source.frame_rate)
            sinks: list[Sink] = [] if counter is None else [counter]
            for kind, template in outputs.items():
                path = output_path(template, name, several=len(names) > 1)
                if os.path.realpath(path) in files:
                    raise ConfigError(
                        f"{kind}={path}: would overwrite an input; give it another name"
                    )
                sinks.append(
                    open_output(
                        kind,
                        path,
                        source.frame_rate,
                        live=source.live,
                        rotation=rotation,
                        stream=name,
                        counter=counter,
                        label=label_of(detector.session),
                    )
                )
                stack.callback(sinks[-1].discard)  # which does nothing to a complete one
            select = None if counter is None else counter.select
            follows = Tracker(settings, source.frame_rate)
            streams.append(Stream(source, follows, sinks, name=name, select=select))
        if on_frame is not None:
            watchers = [*watchers, _caller(on_frame)]
        used = model if isinstance(model, Detector) else detector.session
        return MultiPipeline(
            streams,
            used,
            size=detector.size,
            max_frames=max_frames,
            every=every,
            watchers=watchers,
            say=say,
        ).run()


def _caller(on_frame: Callable[[str, Frame, Tracks], None]) -> Watcher:
    def call(result: FrameResult) -> None:
        on_frame(result.stream, result.frame, result.tracks)

    return call


def _counter(
    regions: str | Path | Mapping[str, EventCounter] | None, name: str, frame_rate: float
) -> EventCounter | None:
    """The counter of lines and zones of a stream."""
    if regions is None or isinstance(regions, Mapping):
        return None if regions is None else regions.get(name)
    return open_counter(output_path(regions, name, several=False), frame_rate)
