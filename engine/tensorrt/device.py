"""The GPU of this machine, asked of the driver itself, and the machine around it.

The driver's library is called directly: a machine that only builds engines needs neither pycuda
nor cuda-python. Source of the numbers: cuda.h, ``CUdevice_attribute``.
"""

from __future__ import annotations

import ctypes
import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jdetrt.machine.board import board_model

__all__ = ["Device", "current_device", "host_memory", "jetpack", "platform_name"]

_MULTIPROCESSORS, _INTEGRATED, _MAJOR, _MINOR = 16, 18, 75, 76
# Releases of Jetson Linux begin so -> JetPack; NVIDIA's pages of the JetPack SDK.
_JETPACKS = {
    "35.": "5",
    "36.3": "6.0",
    "36.4": "6.1 or 6.2",
    "36.5": "6.2",
    "38.2": "7.0",
    "38.4": "7.1",
    "39.2": "7.2",
}


@dataclass(frozen=True)
class Device:
    """The first GPU that CUDA shows (``CUDA_VISIBLE_DEVICES`` chooses).

    Attributes:
        name: as the driver gives it.
        compute_capability: such as ``"8.7"``.
        integrated: it shares the memory of the CPU, as on a Jetson.
        memory: bytes of memory.
        free: bytes of it that are free now.
        cuda: the newest CUDA version that the driver runs, such as ``"12.6"``.
        multiprocessors: how many it has: CUDA calls every Orin "Orin", with 4 to 16; 0 if unknown.
        board: of a Jetson, as its device tree has it; None elsewhere.
    """

    name: str
    compute_capability: str
    integrated: bool
    memory: int
    free: int
    cuda: str
    multiprocessors: int = 0
    board: str | None = None


def current_device() -> Device | None:
    """Ask the driver; None where there is no driver or no GPU."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    device = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), 0):
        return None
    name = ctypes.create_string_buffer(256)
    version = ctypes.c_int()
    driver.cuDeviceGetName(name, len(name), device)
    driver.cuDriverGetVersion(ctypes.byref(version))
    free, memory = _memory(driver, device)
    return Device(
        name=name.value.decode(errors="replace"),
        compute_capability=(
            f"{_attribute(driver, device, _MAJOR)}.{_attribute(driver, device, _MINOR)}"
        ),
        integrated=bool(_attribute(driver, device, _INTEGRATED)),
        memory=memory,
        free=free,
        cuda=f"{version.value // 1000}.{version.value % 1000 // 10}",
        multiprocessors=_attribute(driver, device, _MULTIPROCESSORS),
        board=board_model(),
    )


def _attribute(driver: Any, device: ctypes.c_int, number: int) -> int:
    value = ctypes.c_int()
    driver.cuDeviceGetAttribute(ctypes.byref(value), number, device)
    return value.value


def _memory(driver: Any, device: ctypes.c_int) -> tuple[int, int]:
    """Free and all bytes of memory; the question needs a context, the device's primary one."""
    free, memory, context = ctypes.c_size_t(), ctypes.c_size_t(), ctypes.c_void_p()
    if driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device):
        return 0, 0  # so little is free that there is no room for a context
    driver.cuCtxPushCurrent_v2(context)
    driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(memory))
    driver.cuCtxPopCurrent_v2(ctypes.byref(context))
    driver.cuDevicePrimaryCtxRelease_v2(device)
    return free.value, memory.value


def host_memory(meminfo: Path = Path("/proc/meminfo")) -> tuple[int, int] | None:
    """Bytes of memory that programs can have, and of free swap; None where the system is mute."""
    try:
        text = meminfo.read_text()
    except OSError:
        return None
    found = {name: int(size) << 10 for name, size in re.findall(r"^(\w+):\s+(\d+) kB", text, re.M)}
    if "MemAvailable" not in found:
        return None
    return found["MemAvailable"], found.get("SwapFree", 0)


def jetpack(l4t: str | None) -> str | None:
    """The JetPack that a release of Jetson Linux belongs to; None for one that is not known.

    >>> jetpack("36.4.3"), jetpack("35.4.1"), jetpack("99.1"), jetpack(None)
    ('6.1 or 6.2', '5', None, None)
    """
    return next(
        (name for release, name in _JETPACKS.items() if (l4t or "").startswith(release)), None
    )


def platform_name() -> str:
    """System and processor, such as ``"linux-aarch64"``."""
    return f"{platform.system()}-{platform.machine()}".lower()
