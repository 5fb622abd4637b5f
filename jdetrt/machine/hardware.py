"""Hardware and system of a machine, read through a ``Probe``; what cannot be read is None."""

from __future__ import annotations

import os
import platform
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from jdetrt.machine.board import l4t_release, on_jetson
from jdetrt.machine.probe import Probe

__all__ = [
    "TEGRA",
    "Gpu",
    "Jetson",
    "cores",
    "cpu_name",
    "free_disk_gib",
    "gpus",
    "jetson",
    "memory_gib",
    "os_name",
]

# Tegra chips by the name in /proc/device-tree/compatible: board family, compute capability.
# Source: CUDA GPU compute capability list (NVIDIA).
TEGRA = {
    "tegra210": ("Tegra X1 (Nano, TX1)", 5.3),
    "tegra186": ("Tegra X2 (TX2)", 6.2),
    "tegra194": ("Xavier", 7.2),
    "tegra234": ("Orin", 8.7),
    "tegra264": ("Thor", 11.0),
}


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU as its driver names it; capability is CUDA's, such as 8.7."""

    name: str
    driver: str | None
    memory_mib: int | None
    capability: float | None


@dataclass(frozen=True, slots=True)
class Jetson:
    """A Jetson board: model, chip, L4T release, JetPack version and power mode."""

    model: str
    chip: str | None
    l4t: str | None
    jetpack: str | None
    power_mode: str | None

    @property
    def capability(self) -> float | None:
        """CUDA compute capability of the chip."""
        return TEGRA[self.chip][1] if self.chip in TEGRA else None


def cpu_name(probe: Probe) -> str | None:
    """The processor's name."""
    name = _search(r"^model name\s*:\s*(.+)$", probe.text("proc/cpuinfo"))
    # ARM kernels give numbers in /proc/cpuinfo; lscpu knows their names.
    return name or _search(r"^Model name:\s*(.+)$", probe.output("lscpu"))


def memory_gib(probe: Probe, field: str = "MemTotal") -> float | None:
    """A field of /proc/meminfo in GiB, such as MemTotal or MemAvailable."""
    size = _search(rf"^{field}:\s*(\d+) kB", probe.text("proc/meminfo"))
    return None if size is None else round(int(size) / 2**20, 1)


def os_name(probe: Probe) -> str:
    """Name of the distribution, else of the system."""
    name = _search(r'^PRETTY_NAME="?([^"\n]+)', probe.text("etc/os-release"))
    return name or platform.system()


def gpus(probe: Probe) -> list[Gpu]:
    """The NVIDIA GPUs that nvidia-smi lists, else the one that a Jetson's device files show."""
    query = ("nvidia-smi", "--format=csv,noheader,nounits")
    listed = probe.output(*query, "--query-gpu=name,driver_version,memory.total")
    if listed is not None and "," in listed:
        capabilities = (probe.output(*query, "--query-gpu=compute_cap") or "").splitlines()
        cards = []
        for index, line in enumerate(listed.splitlines()):
            name, driver, memory = (cell.strip() for cell in line.rsplit(",", 2))
            capability = capabilities[index].strip() if index < len(capabilities) else ""
            cards.append(
                Gpu(
                    name=name,
                    driver=None if "N/A" in driver else driver,
                    memory_mib=int(memory) if memory.isdecimal() else None,
                    capability=_number(capability),
                )
            )
        return cards
    board = jetson(probe)
    nodes = ("dev/nvhost-gpu", "dev/nvgpu", "dev/nvhost-ctrl-gpu")
    if board is not None and any((probe.root / node).exists() for node in nodes):
        family = TEGRA[board.chip][0] if board.chip in TEGRA else board.model
        return [Gpu(f"{family}, integrated", None, None, board.capability)]
    return []


def jetson(probe: Probe) -> Jetson | None:
    """The board, or None where this is not a Jetson."""
    if not on_jetson(probe):
        return None
    compatible = probe.text("proc/device-tree/compatible") or ""
    l4t = l4t_release(probe) or _debian(probe, "nvidia-l4t-core")
    power = probe.output("nvpmodel", "-q")
    mode = _search(r"NV Power Mode:\s*(\S+)", power)
    number = _search(r"^(?:MODE ID:\s*)?(\d+)$", power)
    return Jetson(
        model=probe.text("proc/device-tree/model") or "unknown model",
        chip=_search(r"nvidia,(tegra\d+)", compatible),
        l4t=l4t,
        jetpack=_debian(probe, "nvidia-jetpack"),
        power_mode=f"{mode} (mode {number})" if mode and number else mode,
    )


def cores() -> int | None:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux alone has it
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def free_disk_gib(path: str | Path = ".") -> float:
    """Free space on the disk that holds ``path``, in GiB. Raises OSError."""
    return round(shutil.disk_usage(path).free / 2**30, 1)


def _debian(probe: Probe, package: str) -> str | None:
    return probe.output("dpkg-query", "-W", "-f", "${Version}", package)


def _search(pattern: str, text: str | None) -> str | None:
    match = re.search(pattern, text or "", re.MULTILINE)
    return match[1].strip() if match else None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
