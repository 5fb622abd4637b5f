"""Number of videos that one network can follow: frames per second against streams."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path

import msgspec
import numpy as np

from jdetrt.benchmarks.result import counted
from jdetrt.config import TrackerConfig, preset_of
from jdetrt.engine.open import open_session
from jdetrt.errors import ConfigError
from jdetrt.files import scratch_folder
from jdetrt.machine.manifest import Machine, manifest
from jdetrt.progress import NO_PROGRESS, Progress
from jdetrt.runtime.detector import network_size
from jdetrt.runtime.multi_pipeline import MultiPipeline, Stream
from jdetrt.runtime.settings import tracker_config
from jdetrt.runtime.sinks.text import MotSink
from jdetrt.runtime.sources.open import open_source
from jdetrt.runtime.tracking.tracker import Tracker
from jdetrt.types import Session, Size

__all__ = ["StreamsResult", "StreamsRow", "measure_streams"]


class StreamsRun(msgspec.Struct):
    """One run: FPS of all streams together, frames per run of the network, and totals."""

    fps: float
    batch: float
    frames: float
    tracks: float


class StreamsRow(msgspec.Struct):
    """One number of streams: median FPS of all together and of one, and the mean batch."""

    streams: int
    fps: float
    fps_per_stream: float
    batch: float
    runs: list[StreamsRun]


class StreamsSettings(msgspec.Struct):
    """Options of ``bench streams`` with names and metadata of the model and the sources."""

    model: str
    metadata: dict[str, str]
    size: Size
    sources: list[str]
    frames: int
    repeats: int
    backend: str
    provider: str
    preset: str
    seed: int


class StreamsResult(msgspec.Struct):
    """Result of ``bench streams``; ``batched`` says whether the network takes several frames."""

    benchmark: str
    machine: Machine
    settings: StreamsSettings
    batched: bool
    rows: list[StreamsRow]


def measure_streams(
    model: str | Path,
    sources: Sequence[str],
    counts: Sequence[int],
    *,
    frames: int = 60,
    repeats: int = 3,
    backend: str = "auto",
    provider: str = "auto",
    seed: int = 0,
    progress: Progress = NO_PROGRESS,
) -> StreamsResult:
    """Track numbers of streams at once through one network; see ``MultiPipeline``.

    Args:
        model: of any kind that ``open_session`` opens; with a free batch the streams are batched.
        sources: URIs that can be read again; with more streams than sources they are used again.
        counts: numbers of streams, a row each.
        frames: of each stream, at most.
        repeats: runs of each count, in random order.
        backend: of ``open_session``.
        provider: of ``open_session``.
        seed: of the run order.
        progress: phase "runs", and a message for each.

    Raises:
        ConfigError: a number that makes no measurement, or a live source.
        SourceError, SessionError: a source or the model fails.
    """
    if not sources or not counts or min(counts) < 1 or frames < 3 or repeats < 1:
        raise ConfigError(
            "expected a source, numbers of streams of at least 1, and at least 3 frames and "
            "1 repeat; got "
            f"{len(sources)} sources, {list(counts)}, {frames} and {repeats}"
        )
    counts = list(dict.fromkeys(counts))
    runs: dict[int, list[StreamsRun]] = {count: [] for count in counts}
    order = random.Random(seed)
    with open_session(model, backend=backend, provider=provider) as session:
        config = tracker_config(session)
        settings = StreamsSettings(
            Path(model).name,
            dict(session.metadata),
            Size(*network_size(session)),
            [Path(source).name for source in sources],
            frames,
            repeats,
            backend,
            provider,
            preset_of(config),
            seed,
        )
        batched = session.inputs[0].shape[0] == -1
        _track(session, sources, 1, config, 3)  # kernels compiled, memory taken
        progress.start("runs", repeats * len(counts))
        for number in range(repeats):
            for done, count in enumerate(order.sample(counts, len(counts)), start=1):
                progress.message(f"run {number + 1} of {repeats}: {counted(count, 'stream')}")
                runs[count].append(_track(session, sources, count, config, frames))
                progress.advance("runs", number * len(counts) + done)
        progress.finish("runs")
    rows = []
    for count, measured in runs.items():
        fps = float(np.median([run.fps for run in measured]))
        batch = float(np.mean([run.batch for run in measured]))
        rows.append(StreamsRow(count, fps, fps / count, batch, measured))
    return StreamsResult("streams", manifest(), settings, batched, rows)


def _track(
    session: Session, sources: Sequence[str], count: int, config: TrackerConfig, frames: int
) -> StreamsRun:
    streams = []
    with scratch_folder("streams") as folder:
        for index, uri in enumerate(islice(cycle(sources), count)):
            source = open_source(uri)
            if source.live:
                raise ConfigError(
                    f"{source.uri}: a live source is limited by its camera; use a file"
                )
            tracker = Tracker(config, source.frame_rate)
            streams.append(Stream(source, tracker, [MotSink(Path(folder, f"{index}.txt"))]))
        done = MultiPipeline(streams, session, max_frames=frames).run()
    return StreamsRun(
        done.fps,
        done.batch,
        float(sum(one.frames for one in done.streams)),
        float(sum(one.tracks for one in done.streams)),
    )
