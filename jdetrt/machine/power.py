"""Power, temperature, clocks and throttling before, during and after a run; energy a frame."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

import msgspec
import numpy as np

from jdetrt.machine.sensors.base import Reading, Sensors

__all__ = ["Monitor", "Phase", "Power", "SensorReport"]

_NOMINAL = 100.0  # degrees


class Phase(msgspec.Struct, kw_only=True):
    """Readings of one sensor in one phase; None for what it did not say."""

    readings: int
    seconds: float | None = None
    watts: float | None = None
    max_watts: float | None = None
    joules: float | None = None
    celsius_start: float | None = None
    celsius_end: float | None = None
    celsius_max: float | None = None
    mhz: dict[str, dict[str, float]] = {}
    throttled: list[str] | None = None


class SensorReport(msgspec.Struct):
    """Phases of one sensor, and what its watts are of."""

    name: str
    scope: str
    phases: dict[str, Phase]


class Power(msgspec.Struct, kw_only=True):
    """Power of a run; None where no sensor says.

    Attributes:
        watts: mean power of all sensors together.
        scope: what the watts are of.
        joules_per_frame: energy of a frame.
        sensors: every sensor with all phases.
        absent: by name, why a sensor is not there.
    """

    watts: float | None = None
    scope: str | None = None
    joules_per_frame: float | None = None
    sensors: list[SensorReport] = []
    absent: dict[str, str] = {}


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
    Power(watts=None, scope=None, joules_per_frame=None, sensors=[], absent={'RAPL': 'no counters'})
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

        def read() -> None:
            for sensor, row in zip(self._sensors, samples, strict=True):
                reading = sensor.read()
                if reading is not None:
                    row.append(_Sample(time.perf_counter(), reading))

        def follow() -> None:
            while not ended.wait(self._interval):
                read()

        read()
        thread = threading.Thread(target=follow, name="power", daemon=True)
        if self._sensors:
            thread.start()
        try:
            yield
        finally:
            ended.set()
            if self._sensors:
                thread.join()
            read()
            self._phases[name] = samples

    def report(self, *, frames: int, phase: str = "during") -> Power:
        """Report all phases so far.

        Args:
            frames: that were processed in ``phase``.
            phase: whose power the summary has.
        """
        sensors = [
            SensorReport(
                sensor.name,
                sensor.scope,
                {name: _summary(samples[index]) for name, samples in self._phases.items()},
            )
            for index, sensor in enumerate(self._sensors)
        ]
        summaries = [(s.scope, s.phases[phase]) for s in sensors if phase in s.phases]
        watts = [one.watts for _, one in summaries if one.watts is not None]
        joules = [one.joules for _, one in summaries if one.joules is not None]
        return Power(
            watts=sum(watts) if watts else None,
            scope=" + ".join(scope for scope, one in summaries if one.watts is not None) or None,
            joules_per_frame=sum(joules) / frames if joules else None,
            sensors=sensors,
            absent=self._absent,
        )


def _summary(samples: Sequence[_Sample]) -> Phase:
    watts, joules = _energy(samples)
    # The first reading is of the time before.
    peaks = [s.reading.watts for s in samples[1:] if s.reading.watts is not None]
    celsius = _hottest([s.reading.celsius for s in samples if s.reading.celsius])
    throttled = [s.reading.throttled for s in samples if s.reading.throttled is not None]
    return Phase(
        readings=len(samples),
        seconds=samples[-1].at - samples[0].at if samples else None,
        watts=watts,
        max_watts=max(peaks, default=None),
        joules=joules,
        celsius_start=celsius[0] if celsius else None,
        celsius_end=celsius[-1] if celsius else None,
        celsius_max=max(celsius, default=None),
        mhz=_clocks(samples),
        throttled=sorted({why for one in throttled for why in one}) if throttled else None,
    )


def _hottest(readings: Sequence[Mapping[str, float]]) -> list[float]:
    """Highest temperature of each reading, without places that always state the same 100 degrees.

    Some drivers state 100 for a chip without a sensor. A place that is measured does not stay at
    exactly that.
    """
    places = {place for one in readings for place in one}
    nominal = {
        place
        for place in places
        if len(readings) > 1 and all(one.get(place, _NOMINAL) == _NOMINAL for one in readings)
    }
    used = places - nominal or places
    return [max(one[place] for place in one if place in used) for one in readings if used & {*one}]


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
    mhz: dict[str, list[float]] = {}
    for sample in samples:
        for name, value in sample.reading.mhz.items():
            mhz.setdefault(name, []).append(value)
    return {
        name: {"min": min(values), "mean": float(np.mean(values))} for name, values in mhz.items()
    }
