"""Speed of tracking with one model: stages, three rates that people mix up, and power.

Three FPS, always together:

=========== ====== =================================================================================
engine      FPSD   the network with its copies to and from the GPU, run after run
association FPSA   the tracker alone
system      FPS    everything, from reading to writing, overlapped as in real use
=========== ====== =================================================================================

A fourth one is the paper's: its "overall system" (table 4) is network, decoding, suppression and
association one after the other, without reading, letterboxing, drawing and writing.

On a machine without a GPU the network and all the rest share the cores, so the overlap hides
waiting, not computing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import msgspec
import numpy as np

from jdetrt.benchmarks.result import (
    LatencyConfig,
    LatencySettings,
    Result,
    Row,
    Run,
    RunConfig,
    Summary,
)
from jdetrt.benchmarks.stages import ENGINE, LEFT_OUT, PAPER, time_stages
from jdetrt.benchmarks.warm_up import warm_up
from jdetrt.engine.open import open_session
from jdetrt.engine.tensorrt.session import memory_of
from jdetrt.errors import ConfigError
from jdetrt.files import scratch_folder
from jdetrt.machine.manifest import Machine, manifest
from jdetrt.machine.power import Monitor
from jdetrt.machine.sensors.open import open_sensors
from jdetrt.runtime.detector import network_size
from jdetrt.runtime.pipeline import Pipeline
from jdetrt.runtime.settings import tracker_config
from jdetrt.runtime.sinks.base import Sink
from jdetrt.runtime.sinks.text import MotSink
from jdetrt.runtime.sinks.video import VideoSink
from jdetrt.runtime.sources.open import Source, open_source
from jdetrt.runtime.timing import RunReport
from jdetrt.runtime.tracking.tracker import Tracker
from jdetrt.types import Session, Size

__all__ = ["SystemResult", "measure_latency", "measure_run", "measure_system"]

WARM_UP = 3  # runs of the network before the clock counts


class SystemRow(msgspec.Struct):
    """One repeat: FPS of the network alone and of the pipeline, and mean milliseconds of stages."""

    network_fps: float
    system_fps: float
    share: float
    stages_ms: dict[str, float]


class SystemSettings(LatencyConfig, kw_only=True, frozen=True):
    """Options of ``bench system`` with the model's name, metadata and network size."""

    model: str
    metadata: Mapping[str, str]
    size: Size


class SystemResult(msgspec.Struct):
    """Result of ``bench system``; ``share`` is the median of system over network FPS."""

    benchmark: str
    machine: Machine
    settings: SystemSettings
    rows: list[SystemRow]
    share: float


def measure_system(model: str | Path, source: str, config: LatencyConfig) -> SystemResult:
    """Compare the network alone with the pipeline on the same frames, in turn, in one process.

    Args:
        model: of any kind that ``open_session`` opens.
        source: URI of a source that can be read again.
        config: ``warm_up`` and ``rest`` are not used.

    Raises:
        ConfigError: a live source.
        SourceError: the source cannot be read.
        SessionError: the model cannot be run.
    """
    rows = []
    with _open(model, config) as session, scratch_folder("bench") as folder:
        _network_fps(session, WARM_UP)
        for _ in range(config.repeats):
            alone = _network_fps(session, config.frames)
            with open_source(source) as opened:
                if opened.live:
                    raise ConfigError(
                        f"{opened.uri}: a live source is limited by its camera; use a file"
                    )
                report = _track(session, opened, Path(folder), config)
            stages = {name: stage.mean for name, stage in report.stages.items()}
            rows.append(SystemRow(alone, report.system_fps, report.system_fps / alone, stages))
        settings = SystemSettings(
            model=Path(model).name,
            metadata=dict(session.metadata),
            size=Size(*network_size(session)),
            **msgspec.structs.asdict(config),
        )
    share = float(np.median([row.share for row in rows]))
    return SystemResult("system", manifest(), settings, rows, share)


