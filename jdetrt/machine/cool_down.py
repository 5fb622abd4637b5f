"""Wait between two runs until the machine is as cool as it was before the first."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from jdetrt.machine.sensors.base import Sensors
from jdetrt.machine.sensors.open import open_sensors

__all__ = ["CoolDown"]

_WARMER = 3.0  # degrees that do not matter
_LONGEST = 10  # times the wait, at most


class CoolDown:
    """A wait that is at least ``seconds`` long, and longer where a sensor says that it is warm.

    Args:
        seconds: the least.
        sensors: opens those of this machine.
        sleep: waits.
    """

    def __init__(
        self,
        seconds: float,
        sensors: Callable[[], Sensors] = open_sensors,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._seconds = seconds
        self._sensors = sensors
        self._sleep = sleep
        self._cool: dict[str, float] | None = None

    def __call__(self) -> None:
        """Wait. The first time it only waits; what is read then is what later waits go back to."""
        if self._seconds <= 0:
            return
        sensors = self._sensors()
        try:
            self._sleep(self._seconds)
            warmth = _warmth(sensors)
            if self._cool is None:
                self._cool = warmth
            for _ in range(_LONGEST - 1):
                if not any(
                    warmth[place] > cool + _WARMER
                    for place, cool in self._cool.items()
                    if place in warmth
                ):
                    break
                self._sleep(self._seconds)
                warmth = _warmth(sensors)
        finally:
            for sensor in sensors.present:
                with suppress(OSError):
                    sensor.close()


def _warmth(sensors: Sensors) -> dict[str, float]:
    """Temperatures by sensor and place: each is compared with itself, as some never change."""
    readings = [(sensor.name, sensor.read()) for sensor in sensors.present]
    return {
        f"{name} {place}": degrees
        for name, one in readings
        if one is not None
        for place, degrees in one.celsius.items()
    }
