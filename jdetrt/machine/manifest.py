"""What machine this is: the head of every benchmark file, and the facts behind ``jdetrt doctor``.

Every fact is read through a ``Probe`` (a file root and a way to run programs), so that a Jetson's
answers can be replayed anywhere. What cannot be read is None: nothing here is guessed.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

__all__ = [
    "Gpu",
    "Jetson",
    "Output",
    "Probe",
    "cpu_name",
    "gpus",
    "jetson",
    "manifest",
    "memory_gib",
    "os_name",
    "package_versions",
]

# Packages that can change a measured number, in the order of the data flow.
PACKAGES = (
    *("jdetrt", "numpy", "numba", "lap", "onnxruntime", "onnxruntime-gpu"),
    *("opencv-python", "opencv-python-headless", "opencv-contrib-python"),
    *("torch", "onnx", "tensorrt", "tensorrt-cu12", "tensorrt-cu13", "tensorrt-rtx"),
    *("pycuda", "cuda-bindings"),
    *("trackeval", "trackers"),
)

# Tegra chips by the name in /proc/device-tree/compatible: board family, compute capability.
# Source: CUDA GPU compute capability list (NVIDIA).
TEGRA = {
    "tegra210": ("Tegra X1 (Nano, TX1)", 5.3),
    "tegra186": ("Tegra X2 (TX2)", 6.2),
    "tegra194": ("Xavier", 7.2),
    "tegra234": ("Orin", 8.7),
    "tegra264": ("Thor", 11.0),
}


class Output(NamedTuple):
    """What a program left: exit status, standard output and standard error."""

    code: int
    out: str
    err: str


def run_program(command: Sequence[str]) -> Output | None:
    """Run a program for at most 60 s; None where it is not installed or does not end."""
    environment = os.environ | {"LC_ALL": "C", "PYTHONWARNINGS": "ignore"}
    try:
        done = subprocess.run(
            list(command),
            capture_output=True,
            check=False,
            encoding="utf-8",
            errors="replace",
            env=environment,
            stdin=subprocess.DEVNULL,
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return Output(done.returncode, done.stdout, done.stderr)


def package_version(name: str) -> str | None:
    """The installed version of a Python package, without importing it; None where there is none."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


@dataclass(frozen=True, slots=True)
class Probe:
    """Where facts are read from; the default is this machine.

    Attributes:
        root: the folder that stands for ``/``.
        run: runs a program (``run_program``).
        version: gives the version of a Python package (``package_version``).
    """

    root: Path = Path("/")
    run: Callable[[Sequence[str]], Output | None] = run_program
    version: Callable[[str], str | None] = package_version

    def text(self, path: str) -> str | None:
        """A file's text without NULs and spaces around it; None where there is no such file."""
        try:
            return (self.root / path).read_text(errors="replace").replace("\0", "\n").strip()
        except OSError:
            return None

    def output(self, *command: str) -> str | None:
        """What a program prints; None where it is missing, fails or prints nothing."""
        done = self.run(command)
        return (done.out.strip() or None) if done is not None and done.code == 0 else None


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
    found = _search(r"^model name\s*:\s*(.+)$", probe.text("proc/cpuinfo"))
    # ARM kernels give numbers in /proc/cpuinfo; lscpu knows their names.
    return found or _search(r"^Model name:\s*(.+)$", probe.output("lscpu"))


def memory_gib(probe: Probe, field: str = "MemTotal") -> float | None:
    """A field of /proc/meminfo in GiB, such as MemTotal or MemAvailable."""
    found = _search(rf"^{field}:\s*(\d+) kB", probe.text("proc/meminfo"))
    return None if found is None else round(int(found) / 2**20, 1)


def os_name(probe: Probe) -> str:
    """Name of the distribution, else of the system."""
    found = _search(r'^PRETTY_NAME="?([^"\n]+)', probe.text("etc/os-release"))
    return found or platform.system()


