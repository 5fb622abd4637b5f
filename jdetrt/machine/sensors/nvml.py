"""NVML, the sensors of desktop and server GPUs, through the package ``nvidia-ml-py``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jdetrt.machine.sensors.base import AbsentError, Reading

__all__ = ["Nvml", "open_nvml"]

# nvml.h, nvmlClocksEventReasons: those that hold clocks below what the load asks for. An idle GPU
# (1), clocks set by the user (2, 16) and the display (256) are none.
_THROTTLING = {
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x20: "thermal (software)",
    0x40: "thermal (hardware)",
    0x80: "power brake",
}


class Nvml:
    """All GPUs that the driver shows. Implements ``Sensor``.

    Args:
        library: the module ``pynvml``, or something like it.

    Raises:
        AbsentError: no driver, or no GPU.
    """

    name = "NVML"
    scope = "GPUs"

    def __init__(self, library: Any) -> None:
        self._library = library
        try:
            library.nvmlInit()
        except library.NVMLError as err:
            raise AbsentError(f"the driver does not answer: {err}") from err
        count = library.nvmlDeviceGetCount()
        self._devices = [library.nvmlDeviceGetHandleByIndex(i) for i in range(count)]
        self._open = True
        if not self._devices:
            self.close()
            raise AbsentError("the driver shows no GPU")
        # Its name before driver 535; both are there for a while.
        self._reasons = getattr(
            library,
            "nvmlDeviceGetCurrentClocksEventReasons",
            getattr(library, "nvmlDeviceGetCurrentClocksThrottleReasons", None),
        )

    def read(self) -> Reading | None:
        """Power, temperature, clocks, and what holds them down, of all GPUs."""
        library = self._library
        rails, celsius, mhz = {}, {}, {}
        joules: list[float] = []
        throttled: set[str] | None = None
        for index, device in enumerate(self._devices):
            name = f"gpu{index}"
            power = self._ask(library.nvmlDeviceGetPowerUsage, device)
            if power is not None:
                rails[name] = power / 1e3
            heat = self._ask(library.nvmlDeviceGetTemperature, device, library.NVML_TEMPERATURE_GPU)
            if heat is not None:
                celsius[name] = float(heat)
            clock = self._ask(library.nvmlDeviceGetClockInfo, device, library.NVML_CLOCK_SM)
            if clock is not None:
                mhz[name] = float(clock)
            if (
                energy := self._ask(library.nvmlDeviceGetTotalEnergyConsumption, device)
            ) is not None:
                joules.append(energy / 1e3)
            bits = self._ask(self._reasons, device) if self._reasons else None
            if bits is not None:
                reasons = {why for bit, why in _THROTTLING.items() if int(bits) & bit}
                throttled = (throttled or set()) | reasons
        return Reading(
            watts=sum(rails.values()) if rails else None,
            rails=rails,
            celsius=celsius,
            mhz=mhz,
            throttled=None if throttled is None else tuple(sorted(throttled)),
            joules=sum(joules) if len(joules) == len(self._devices) else None,
        )

    def close(self) -> None:
        """Let go of the driver."""
        if self._open:
            self._open = False
            self._library.nvmlShutdown()

    def _ask(self, function: Callable[..., Any], *arguments: Any) -> float | None:
        """Ask NVML; None where this GPU does not know."""
        try:
            value: float = function(*arguments)
        except self._library.NVMLError:
            return None
        return value


def open_nvml() -> Nvml:
    """Open it. Raises AbsentError."""
    try:
        import pynvml
    except ImportError as err:
        raise AbsentError("not installed: pip install nvidia-ml-py") from err
    return Nvml(pynvml)
