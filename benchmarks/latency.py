"""How fast tracking is: stages, three rates that people mix up, and power, of one model.

Three FPS, always together:

=========== ====== =================================================================================
engine      FPSD   the network with its copies to and from the GPU, run after run
association FPSA   the tracker alone
system      FPS    everything, from reading to writing, overlapped as in real use
=========== ====== =================================================================================

A fourth one is the paper's: its "overall system" (table 4) is network, decoding, suppression and
association one after the other. Reading, letterboxing, drawing and writing are not in it.

On a machine without a GPU the network and all the rest share the cores, so what the rest takes is
taken from the network; the overlap hides waiting, not computing.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from jdetrt.benchmarks.stages import ENGINE, LEFT_OUT, PAPER, time_stages
from jdetrt.engine.open import open_session
from jdetrt.engine.tensorrt.session import memory_of
from jdetrt.errors import ConfigError
from jdetrt.machine.manifest import manifest
from jdetrt.machine.power import Monitor
from jdetrt.machine.sensors.base import open_sensors
from jdetrt.runtime.detector import network_size
from jdetrt.runtime.pipeline import Pipeline
from jdetrt.runtime.settings import tracker_config
from jdetrt.runtime.sinks.base import Sink
from jdetrt.runtime.sinks.text import MotSink
from jdetrt.runtime.sinks.video import VideoSink
from jdetrt.runtime.sources.open import open_source
from jdetrt.runtime.timing import summary
from jdetrt.runtime.tracking.tracker import Tracker
from jdetrt.types import Session

__all__ = ["FPS", "measure_latency", "measure_run", "measure_system", "medians"]

FPS = ("engine_fps", "association_fps", "paper_fps", "system_fps")

WARM_UP = 3  # runs of the network before the clock counts


def measure_system(
    model: str | Path,
    source: str,
    *,
    frames: int = 60,
    repeats: int = 3,
    video: bool = False,
    backend: str = "auto",
    provider: str = "auto",
    cuda_graph: bool = False,
) -> dict[str, Any]:
    """Compare the network alone with the whole line on the same frames, in turn, in one process.

    Args:
        model: of any kind that ``open_session`` opens.
        source: URI of a source that can be read again, with at least ``frames`` frames.
        frames: of each measurement.
        repeats: of the pair network alone, whole line.
        video: also draw the tracks and write a video, not only MOT text.
        backend: of ``open_session``.
        provider: of ``open_session``.
        cuda_graph: of ``open_session``.

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
    with (
        open_session(model, backend=backend, provider=provider, cuda_graph=cuda_graph) as session,
        TemporaryDirectory() as folder,
    ):
        _network_fps(session, WARM_UP)
        for _ in range(repeats):
            alone = _network_fps(session, frames)
            with open_source(source) as opened:
                if opened.live:
                    raise ConfigError(f"{source}: a live source waits for its camera; use a file")
                tracker = Tracker(tracker_config(session), opened.frame_rate)
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
                "backend": backend,
                "provider": provider,
                "cuda_graph": cuda_graph,
            },
            "rows": rows,
            "share": float(np.median([row["share"] for row in rows])),
        }


def measure_latency(
    model: str | Path,
    source: str,
    *,
    frames: int = 200,
    warm_up: int = 20,
    repeats: int = 3,
    video: bool = False,
    backend: str = "auto",
    provider: str = "auto",
    cuda_graph: bool = False,
    preset: str | None = None,
    rest: float = 2.0,
) -> dict[str, Any]:
    """Time the stages, the three rates and the power of one model, ``repeats`` times.

    Args:
        model: of any kind that ``open_session`` opens.
        source: URI of a source that can be read again.
        frames: that count, each time.
        warm_up: frames before them.
        repeats: how often all of it is done.
        video: also draw and encode a video in the system's rate.
        backend: of ``open_session``.
        provider: of ``open_session``.
        cuda_graph: of ``open_session``.
        preset: of the tracker; by default as in tracking.
        rest: seconds of reading the sensors before and after each run, where there are any.

    Returns:
        JSON-ready: the machine, the settings and one row with all runs (``measure_run``), their
        medians, and ``gpu_memory`` (``MemoryUse``), None where no plan runs.

    Raises:
        ConfigError: a number that makes no measurement, or a live source.
        SourceError, SessionError: the source or the model fails.
    """
    if repeats < 1:
        raise ConfigError(f"repeats: expected 1 or more, got {repeats}")
    with open_session(model, backend=backend, provider=provider, cuda_graph=cuda_graph) as session:
        runs = [
            measure_run(
                session,
                source,
                frames=frames,
                warm_up=warm_up,
                video=video,
                preset=preset,
                rest=rest,
            )
            for _ in range(repeats)
        ]
        row = {"size": list(network_size(session)), **medians(runs), "runs": runs}
        memory = memory_of(session)
        row["gpu_memory"] = None if memory is None else asdict(memory)
        metadata = dict(session.metadata)
    return {
        "benchmark": "latency",
        "machine": manifest(),
        "settings": {
            "model": Path(model).name,
            "metadata": metadata,
            "source": Path(source).name,
            "frames": frames,
            "warm_up": warm_up,
            "repeats": repeats,
            "video": video,
            "backend": backend,
            "provider": provider,
            "cuda_graph": cuda_graph,
            "preset": preset,
        },
        "rows": [row],
    }


