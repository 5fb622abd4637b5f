"""How much of the network's speed is left when everything around it runs too.

On a machine without a GPU the network and all the rest share the cores, so what the rest takes is
taken from the network; the overlap hides waiting, not computing.
"""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from jdetrt.benchmarks.machine import manifest
from jdetrt.engine.open import open_session
from jdetrt.errors import ConfigError
from jdetrt.runtime.contract import has_embeddings, network_size
from jdetrt.runtime.pipeline import Pipeline
from jdetrt.runtime.sinks import MotSink, Sink, VideoSink
from jdetrt.runtime.sources import open_source
from jdetrt.runtime.tracker import Tracker
from jdetrt.types import Session

__all__ = ["measure_system"]

WARM_UP = 3  # runs of the network before the clock counts


def measure_system(
    model: str | Path,
    source: str,
    *,
    frames: int = 60,
    repeats: int = 3,
    video: bool = False,
    provider: str = "auto",
) -> dict[str, Any]:
    """Compare the network alone with the whole line on the same frames, in turn, in one process.

    Args:
        model: ONNX file of ``jdetrt export``.
        source: URI of a source that can be read again, with at least ``frames`` frames.
        frames: of each measurement.
        repeats: of the pair network alone, whole line.
        video: also draw the tracks and write a video, not only MOT text.
        provider: of ``open_session``.

    Returns:
        JSON-ready: the machine, the settings, a row a repeat (``network_fps``: runs of the network
        one after another on a frame made ready; ``system_fps``: frames a second of the whole line,
        from the first finished frame to the last; the mean milliseconds of each stage), and
        ``share``: the median of system over network.

    Raises:
        ConfigError: fewer than 2 frames or 1 repeat, or a live source.
        SourceError: the source cannot be read.
        SessionError: the model cannot be run.
    """
    if frames < 2 or repeats < 1:
        raise ConfigError(f"expected 2 frames and 1 repeat or more, got {frames} and {repeats}")
    rows = []
    with open_session(model, provider=provider) as session, TemporaryDirectory() as folder:
        _network_fps(session, WARM_UP)
        for _ in range(repeats):
            alone = _network_fps(session, frames)
            with open_source(source) as opened:
                if opened.live:
                    raise ConfigError(f"{source}: a live source waits for its camera; use a file")
                tracker = Tracker(
                    "reference" if has_embeddings(session) else "iou", opened.frame_rate
                )
                sinks: list[Sink] = [MotSink(Path(folder, "tracks.txt"))]
                if video:
                    sinks.append(VideoSink(Path(folder, "tracks.mp4"), opened.frame_rate))
                report = Pipeline(opened, session, tracker, sinks, max_frames=frames).run()
            rows.append(
                {
                    "network_fps": alone,
                    "system_fps": report.system_fps,
                    "share": report.system_fps / alone,
                    "stages_ms": {name: stage.mean for name, stage in report.stages.items()},
                }
            )
        return {
            "benchmark": "system",
            "machine": manifest(),
            "settings": {
                "model": Path(model).name,
                "metadata": dict(session.metadata),
                "size": list(network_size(session)),
                "frames": frames,
                "repeats": repeats,
                "video": video,
                "provider": provider,
            },
            "rows": rows,
            "share": float(np.median([row["share"] for row in rows])),
        }


def _network_fps(session: Session, runs: int) -> float:
    width, height = network_size(session)
    picture = np.random.default_rng(0).random((1, 3, height, width), np.float32)
    feeds = {session.inputs[0].name: picture}
    begin = time.perf_counter()
    for _ in range(runs):
        session.infer(feeds)
    return runs / (time.perf_counter() - begin)
