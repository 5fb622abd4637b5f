"""Clocks of processor and GPU: their governors, their limits, and whether they are locked.

A clock is locked where its lower and its upper limit are one number, which is what
``jetson_clocks`` does. Read from sysfs, without being root; of desktop GPUs it says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jdetrt.machine.probe import Probe

__all__ = ["Clock", "clocks", "locked"]

_CPU = "sys/devices/system/cpu/cpufreq"
_DEVICES = "sys/class/devfreq"
# How the integrated GPUs of Tegra chips are called there: 57000000.gpu, 17000000.gv11b,
# 17000000.ga10b, 17000000.gpu, gpu-gpc-0 (X1 to Thor).
_GPUS = ("gpu", "gp10b", "gv11b", "ga10b", "gb10b")


@dataclass(frozen=True, slots=True)
class Clock:
    """One clock of the machine.

    Attributes:
        name: ``"cpu policy0"``, ``"gpu 17000000.gpu"``.
        governor: what chooses the frequency, such as ``"schedutil"``.
        min_mhz: the lowest frequency it may choose; None where it is not told.
        max_mhz: the highest one.
        now_mhz: the frequency when it was read.
    """

    name: str
    governor: str | None
    min_mhz: float | None
    max_mhz: float | None
    now_mhz: float | None

    @property
    def locked(self) -> bool | None:
        """True for a single frequency; None where the limits are not known."""
        if self.min_mhz is None or self.max_mhz is None:
            return None
        return self.min_mhz == self.max_mhz


def clocks(probe: Probe) -> list[Clock]:
    """The clocks that the system tells of: processor first, then an integrated GPU."""
    result = [
        _clock(probe, f"cpu {folder.name}", f"{_CPU}/{folder.name}/scaling_", 1e3)
        for folder in _folders(probe, _CPU)
        if folder.name.startswith("policy")
    ]
    result += [
        _clock(probe, f"gpu {folder.name}", f"{_DEVICES}/{folder.name}/", 1e6)
        for folder in _folders(probe, _DEVICES)
        if folder.name.startswith("gpu-gpc") or folder.name.split(".")[-1] in _GPUS
    ]
    return result


def _clock(probe: Probe, name: str, prefix: str, unit: float) -> Clock:
    """The clock whose files begin with ``prefix``; ``unit`` of what they count in are a MHz."""
    return Clock(
        name=name,
        governor=probe.text(f"{prefix}governor"),
        min_mhz=_mhz(probe, f"{prefix}min_freq", unit),
        max_mhz=_mhz(probe, f"{prefix}max_freq", unit),
        now_mhz=_mhz(probe, f"{prefix}cur_freq", unit),
    )


def locked(clocks: list[Clock]) -> bool | None:
    """True where all of these clocks are locked; None where one is not known, or for none."""
    states = [clock.locked for clock in clocks]
    if not states or None in states:
        return None
    return all(states)


def _folders(probe: Probe, path: str) -> list[Path]:
    try:
        return sorted((probe.root / path).iterdir())
    except OSError:
        return []


def _mhz(probe: Probe, path: str, units: float) -> float | None:
    text = probe.text(path)
    return int(text) / units if text is not None and text.isdecimal() else None
