"""Time of each stage of a frame, one stage after the other.

In real use stages overlap and share the machine: here nothing goes on beside the stage that is
timed. (A session that letterboxes on its GPU goes on with that when "preprocess" has ended for the
CPU; it is then part of "network".) The speed of all together is the system FPS
(``jdetrt.benchmarks.latency``).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from jdetrt.benchmarks.result import RunConfig, Summary
from jdetrt.errors import ConfigError
from jdetrt.runtime.decode import candidates
from jdetrt.runtime.detector import Detector
from jdetrt.runtime.input_buffer import InputBuffer
from jdetrt.runtime.sinks.draw import Trails, draw_tracks
from jdetrt.runtime.sinks.text import MotSink
from jdetrt.runtime.sinks.video import VideoSink
from jdetrt.runtime.sources.open import Source
from jdetrt.runtime.tracking.filter import reportable
from jdetrt.runtime.tracking.tracker import Tracker
from jdetrt.types import Array, Session

__all__ = ["ENGINE", "LEFT_OUT", "PAPER", "STAGES", "StageTimes", "time_stages"]

ENGINE = ("upload", "network", "download")
# Stages that the timer of the reference runs over (Towards-Realtime-MOT e9fa1e8, track.py and
# tracker/multitracker.py), and so the FPS of the paper's table 4; and those that it leaves out.
PAPER = (*ENGINE, "decode", "nms", "association")
LEFT_OUT = ("read", "preprocess", "draw", "write")
STAGES = ("read", "preprocess", *PAPER, "draw", "write")


class StageTimes:
    """Times of the stages, frame by frame.

    Attributes:
        milliseconds: by stage, one time a frame. A stage that does not exist apart is not there: a
            network on the CPU has no upload, and a session that does not time its copies has them
            inside of "network".
        frames: whole frames, everything between two stages included, in milliseconds.
    """

    def __init__(self) -> None:
        self.milliseconds: dict[str, list[float]] = {}
        self.frames: list[float] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block as this frame's ``name``."""
        begin = time.perf_counter()
        yield
        self.add(name, time.perf_counter() - begin)

    def add(self, name: str, seconds: float) -> None:
        """Count ``seconds`` as this frame's ``name``."""
        self.milliseconds.setdefault(name, []).append(1e3 * seconds)

    def mean(self, *names: str) -> float:
        """Milliseconds of these stages together; those that do not exist take none."""
        return sum(float(np.mean(self.milliseconds.get(name, [0.0]))) for name in names)

    def forget(self) -> None:
        """Leave out all frames so far: they warmed up."""
        self.milliseconds.clear()
        self.frames.clear()

    def summaries(self) -> dict[str, Summary | None]:
        """Each of ``STAGES``; None for one that does not exist apart."""
        times = self.milliseconds
        return {name: Summary.of(times[name]) if name in times else None for name in STAGES}

    @property
    def overhead(self) -> float:
        """Milliseconds of a frame that belong to no stage: the cost of the measurement itself."""
        stages = np.sum(list(self.milliseconds.values()), axis=0)
        return float(np.mean(np.asarray(self.frames) - stages))


def time_stages(
    session: Session,
    source: Source,
    tracker: Tracker,
    folder: Path,
    config: RunConfig,
    *,
    size: tuple[int, int] | None = None,
) -> StageTimes:
    """Take frames through all stages, one after the other.

    Args:
        session: a JDE model. It stays open.
        source: at least ``warm_up + frames`` frames; it is read from its beginning and closed.
        tracker: new.
        folder: for what is written.
        config: with ``video`` encoding is part of "write"; without it frames are drawn into, but
            the tracks are written as text alone.
        size: network width and height, for a model that leaves them free.

    Raises:
        ConfigError: the source is live, or has too few frames.
        SourceError, SessionError, OutputError: as in tracking.
    """
    if source.live:
        raise ConfigError(f"{source.uri}: a live source is limited by its camera; use a file")
    [buffer] = Detector(session, size=size).buffers(1)
    rules = tracker.config
    tracker.warm_up()
    times, trails = StageTimes(), Trails()
    with ExitStack() as stack:
        stack.enter_context(source)
        text = stack.enter_context(MotSink(folder / "stages.txt"))
        film = None
        if config.video:
            film = stack.enter_context(VideoSink(folder / "stages.mp4", source.frame_rate))
        images = iter(source)
        for count in range(config.warm_up + config.frames):
            if count == config.warm_up:
                times.forget()
            begin = time.perf_counter()
            with times.stage("read"):
                frame = next(images, None)
            if frame is None:
                raise ConfigError(
                    f"{source.uri}: has {count} frames, expected {config.frames} plus "
                    f"{config.warm_up} for warming up"
                )
            with times.stage("preprocess"):
                fit = buffer.fill(frame.image)
            outputs = _run(session, buffer, times)
            with times.stage("decode"):
                rows = candidates(outputs, fit, score_threshold=rules.score_threshold)
            with times.stage("nms"):
                people = rows.suppress(rules.nms_iou).to_source()
            with times.stage("association"):
                tracks = tracker.update(people)
                tracks = reportable(tracks, rules.max_aspect, rules.min_area)
            with times.stage("draw"):
                lines, caption = trails.update(tracks), str(frame.index)
                image = draw_tracks(frame.image, tracks, trails=lines, caption=caption)
            with times.stage("write"):
                text.write(frame, tracks)
                if film is not None:
                    film.encode(image, frame.index)
            times.frames.append(1e3 * (time.perf_counter() - begin))
    return times


def _run(session: Session, buffer: InputBuffer, times: StageTimes) -> dict[str, Array]:
    """Run the network.

    A session that times its copies has them in ``last_stage_seconds``, and the time of its network
    in ``last_run_seconds``; the rest of the time then belongs to no stage.
    """
    begin = time.perf_counter()
    buffer.submit()
    outputs = session.wait()
    elapsed = time.perf_counter() - begin
    copies: Mapping[str, float] = getattr(session, "last_stage_seconds", {})
    for stage in ("upload", "download"):
        if stage in copies:
            times.add(stage, copies[stage])
            elapsed = session.last_run_seconds or elapsed
    times.add("network", elapsed)
    return outputs
