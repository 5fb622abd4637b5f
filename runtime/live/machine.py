"""Power and temperature of this machine, for the live page."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import Any

from jdetrt.machine.sensors.base import Reading
from jdetrt.machine.sensors.open import open_sensors

__all__ = ["MachineState"]

_INTERVAL = 2.0  # seconds


class MachineState:
    """Reads the sensors of this machine every other second while the context lasts."""

    def __init__(self) -> None:
        self._sensors = open_sensors().present
        self._readings: list[tuple[float, Reading] | None] = [None] * len(self._sensors)
        self._watts: list[float | None] = [None] * len(self._sensors)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="sensors", daemon=True)

    def __enter__(self) -> MachineState:
        if self._sensors:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(_INTERVAL)
        for sensor in self._sensors:
            with suppress(OSError):
                sensor.close()

    def summary(self) -> dict[str, Any]:
        """Watts and the highest temperature, by a name for people; empty without sensors."""
        facts = {
            f"{sensor.scope} power": f"{watts:.1f} W"
            for sensor, watts in zip(self._sensors, self._watts, strict=True)
            if watts is not None
        }
        latest = [reading for _, reading in filter(None, self._readings)]
        celsius = [degrees for reading in latest for degrees in reading.celsius.values()]
        if celsius:
            facts["hottest"] = f"{max(celsius):.0f} °C"
        throttled = sorted({why for reading in latest for why in reading.throttled or ()})
        if throttled:
            facts["throttled"] = ", ".join(throttled)
        return facts

    def _follow(self) -> None:
        while True:
            for index, sensor in enumerate(self._sensors):
                reading = sensor.read()
                if reading is not None:
                    self._add(index, time.monotonic(), reading)
            if self._ended.wait(_INTERVAL):
                return

    def _add(self, index: int, now: float, reading: Reading) -> None:
        """Take a reading; energy counters become power by their difference."""
        before = self._readings[index]
        self._readings[index] = now, reading
        self._watts[index] = reading.watts
        if reading.watts is None and reading.joules is not None and before is not None:
            then, former = before
            if former.joules is not None and now > then and reading.joules >= former.joules:
                self._watts[index] = (reading.joules - former.joules) / (now - then)
