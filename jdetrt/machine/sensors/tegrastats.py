"""tegrastats, the sensor program of every Jetson: its lines, in all the forms they have had.

========== ============================== ================ =====================================
JetPack    power                          temperature      clock of the GPU
========== ============================== ================ =====================================
4          ``POM_5V_IN 2545/2547``        ``GPU@23.5C``    ``GR3D_FREQ 0%``
5, 6       ``VDD_IN 4761mW/4777mW``       ``gpu@48.5C``    ``GR3D_FREQ 0%@305``, ``0%@[0,0]``
7          ``VIN 124486mW/36487mW/...``   ``gpu@57C/67C``  ``GR3D_FREQ @[314,314,314]``
========== ============================== ================ =====================================

Power is milliwatts: now, then the mean, then (JetPack 7) the peak. A line may begin with the time.
Source: the Jetson Linux Developer Guide, "Tegrastats Utility"; tests have recorded lines. A field
that is not understood is left out, never guessed. No line of a JetPack 7 board says how much of its
power is which part's, so what counts as the whole is decided by the names in `total_rails`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections.abc import Iterable

from jdetrt.machine.probe import Probe
from jdetrt.machine.sensors.base import AbsentError, Reading, measured

__all__ = ["Tegrastats", "open_tegrastats", "parse", "total_rails"]

_INTERVAL_MS = 500
_RAIL = re.compile(r"(?<=\s)([A-Z]\w*) (\d+)(?:mW)?/(\d+)(?:mW)?(?:/\d+mW)?(?=\s|$)")
_TEMPERATURE = re.compile(r"(\w+)@(-?\d+(?:\.\d+)?)C(?=[\s/]|$)")
_GPU = re.compile(r"GR3D_FREQ (?:\d+%)?(?:@\[?([\d,]+)\]?)?")
_MEMORY = re.compile(r"EMC(?:_FREQ)? (?:\d+%)?@(\d+)")
_CPUS = re.compile(r"\bCPU \[([^\]]*)\](?:@(\d+))?", re.IGNORECASE)

# The rail that feeds the whole module or board; where there is one, the others are parts of it.
_INPUT_RAILS = ("VDD_IN", "POM_5V_IN", "VIN")
# Fed by another rail in the list (AGX Orin: by VIN_SYS_5V0), or not connected.
_INNER_RAILS = ("VDDQ_VDD2_1V8AO", "NC")


def total_rails(names: Iterable[str]) -> list[str]:
    """The rails whose sum is the power of the whole.

    >>> total_rails(["VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"])
    ['VDD_IN']
    >>> total_rails(["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO", "NC"])
    ['VDD_GPU_SOC', 'VDD_CPU_CV', 'VIN_SYS_5V0']
    """
    names = list(names)
    for name in _INPUT_RAILS:
        if name in names:
            return [name]
    return [name for name in names if name not in _INNER_RAILS]


def parse(line: str) -> Reading | None:
    """One line of tegrastats; None where it has neither power nor a temperature.

    >>> reading = parse("GR3D_FREQ 35%@1300 gpu@48.5C VDD_IN 4761mW/4777mW VDD_SOC 1428mW/1428mW")
    >>> reading.watts, dict(reading.celsius), dict(reading.mhz)
    (4.761, {'gpu': 48.5}, {'gpu': 1300.0})
    """
    rails = {name: int(now) / 1e3 for name, now, _ in _RAIL.findall(line)}
    celsius = measured({name: float(value) for name, value in _TEMPERATURE.findall(line)})
    if not rails and not celsius:
        return None
    total = total_rails(rails)
    return Reading(
        watts=sum(rails[name] for name in total) if total else None,
        rails=rails,
        celsius=celsius,
        mhz=_clocks(line),
    )


def _clocks(line: str) -> dict[str, float]:
    mhz: dict[str, float] = {}
    gpu = _GPU.search(line)
    if gpu and gpu[1]:
        mhz["gpu"] = max(float(part) for part in gpu[1].split(",") if part)
    cpus = _CPUS.search(line)
    if cpus:
        cores = [float(value) for value in re.findall(r"@(\d+)", cpus[1])]
        cores += [float(cpus[2])] if cpus[2] else []
        if cores:
            mhz["cpu"] = max(cores)
    memory = _MEMORY.search(line)
    if memory:
        mhz["memory"] = float(memory[1])
    return mhz


class Tegrastats:
    """The running program; a thread reads its lines. Implements ``Sensor``.

    Args:
        program: of tegrastats.
        probe: where the counters of throttling are read from: the SoC's over-current events
            (``/sys/class/hwmon/*/oc*_event_cnt``), from Orin on.

    Attributes:
        last_line: as it was printed, for what the parser does not understand.

    Raises:
        AbsentError: it does not start.
    """

    name = "tegrastats"
    scope = "module"

    def __init__(self, program: str, probe: Probe) -> None:
        self.last_line = ""
        self._probe = probe
        self._events = self._throttle_events()
        try:
            self._process = subprocess.Popen(
                [program, "--interval", str(_INTERVAL_MS)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                errors="replace",
            )
        except OSError as err:
            raise AbsentError(f"{program} does not start ({err.strerror})") from err
        self._thread = threading.Thread(target=self._follow, name="tegrastats", daemon=True)
        self._thread.start()

    def read(self) -> Reading | None:
        """The latest line, and which over-current events there were since the last reading."""
        reading = parse(self.last_line)
        if reading is None or self._process.poll() is not None:  # what ended has old news
            return None
        before, self._events = self._events, self._throttle_events()
        risen = None
        if self._events:
            risen = tuple(n for n, count in self._events.items() if count > before.get(n, count))
        return Reading(reading.watts, reading.rails, reading.celsius, reading.mhz, risen)

    def close(self) -> None:
        """End the program."""
        self._process.terminate()
        self._process.wait()
        self._thread.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _follow(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.last_line = line.strip()

    def _throttle_events(self) -> dict[str, int]:
        counts = {}
        for path in sorted((self._probe.root / "sys/class/hwmon").glob("hwmon*/oc*_event_cnt")):
            text = self._probe.text(str(path.relative_to(self._probe.root)))
            if text is not None and text.isdecimal():
                counts[path.name.removesuffix("_event_cnt")] = int(text)
        return counts


def open_tegrastats(probe: Probe, program: str = "tegrastats") -> Tegrastats:
    """Start it. Raises AbsentError where it is not installed."""
    path = shutil.which(program)
    if path is None:
        raise AbsentError(f"{program} is not on the PATH")
    return Tegrastats(path, probe)
