"""The sensors of this machine.

A Jetson has one that sees the whole module: ``tegrastats``, or jtop where the user has it. A PC has
two that see parts: NVML the GPUs, RAPL the processor. One that is not there is said to be absent,
with the reason: no sensor ever stands in with a zero.
"""

from __future__ import annotations

from collections.abc import Callable

from jdetrt.machine.hardware import jetson
from jdetrt.machine.probe import Probe
from jdetrt.machine.sensors.base import AbsentError, Sensor, Sensors
from jdetrt.machine.sensors.jtop import open_jtop
from jdetrt.machine.sensors.nvml import open_nvml
from jdetrt.machine.sensors.rapl import Rapl
from jdetrt.machine.sensors.tegrastats import open_tegrastats

__all__ = ["open_sensors"]


def open_sensors(probe: Probe | None = None) -> Sensors:
    """Open what this machine has; close each when done."""
    probe = probe or Probe()
    on_jetson = jetson(probe) is not None
    present: list[Sensor] = []
    absent: dict[str, str] = {}
    openers: dict[str, Callable[[], Sensor]] = {
        "tegrastats": lambda: open_tegrastats(probe),
        "jtop": open_jtop,
        "NVML": open_nvml,
        "RAPL": lambda: Rapl(probe),
    }
    for name, opener in openers.items():
        if not on_jetson and name in ("tegrastats", "jtop"):
            absent[name] = "this is not a Jetson"
            continue
        if on_jetson and present:  # the module's sensor covers all that the others would
            absent[name] = f"not asked: {present[0].name} sees the whole module"
            continue
        try:
            present.append(opener())
        except AbsentError as why:
            absent[name] = str(why)
    return Sensors(present, absent)
