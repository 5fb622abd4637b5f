"""Time of a run: by stage, and as the three FPS that the paper tells apart."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jdetrt.runtime.sources.status import SourceStatus
from jdetrt.runtime.tracking.clock import Clock

__all__ = ["RunReport", "StageTime", "Stopwatch", "summary"]

_RECENT = 4096


@dataclass(frozen=True)
class StageTime:
    """Time that one stage took a frame, in milliseconds.

    The first frame, which pays for compilation and first allocations, does not count.

    Attributes:
        mean: over all frames.
        p50: median of the last 4096 frames.
        p99: 99th percentile of the same.
    """

    mean: float
    p50: float
    p99: float


@dataclass(frozen=True)
class RunReport:
    """Summary of a run: frames, tracks and speed.

    The paper's three rates (section 4): FPSD of the detector alone, FPSA of the association alone,
    and FPS of the whole system. They are None where a run has no such stage.

    Attributes:
        frames: frames whose results were written.
        last_frame: number of the last of them in its source, 0 if there is none.
        dropped: frames that a live source gave while the network was busy, and that were left out.
        tracks: different people reported.
        seconds: from the start of the run to the last frame, reading, drawing and writing included.
        system_fps: frames a second from the first finished frame to the last.
        network_fps: FPSD, what the network could do if nothing else took time.
        association_fps: FPSA, what the association could do if nothing else took time.
        stages: by name, in the order of the flow. Stages overlap: their sum is more than the time
            of a frame. "read" of a camera includes the wait for its next image.
        age: of a live source, from the capture of a frame to its result; else None.
        source: outages and changes of a live source; None for others.
        gaps: frames that came so long after the one before that all tracks had ended.
        repeats: frames with the timestamp of the one before.
        restarts: frames whose timestamp went back, where all tracks end.
        detections: given to the tracker, over all frames.
        full: frames in which every candidate that the model gives was above the score threshold: a
            model exported with a larger k may detect more there.
        unshaped: boxes of tracks that were not reported, because they are too small or too flat for
            a person.
    """

    frames: int
    last_frame: int
    dropped: int
    tracks: int
    seconds: float
    system_fps: float
    network_fps: float | None
    association_fps: float | None
    stages: Mapping[str, StageTime]
    age: StageTime | None = None
    source: SourceStatus | None = None
    gaps: int = 0
    repeats: int = 0
    restarts: int = 0
    detections: int = 0
    unshaped: int = 0
    full: int = 0


class _Durations:
    """Durations of one stage in bounded memory: a sum over all, and the most recent ones.

    The first stands for the stage only until there is a second.
    """

    def __init__(self) -> None:
        self.count = 0
        self._total = 0.0
        self._recent = np.zeros(_RECENT)
        self.last = 0.0

    def add(self, seconds: float) -> None:
        if self.count == 1:
            self._total = 0.0
        self._recent[max(self.count - 1, 0) % _RECENT] = seconds
        self._total += seconds
        self.count += 1
        self.last = seconds

    def summary(self) -> StageTime | None:
        if self.count == 0:
            return None
        counted = max(self.count - 1, 1)
        p50, p99 = np.percentile(self._recent[: min(counted, _RECENT)], (50, 99))
        return StageTime(self._total / counted * 1e3, float(p50) * 1e3, float(p99) * 1e3)


class Stopwatch:
    """Collects the times of a run; its memory does not grow with the length of the run.

    Each stage is timed by one thread only; ``report`` may be called at any time.

    Args:
        stages: names, in the order of the flow.
        source: whose outages are reported too, where it has a ``status``.

    Attributes:
        full: frames with more candidates above the threshold than the model gives, or just as many.
        clock: of the tracker, which counts timestamps that are out of order; None without one.
    """

    def __init__(self, stages: Iterable[str], source: object = None) -> None:
        self.clock: Clock | None = None
        self.full = 0
        self._status: Callable[[], SourceStatus] | None = getattr(source, "status", None)
        self._stages = {name: _Durations() for name in stages}
        self._age = _Durations()
        self._started = self._first = self._last = time.perf_counter()
        self._frames = 0
        self._last_frame = 0
        self._detections = self._unshaped = 0
        self._seen = bytearray()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block as one frame's ``name``; a block that raises does not count."""
        start = time.perf_counter()
        yield
        self.add(name, time.perf_counter() - start)

    def add(self, name: str, seconds: float) -> None:
        """Count ``seconds`` as one frame's ``name``."""
        self._stages[name].add(seconds)

    def latest(self) -> dict[str, float]:
        """Seconds that each stage took last, of those that have run."""
        return {name: one.last for name, one in self._stages.items() if one.count}

    def finish(self, index: int, ids: Iterable[int], age: float | None = None) -> None:
        """Frame ``index`` is done, with tracks of these ids on it.

        Args:
            index: of the frame in its source.
            ids: of the tracks reported.
            age: seconds since its capture, of a live source.
        """
        if age is not None:
            self._age.add(age)
        self._last = time.perf_counter()
        if self._frames == 0:
            self._first = self._last
        self._frames += 1
        self._last_frame = index
        for i in ids:  # trackers count from 1, so a byte for each id ever seen is little
            if i >= len(self._seen):
                self._seen.extend(bytes(i + 1))
            self._seen[i] = 1

    def count(self, detections: int, unshaped: int) -> None:
        """Count detections given to the tracker, and boxes of tracks that were not reported."""
        self._detections += detections
        self._unshaped += unshaped

    @property
    def frames(self) -> int:
        """Frames finished so far."""
        return self._frames

    def report(self) -> RunReport:
        """The run so far."""
        times = {name: durations.summary() for name, durations in self._stages.items()}
        stages = {name: time for name, time in times.items() if time is not None}
        seconds = self._last - self._started
        if self._frames > 1:
            system = _rate(self._last - self._first, self._frames - 1)
        else:
            system = _rate(seconds, self._frames)
        return RunReport(
            frames=self._frames,
            last_frame=self._last_frame,
            dropped=self._last_frame - self._frames,  # they are numbered from 1
            tracks=self._seen.count(1),
            seconds=seconds,
            system_fps=system,
            network_fps=_fps(stages.get("network")),
            association_fps=_fps(stages.get("associate")),
            stages=stages,
            age=self._age.summary(),
            source=None if self._status is None else self._status(),
            gaps=self.clock.gaps if self.clock else 0,
            repeats=self.clock.repeats if self.clock else 0,
            restarts=self.clock.restarts if self.clock else 0,
            detections=self._detections,
            unshaped=self._unshaped,
            full=self.full,
        )


def _rate(seconds: float, frames: int) -> float:
    return frames / seconds if seconds > 0 else 0.0


def _fps(stage: StageTime | None) -> float | None:
    return 1e3 / stage.mean if stage is not None and stage.mean > 0 else None


def summary(milliseconds: Sequence[float] | npt.NDArray[np.float64]) -> dict[str, float]:
    """Mean, standard deviation (of a sample) and percentiles; at least one time.

    >>> {k: round(v, 2) for k, v in summary([1.0, 2.0, 3.0, 4.0]).items()}
    {'mean': 2.5, 'std': 1.29, 'p50': 2.5, 'p90': 3.7, 'p95': 3.85, 'p99': 3.97}
    """
    times = np.asarray(milliseconds, np.float64)
    p50, p90, p95, p99 = np.percentile(times, (50, 90, 95, 99))
    return {
        "mean": float(times.mean()),
        "std": float(times.std(ddof=1)) if len(times) > 1 else 0.0,
        "p50": float(p50),
        "p90": float(p90),
        "p95": float(p95),
        "p99": float(p99),
    }
