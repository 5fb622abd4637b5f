"""RAPL, the energy counters of Intel and AMD processors, as Linux shows them."""

from __future__ import annotations

import time
from pathlib import Path

from jdetrt.machine.probe import Probe
from jdetrt.machine.sensors.base import AbsentError, Reading

__all__ = ["Rapl"]

_FOLDER = "sys/class/powercap"


class Rapl:
    """The energy of all processor packages together. Implements ``Sensor``.

    Args:
        probe: where to read.

    Raises:
        AbsentError: no counters, or they may not be read.
    """

    name = "RAPL"
    scope = "processor"

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        folders = sorted((probe.root / _FOLDER).glob("intel-rapl:*"))
        # intel-rapl:0 is a package, intel-rapl:0:1 a part of it; "psys" is a whole laptop, in which
        # the packages are contained.
        self._packages = [
            folder
            for folder in folders
            if folder.name.count(":") == 1 and (self._text(folder, "name") or "").startswith("pack")
        ]
        if not self._packages:
            raise AbsentError(f"no counters in /{_FOLDER} (a virtual machine has none)")
        self._ranges = [self._number(folder, "max_energy_range_uj") for folder in self._packages]
        first = self._counters()
        if first is None:
            raise AbsentError("the counters may only be read by root")
        self._last, self._read_at = first, time.perf_counter()
        self._total = 0.0

    def read(self) -> Reading | None:
        """The energy since it was opened, and the mean power since the last reading."""
        counters, now = self._counters(), time.perf_counter()
        if counters is None:
            return None
        used = 0.0
        for before, after, limit in zip(self._last, counters, self._ranges, strict=True):
            used += (after - before) / 1e6
            if after < before:  # it went round
                used += (limit or 0) / 1e6
        seconds = now - self._read_at
        self._last, self._read_at = counters, now
        self._total += used
        watts = used / seconds if seconds > 0 else None
        return Reading(watts=watts, joules=self._total)

    def close(self) -> None:
        """There is nothing to free."""

    def _counters(self) -> list[int] | None:
        counters = [self._number(folder, "energy_uj") for folder in self._packages]
        return [n for n in counters if n is not None] if None not in counters else None

    def _number(self, folder: Path, name: str) -> int | None:
        text = self._text(folder, name)
        return int(text) if text is not None and text.isdecimal() else None

    def _text(self, folder: Path, name: str) -> str | None:
        return self._probe.text(str((folder / name).relative_to(self._probe.root)))