def measure_latency(
    model: str | Path, source: str, config: LatencyConfig
) -> Result[LatencySettings]:
    """Time the stages, the three rates and the power of one model, ``repeats`` times.

    Args:
        model: of any kind that ``open_session`` opens.
        source: URI of a source that can be read again.
        config: of each run.

    Returns:
        One row, with ``gpu_memory`` (``MemoryUse``) where a plan runs.

    Raises:
        ConfigError: a live source, or one with too few frames.
        SourceError, SessionError: the source or the model fails.
    """
    with _open(model, config) as session:
        row = Row(size=Size(*network_size(session)))
        for _ in range(config.repeats):
            row.add(measure_run(session, source, config))
        memory = memory_of(session)
        row.gpu_memory = None if memory is None else asdict(memory)
        settings = LatencySettings(
            model=Path(model).name,
            metadata=dict(session.metadata),
            source=Path(source).name,
            **msgspec.structs.asdict(config),
        )
    return Result(benchmark="latency", settings=settings, rows=[row])


def measure_run(
    session: Session, source: str, config: RunConfig, *, size: tuple[int, int] | None = None
) -> Run:
    """Measure once: first stage by stage, then the whole pipeline with its power.

    Args:
        session: a JDE model. It stays open.
        source: URI of a source that can be read again.
        config: ``repeats`` is not used.
        size: network width and height, for a model that leaves them free.

    Raises:
        ConfigError, SourceError, SessionError: as in ``measure_latency``.
    """
    with scratch_folder("bench") as temporary:
        folder = Path(temporary)
        opened = open_source(source)
        tracker = Tracker(tracker_config(session, config.preset), opened.frame_rate)
        warmed = warm_up(session)
        times = time_stages(session, opened, tracker, folder, config, size=size)
        sensors = open_sensors()
        rest = config.rest if sensors.present else 0.0
        with Monitor(sensors) as monitor:
            with monitor.phase("before"):
                time.sleep(rest)
            with monitor.phase("during"):
                report = _track(session, open_source(source), folder, config, size)
            with monitor.phase("after"):
                time.sleep(rest)
            power = monitor.report(frames=report.frames)
    return Run(
        engine_fps=1e3 / times.mean(*ENGINE),
        association_fps=1e3 / times.mean("association"),
        paper_fps=1e3 / times.mean(*PAPER),
        system_fps=report.system_fps,
        stages=times.summaries(),
        frame_ms=Summary.of(times.frames),
        left_out_ms=times.mean(*LEFT_OUT),
        overhead_ms=times.overhead,
        frames=report.frames,
        tracks=report.tracks,
        power=power,
        warm_up_seconds=None if warmed is None else warmed.seconds,
        steady=None if warmed is None else warmed.steady,
    )


def _open(model: str | Path, config: LatencyConfig) -> Session:
    return open_session(
        model, backend=config.backend, provider=config.provider, cuda_graph=config.cuda_graph
    )


def _track(
    session: Session,
    source: Source,
    folder: Path,
    config: RunConfig,
    size: tuple[int, int] | None = None,
) -> RunReport:
    """Run the pipeline, which closes the source."""
    sinks: list[Sink] = [MotSink(folder / "tracks.txt")]
    if config.video:
        sinks.append(VideoSink(folder / "tracks.mp4", source.frame_rate))
    tracker = Tracker(tracker_config(session, config.preset), source.frame_rate)
    return Pipeline(source, session, tracker, sinks, size=size, max_frames=config.frames).run()


def _network_fps(session: Session, runs: int) -> float:
    shape = (1, 3, *Size(*network_size(session)).shape)
    feeds = {session.inputs[0].name: np.random.default_rng(0).random(shape, np.float32)}
    begin = time.perf_counter()
    for _ in range(runs):
        session.infer(feeds)
    return runs / (time.perf_counter() - begin)
