"""Power, temperature, clocks and throttling before, during and after a run; energy a frame."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import numpy as np

from jdetrt.machine.sensors.base import Reading, Sensors

__all__ = ["Monitor"]


class _Sample(NamedTuple):
    at: float  # seconds
    reading: Reading


class Monitor:
    """Reads sensors in a thread while a phase lasts. It is a context manager that closes them.

    Args:
        sensors: as ``open_sensors`` gives them.
        interval: seconds from one reading to the next.

    >>> with Monitor(Sensors([], {"RAPL": "no counters"})) as monitor:
    ...     with monitor.phase("during"):
    ...         pass
    >>> monitor.report(frames=10)
    {'watts': None, 'scope': None, 'joules_per_frame': None, 'sensors': [], \
'absent': {'RAPL': 'no counters'}}
    """

    def __init__(self, sensors: Sensors, interval: float = 0.5) -> None:
        self._sensors = sensors.present
        self._absent = sensors.absent
        self._interval = interval
        self._phases: dict[str, list[list[_Sample]]] = {}

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, *_: object) -> None:
        for sensor in self._sensors:
            with suppress(OSError):  # one that cannot be closed does not keep the others open
                sensor.close()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Read the sensors from the beginning of the block to its end."""
        samples: list[list[_Sample]] = [[] for _ in self._sensors]
        ended = threading.Event()

        def look() -> None:
            for sensor, kept in zip(self._sensors, samples, strict=True):
                reading = sensor.read()
                if reading is not None:
                    kept.append(_Sample(time.perf_counter(), reading))

        def follow() -> None:
            while not ended.wait(self._interval):
                look()

        look()
        thread = threading.Thread(target=follow, name="power", daemon=True)
        if self._sensors:
            thread.start()
        try:
            yield
        finally:
            ended.set()
            if self._sensors:
                thread.join()
            look()
            self._phases[name] = samples

    def report(self, *, frames: int, phase: str = "during") -> dict[str, Any]:
        """All phases so far, ready for JSON.

        Args:
            frames: that were processed in ``phase``.
            phase: whose power the summary has.

        Returns:
            ``watts`` (mean power in that phase, of all sensors together) and what they are of
            (``scope``), ``joules_per_frame``, the sensors with each phase, and ``absent``: by
            name, why a sensor is not there. What no sensor says is None.
        """
        sensors: list[dict[str, Any]] = [
            {
                "name": sensor.name,
                "scope": sensor.scope,
                "phases": {
                    name: _summary(samples[index]) for name, samples in self._phases.items()
                },
            }
            for index, sensor in enumerate(self._sensors)
        ]
        powered = [s for s in sensors if s["phases"].get(phase, {}).get("watts") is not None]
        return {
            "watts": sum(s["phases"][phase]["watts"] for s in powered) if powered else None,
            "scope": " + ".join(str(s["scope"]) for s in powered) or None,
            "joules_per_frame": (
                sum(s["phases"][phase]["joules"] for s in powered) / frames if powered else None
            ),
            "sensors": sensors,
            "absent": self._absent,
        }


def _summary(samples: Sequence[_Sample]) -> dict[str, Any]:
    """Of one sensor in one phase; None for what it did not say."""
    watts, joules = _energy(samples)
    # The first reading is of the time before.
    peaks = [s.reading.watts for s in samples[1:] if s.reading.watts is not None]
    celsius = [max(s.reading.celsius.values()) for s in samples if s.reading.celsius]
    told = [s.reading.throttled for s in samples if s.reading.throttled is not None]
    return {
        "readings": len(samples),
        "seconds": samples[-1].at - samples[0].at if samples else None,
        "watts": watts,
        "max_watts": max(peaks) if peaks else None,
        "joules": joules,
        "celsius_start": celsius[0] if celsius else None,
        "celsius_end": celsius[-1] if celsius else None,
        "celsius_max": max(celsius) if celsius else None,
        "mhz": _clocks(samples),
        "throttled": sorted({why for one in told for why in one}) if told else None,
    }


def _energy(samples: Sequence[_Sample]) -> tuple[float | None, float | None]:
    """Mean watts and joules: from the counter where there is one, else by trapezoids."""
    if len(samples) < 2:
        return None, None
    seconds = samples[-1].at - samples[0].at
    first, last = samples[0].reading.joules, samples[-1].reading.joules
    if first is not None and last is not None:
        joules = last - first
    else:
        powered = [(s.at, s.reading.watts) for s in samples if s.reading.watts is not None]
        if len(powered) < 2:
            return None, None
        at, watts = np.array(powered, float).T
        seconds = float(at[-1] - at[0])
        joules = float((np.diff(at) * (watts[1:] + watts[:-1]) / 2).sum())
    return (joules / seconds, joules) if seconds > 0 else (None, None)


def _clocks(samples: Sequence[_Sample]) -> dict[str, dict[str, float]]:
    names = dict.fromkeys(name for s in samples for name in s.reading.mhz)
    seen = {name: [s.reading.mhz[name] for s in samples if name in s.reading.mhz] for name in names}
    return {
        name: {"min": min(values), "mean": float(np.mean(values))} for name, values in seen.items()
    }
