"""Sensors of power, temperature and clocks: their protocol, and what a reading has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

__all__ = ["AbsentError", "Reading", "Sensor", "Sensors", "measured"]

_OFF = -200.0  # a sensor of a part without power reads -256 degrees
# The power management chip of Nano, TX2 and Xavier has no sensor: its driver always says 100.
_NOMINAL = "pmic"


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at a sensor.

    Attributes:
        watts: power of everything that the sensor sees; None where it does not say.
        rails: watts by rail or device.
        celsius: temperature by place, of those that are measured (`measured`).
        mhz: clock by unit.
        throttled: why clocks are held down at this moment, empty where they are not; None where
            the sensor cannot know.
        joules: an energy counter, of which only differences mean something; None where there is
            none, and power is to be integrated.
    """

    watts: float | None = None
    rails: Mapping[str, float] = field(default_factory=dict)
    celsius: Mapping[str, float] = field(default_factory=dict)
    mhz: Mapping[str, float] = field(default_factory=dict)
    throttled: tuple[str, ...] | None = None
    joules: float | None = None


class Sensor(Protocol):
    """A source of readings.

    Attributes:
        name: of the program or interface, such as ``"tegrastats"``.
        scope: what its ``watts`` are of, such as ``"module"``.
    """

    name: str
    scope: str

    def read(self) -> Reading | None:
        """The latest reading; None where there is none yet."""

    def close(self) -> None:
        """Free what it holds; a second call does nothing."""


class AbsentError(Exception):
    """A sensor is not there; the message says why."""


class Sensors(NamedTuple):
    """The sensors of a machine.

    Attributes:
        present: open ones; they see different parts.
        absent: by name, why it is not there.
    """

    present: list[Sensor]
    absent: dict[str, str]


def measured(celsius: Mapping[str, float]) -> dict[str, float]:
    """Take the temperatures that are measured, by place in small letters.

    Left out are parts without power, and the power management chip of a Jetson, for which drivers
    state a constant: as the hottest place it would hide all others.

    >>> measured({"GPU": 48.5, "PMIC": 100.0, "cv0": -256.0})
    {'gpu': 48.5}
    """
    return {
        place.lower(): degrees
        for place, degrees in celsius.items()
        if degrees > _OFF and _NOMINAL not in place.lower()
    }