def measure_run(
    session: Session,
    source: str,
    *,
    frames: int,
    warm_up: int,
    video: bool = False,
    preset: str | None = None,
    size: tuple[int, int] | None = None,
    rest: float = 2.0,
) -> dict[str, Any]:
    """Measure once: first stage by stage, then the whole line with its power.

    Args:
        session: a JDE model. It stays open.
        source: URI of a source that can be read again.
        frames: that count, each time.
        warm_up: frames before them.
        video: also draw and encode a video in the system's rate.
        preset: of the tracker; by default as in tracking.
        size: network width and height, for a model that leaves them free.
        rest: seconds of reading the sensors before and after, where there are any.

    Returns:
        JSON-ready: the rates of ``FPS``; ``stages`` and ``frame_ms`` with their spread;
        ``left_out_ms``, what the paper's rate leaves out of a frame; ``overhead_ms``, what timing
        costs a frame; ``power`` as ``Monitor.report`` has it.

    Raises:
        ConfigError, SourceError, SessionError: as in ``measure_latency``.
    """
    if frames < 2 or warm_up < 1:
        raise ConfigError(f"expected 2 frames and 1 to warm up or more, got {frames} and {warm_up}")
    settings = tracker_config(session, preset)
    with TemporaryDirectory(prefix="jdetrt-bench-") as temporary:
        folder = Path(temporary)
        opened = open_source(source)
        times = time_stages(
            session,
            opened,
            Tracker(settings, opened.frame_rate),
            folder,
            frames=frames,
            warm_up=warm_up,
            size=size,
            video=video,
        )
        opened = open_source(source)
        sinks: list[Sink] = [MotSink(folder / "tracks.txt")]
        if video:
            sinks.append(VideoSink(folder / "tracks.mp4", opened.frame_rate))
        tracker = Tracker(settings, opened.frame_rate)
        sensors = open_sensors()
        rest = rest if sensors.present else 0.0
        with Monitor(sensors) as monitor:
            with monitor.phase("before"):
                time.sleep(rest)
            with monitor.phase("during"):
                report = Pipeline(
                    opened, session, tracker, sinks, size=size, max_frames=frames
                ).run()
            with monitor.phase("after"):
                time.sleep(rest)
            power = monitor.report(frames=report.frames)
    return {
        "engine_fps": 1e3 / times.mean(*ENGINE),
        "association_fps": 1e3 / times.mean("association"),
        "paper_fps": 1e3 / times.mean(*PAPER),
        "system_fps": report.system_fps,
        "stages": times.to_dict(),
        "frame_ms": summary(times.frames),
        "left_out_ms": times.mean(*LEFT_OUT),
        "overhead_ms": times.overhead,
        "frames": report.frames,
        "tracks": report.tracks,
        "power": power,
    }


def medians(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Of several runs of one thing: the median of each rate, of the power and of the energy."""
    middle: dict[str, Any] = {name: float(np.median([run[name] for run in runs])) for name in FPS}
    for name in ("watts", "joules_per_frame"):
        told = [run["power"][name] for run in runs if run["power"][name] is not None]
        middle[name] = float(np.median(told)) if told else None
    middle["power_of"] = runs[0]["power"]["scope"]
    return middle


def _network_fps(session: Session, runs: int) -> float:
    width, height = network_size(session)
    picture = np.random.default_rng(0).random((1, 3, height, width), np.float32)
    feeds = {session.inputs[0].name: picture}
    begin = time.perf_counter()
    for _ in range(runs):
        session.infer(feeds)
    return runs / (time.perf_counter() - begin)
