"""How many videos one network can follow: frames a second against the number of streams."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from jdetrt.config import TrackerConfig, preset_of
from jdetrt.engine.open import open_session
from jdetrt.errors import ConfigError
from jdetrt.machine.manifest import manifest
from jdetrt.runtime.detector import network_size
from jdetrt.runtime.multi_pipeline import MultiPipeline, Stream
from jdetrt.runtime.settings import tracker_config
from jdetrt.runtime.sinks.text import MotSink
from jdetrt.runtime.sources.open import open_source
from jdetrt.runtime.tracking.tracker import Tracker
from jdetrt.types import Session

__all__ = ["measure_streams"]


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
    report: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Track numbers of streams at once through one network; see ``MultiPipeline``.

    Args:
        model: of any kind that ``open_session`` opens; with a free batch the streams are batched.
        sources: URIs that can be read again; with more streams than sources they are used again.
        counts: of streams, a row each.
        frames: of each stream, at most.
        repeats: runs of each count, in random order.
        backend: of ``open_session``.
        provider: of ``open_session``.
        seed: of the order.
        report: is told what comes next.

    Returns:
        JSON-ready: the machine, the settings, whether frames were batched, and a row a count with
        the frames a second of all streams together (each run, and the median) and of one stream.

    Raises:
        ConfigError: a number that makes no measurement, or a live source.
        SourceError, SessionError: a source or the model fails.
    """
    if not sources or not counts or min(counts) < 1 or frames < 3 or repeats < 1:
        raise ConfigError(
            "expected a source, numbers of streams from 1 on, 3 frames and 1 repeat or more; got "
            f"{len(sources)} sources, {list(counts)}, {frames} and {repeats}"
        )
    counts = list(dict.fromkeys(counts))
    runs: dict[int, list[dict[str, float]]] = {count: [] for count in counts}
    order = random.Random(seed)
    with open_session(model, backend=backend, provider=provider) as session:
        settings = tracker_config(session)
        _track(session, sources, 1, settings, 3)  # kernels compiled, memory taken
        for number in range(repeats):
            for count in order.sample(counts, len(counts)):
                report(f"run {number + 1} of {repeats}: {count} streams")
                runs[count].append(_track(session, sources, count, settings, frames))
        size = list(network_size(session))
        metadata = dict(session.metadata)
        batched = session.inputs[0].shape[0] == -1
    rows = []
    for count, found in runs.items():
        middle = float(np.median([run["fps"] for run in found]))
        rows.append(
            {
                "streams": count,
                "fps": middle,
                "fps_per_stream": middle / count,
                "batch": float(np.mean([run["batch"] for run in found])),
                "runs": found,
            }
        )
    return {
        "benchmark": "streams",
        "machine": manifest(),
        "settings": {
            "model": Path(model).name,
            "metadata": metadata,
            "size": size,
            "sources": [Path(source).name for source in sources],
            "frames": frames,
            "repeats": repeats,
            "backend": backend,
            "provider": provider,
            "preset": preset_of(settings),
            "seed": seed,
        },
        "batched": batched,
        "rows": rows,
    }


def _track(
    session: Session, sources: Sequence[str], count: int, settings: TrackerConfig, frames: int
) -> dict[str, float]:
    streams = []
    with TemporaryDirectory(prefix="jdetrt-streams-") as folder:
        for index, uri in enumerate(islice(cycle(sources), count)):
            source = open_source(uri)
            if source.live:
                raise ConfigError(f"{uri}: a live source waits for its camera; use a file")
            tracker = Tracker(settings, source.frame_rate)
            streams.append(Stream(source, tracker, [MotSink(Path(folder, f"{index}.txt"))]))
        done = MultiPipeline(streams, session, max_frames=frames).run()
    return {
        "fps": done.fps,
        "batch": done.batch,
        "frames": float(sum(one.frames for one in done.streams)),
        "tracks": float(sum(one.tracks for one in done.streams)),
    }
