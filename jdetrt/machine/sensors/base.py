"""What a sensor of power, temperature and clocks says, and the sensors of this machine.

A Jetson has one that sees the whole module: ``tegrastats``, or jtop where the user has it. A PC has
two that see parts: NVML the GPUs, RAPL the processor. One that is not there is said to be absent,
with the reason: no sensor ever stands in with a zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from jdetrt.machine.manifest import Probe, jetson

__all__ = ["AbsentError", "Reading", "Sensor", "Sensors", "open_sensors"]


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at a sensor.

    Attributes:
        watts: power of everything that the sensor sees; None where it does not say.
        rails: watts by rail or device.
        celsius: temperature by place.
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


def open_sensors(probe: Probe | None = None) -> Sensors:
    """Open what this machine has; close each when done."""
    from jdetrt.machine.sensors.jtop import open_jtop
    from jdetrt.machine.sensors.nvml import open_nvml
    from jdetrt.machine.sensors.rapl import open_rapl
    from jdetrt.machine.sensors.tegrastats import open_tegrastats

    probe = probe or Probe()
    on_jetson = jetson(probe) is not None
    present: list[Sensor] = []
    absent: dict[str, str] = {}
    openers: dict[str, Callable[[], Sensor]] = {
        "tegrastats": lambda: open_tegrastats(probe),
        "jtop": open_jtop,
        "NVML": open_nvml,
        "RAPL": lambda: open_rapl(probe),
    }
    for name, opener in openers.items():
        if not on_jetson and name in ("tegrastats", "jtop"):
            absent[name] = "this is not a Jetson"
            continue
        if on_jetson and present:  # the module's sensor has seen all that the others would
            absent[name] = f"not asked: {present[0].name} sees the whole module"
            continue
        try:
            present.append(opener())
        except AbsentError as why:
            absent[name] = str(why)
    return Sensors(present, absent)
