"""The benchmark measured: is one thing twice the same to it, does it notice a slower one?

Three "models" run in turn, in random order: a model, the same one again, and the same one slowed
down on purpose. The first two should compare as no difference, the third as slower. Beside it
stands what measuring costs: a look at the clock, and a look at all sensors.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jdetrt.benchmarks.compare import compare
from jdetrt.benchmarks.latency import measure_run, medians
from jdetrt.benchmarks.stages import StageTimes
from jdetrt.engine.open import open_session
from jdetrt.errors import ConfigError
from jdetrt.machine.manifest import manifest
from jdetrt.machine.sensors.base import open_sensors
from jdetrt.runtime.detector import network_size
from jdetrt.types import Array, Session, TensorSpec

__all__ = ["Slowed", "measure_overhead", "measure_repeatability"]


class Slowed:
    """A session whose runs take longer. Implements ``Session``.

    Args:
        session: what runs.
        by: how much longer, as a part of the run's own time.
    """

    def __init__(self, session: Session, by: float) -> None:
        self._session = session
        self._by = by
        self._submitted = 0.0

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Of the session."""
        return self._session.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Of the session."""
        return self._session.outputs

    @property
    def metadata(self) -> Mapping[str, str]:
        """Of the session."""
        return self._session.metadata

    @property
    def last_run_seconds(self) -> float | None:
        """Of the session."""
        return self._session.last_run_seconds

    def infer(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run, slowly."""
        self.submit(feeds)
        return self.wait()

    def submit(self, feeds: Mapping[str, Array]) -> None:
        """Start a run."""
        self._submitted = time.perf_counter()
        self._session.submit(feeds)

    def wait(self) -> dict[str, Array]:
        """Wait for it, and then for a part of its time once more."""
        outputs = self._session.wait()
        elapsed = time.perf_counter() - self._submitted
        time.sleep(self._by * (self._session.last_run_seconds or elapsed))
        return outputs

    def close(self) -> None:
        """Close the session."""
        self._session.close()

    def __enter__(self) -> Slowed:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def measure_repeatability(
    model: str | Path,
    source: str,
    *,
    frames: int = 60,
    warm_up: int = 5,
    repeats: int = 5,
    slow_down: float = 0.2,
    backend: str = "auto",
    provider: str = "auto",
    least: float = 0.03,
    seed: int = 0,
    report: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Measure a model, the same again and the same slowed down, and compare.

    Args:
        model: of any kind that ``open_session`` opens.
        source: URI of a source that can be read again.
        frames: that count, in each run.
        warm_up: frames before them.
        repeats: runs of each of the three.
        slow_down: how much longer a run of the network takes in the third.
        backend: of ``open_session``.
        provider: of ``open_session``.
        least: relative changes below it are no difference.
        seed: of the order.
        report: is told what comes next.

    Returns:
        JSON-ready: the machine, the settings, ``rows`` (first, again, slowed) with their runs,
        ``again`` and ``slowed``: each compared with the first (``compare``), and ``overhead``.

    Raises:
        ConfigError: a number that makes no measurement.
        SourceError, SessionError: the source or the model fails.
    """
    if repeats < 2 or not slow_down > 0:
        raise ConfigError(
            f"expected 2 repeats or more and a slow-down above 0, got {repeats} and {slow_down}"
        )
    runs: dict[str, list[dict[str, Any]]] = {"first": [], "again": [], "slowed": []}
    order = random.Random(seed)
    with open_session(model, backend=backend, provider=provider) as session:
        sessions = {"first": session, "again": session, "slowed": Slowed(session, slow_down)}
        size = list(network_size(session))
        for number in range(repeats):
            for name in order.sample(sorted(runs), 3):
                report(f"run {number + 1} of {repeats}: {name}")
                run = measure_run(sessions[name], source, frames=frames, warm_up=warm_up, rest=0.0)
                runs[name].append(run)
    machine = manifest()
    settings = {
        "model": Path(model).name,
        "source": Path(source).name,
        "frames": frames,
        "warm_up": warm_up,
        "repeats": repeats,
        "slow_down": slow_down,
        "backend": backend,
        "provider": provider,
        "least": least,
        "seed": seed,
    }
    results: dict[str, dict[str, Any]] = {
        name: {
            "benchmark": "latency",
            "machine": machine,
            "settings": settings,
            "rows": [{"name": name, "size": size, **medians(found), "runs": found}],
        }
        for name, found in runs.items()
    }
    verdicts = {
        name: compare(results["first"], results[name], least=least)["rows"][0]["metrics"]
        for name in ("again", "slowed")
    }
    return {
        "benchmark": "repeatability",
        "machine": machine,
        "settings": settings,
        "rows": [result["rows"][0] for result in results.values()],
        **verdicts,
        "overhead": measure_overhead(),
    }


def measure_overhead(times: int = 2000) -> dict[str, float]:
    """What measuring costs: microseconds a timed stage, and milliseconds a reading of all sensors.

    Args:
        times: that a stage with nothing in it is timed.
    """
    watch = StageTimes()
    begin = time.perf_counter()
    for _ in range(times):
        with watch.stage("nothing"):
            pass
    stage = (time.perf_counter() - begin) / times
    sensors = open_sensors().present
    readings = []
    for _ in range(5):
        begin = time.perf_counter()
        for sensor in sensors:
            sensor.read()
        readings.append(time.perf_counter() - begin)
    for sensor in sensors:
        sensor.close()
    return {
        "stage_us": 1e6 * stage,
        "sensors_ms": 1e3 * float(np.median(readings)),
        "sensors": len(sensors),
    }