def gpus(probe: Probe) -> list[Gpu]:
    """The NVIDIA GPUs that nvidia-smi lists, else the one that a Jetson's device files show."""
    query = ("nvidia-smi", "--format=csv,noheader,nounits")
    listed = probe.output(*query, "--query-gpu=name,driver_version,memory.total")
    if listed is not None and "," in listed:
        capabilities = (probe.output(*query, "--query-gpu=compute_cap") or "").splitlines()
        found = []
        for index, line in enumerate(listed.splitlines()):
            name, driver, memory = (cell.strip() for cell in line.rsplit(",", 2))
            capability = capabilities[index].strip() if index < len(capabilities) else ""
            found.append(
                Gpu(
                    name=name,
                    driver=None if "N/A" in driver else driver,
                    memory_mib=int(memory) if memory.isdecimal() else None,
                    capability=_number(capability),
                )
            )
        return found
    board = jetson(probe)
    nodes = ("dev/nvhost-gpu", "dev/nvgpu", "dev/nvhost-ctrl-gpu")
    if board is not None and any((probe.root / node).exists() for node in nodes):
        family = TEGRA[board.chip][0] if board.chip in TEGRA else board.model
        return [Gpu(f"{family}, integrated", None, None, board.capability)]
    return []


def jetson(probe: Probe) -> Jetson | None:
    """The board, or None where this is not a Jetson."""
    compatible = probe.text("proc/device-tree/compatible") or ""
    release = probe.text("etc/nv_tegra_release")
    model = probe.text("proc/device-tree/model")
    if "nvidia,tegra" not in compatible and release is None:
        return None
    # "# R36 (release), REVISION: 4.3, GCID: ..." is L4T 36.4.3.
    found = re.search(r"# R(\d+) \(release\), REVISION: ([\d.]+)", release or "")
    l4t = f"{found[1]}.{found[2]}" if found else _debian(probe, "nvidia-l4t-core")
    power = probe.output("nvpmodel", "-q")
    mode = _search(r"NV Power Mode:\s*(\S+)", power)
    number = _search(r"^(?:MODE ID:\s*)?(\d+)$", power)
    return Jetson(
        model=model or "unknown model",
        chip=_search(r"nvidia,(tegra\d+)", compatible),
        l4t=l4t,
        jetpack=_debian(probe, "nvidia-jetpack"),
        power_mode=f"{mode} (mode {number})" if mode and number else mode,
    )


def package_versions(probe: Probe) -> dict[str, str]:
    """Versions of those of ``PACKAGES`` that are installed."""
    found = ((name, probe.version(name)) for name in PACKAGES)
    return {name: version for name, version in found if version is not None}


def manifest(*, date: str | None = None, probe: Probe | None = None) -> dict[str, Any]:
    """Everything about this machine that a measured number depends on, ready for JSON.

    There is no host name, user name or path in it.

    Args:
        date: ISO 8601, of the measurement; default now, in UTC.
        probe: where to read from; default this machine.
    """
    # Not at the top: these read through the probe of this module.
    from jdetrt.machine.clocks import clocks, locked
    from jdetrt.machine.fingerprint import fingerprint
    from jdetrt.machine.libraries import library_versions

    probe = probe or Probe()
    board = jetson(probe)
    found = clocks(probe)
    facts = {
        "date": date or datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": commit(probe),
        "cpu": cpu_name(probe),
        "cores": cores(),
        "memory_gib": memory_gib(probe),
        "arch": platform.machine(),
        "os": os_name(probe),
        "kernel": platform.release(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": package_versions(probe),
        "gpus": [asdict(gpu) for gpu in gpus(probe)],
        "jetson": None if board is None else asdict(board),
        "libraries": library_versions(probe),
        "clocks": [asdict(clock) for clock in found],
        "locked": locked(found),
    }
    return {**facts, "fingerprint": fingerprint(facts)}


def cores() -> int | None:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux alone has it
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def commit(probe: Probe) -> str | None:
    """The git commit of this code, "-dirty" behind it when files differ; None if not a checkout."""
    here = Path(__file__).resolve()
    git = ("git", "-C", str(here.parent))
    # An installed copy may lie inside somebody else's repository: it must be git that tracks us.
    if probe.output(*git, "ls-files", "--error-unmatch", here.name) is None:
        return None
    head = probe.output(*git, "rev-parse", "HEAD")
    changed = probe.output(*git, "status", "--porcelain", "--untracked-files=no")
    return f"{head}-dirty" if head and changed else head


def free_disk_gib(path: str | Path = ".") -> float:
    """Free space on the disk that holds ``path``, in GiB. Raises OSError."""
    return round(shutil.disk_usage(path).free / 2**30, 1)


def _debian(probe: Probe, package: str) -> str | None:
    return probe.output("dpkg-query", "-W", "-f", "${Version}", package)


def _search(pattern: str, text: str | None) -> str | None:
    found = re.search(pattern, text or "", re.MULTILINE)
    return found[1].strip() if found else None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
