"""Manifest of a machine: the head of every benchmark file, and a fingerprint of its state.

Two results are compared only where their machines are alike: in hardware, clocks, power mode and
libraries. The date, the commit and the version of this package are what a comparison is about.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec

from jdetrt.machine.clocks import Clock, clocks, locked
from jdetrt.machine.hardware import Gpu, Jetson, cores, cpu_name, gpus, jetson, memory_gib, os_name
from jdetrt.machine.libraries import library_versions
from jdetrt.machine.probe import Probe

__all__ = ["Machine", "differences", "fingerprint", "manifest", "package_versions"]

# Packages that can change a measured number, in the order of the data flow.
PACKAGES = (
    *("jdetrt", "numpy", "numba", "lap", "onnxruntime", "onnxruntime-gpu"),
    *("opencv-python", "opencv-python-headless", "opencv-contrib-python"),
    *("torch", "onnx", "tensorrt", "tensorrt-cu12", "tensorrt-cu13", "tensorrt-rtx"),
    *("pycuda", "cuda-bindings"),
    *("trackeval", "trackers"),
)
_PLAIN = ("cpu", "cores", "arch", "os", "gpus", "jetson", "libraries", "locked")


class Machine(msgspec.Struct, kw_only=True):
    """Everything about a machine that a measured number depends on; None where it is not known.

    It has no host name, user name or path. Files of earlier versions lack the last four fields.

    Attributes:
        date: ISO 8601, of the measurement.
        commit: of this code, "-dirty" behind it when files differ.
        packages: versions of the installed Python packages of ``PACKAGES``.
        locked: whether all clocks have one frequency only.
        fingerprint: equal for the same machine in the same state.
    """

    date: str | None = None
    commit: str | None = None
    cpu: str | None = None
    cores: int | None = None
    memory_gib: float | None = None
    arch: str | None = None
    os: str | None = None
    kernel: str | None = None
    python: str | None = None
    packages: dict[str, str] = {}
    gpus: list[Gpu] = []
    jetson: Jetson | None = None
    libraries: dict[str, str | None] = {}
    clocks: list[Clock] = []
    locked: bool | None = None
    fingerprint: str | None = None


def manifest(*, date: str | None = None, probe: Probe | None = None) -> Machine:
    """Describe this machine.

    Args:
        date: ISO 8601, of the measurement; default now, in UTC.
        probe: where to read from; default this machine.
    """
    probe = probe or Probe()
    all_clocks = clocks(probe)
    machine = Machine(
        date=date or datetime.now(timezone.utc).isoformat(timespec="seconds"),
        commit=_commit(probe),
        cpu=cpu_name(probe),
        cores=cores(),
        memory_gib=memory_gib(probe),
        arch=platform.machine(),
        os=os_name(probe),
        kernel=platform.release(),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        packages=package_versions(probe),
        gpus=gpus(probe),
        jetson=jetson(probe),
        libraries=library_versions(probe),
        clocks=all_clocks,
        locked=locked(all_clocks),
    )
    machine.fingerprint = fingerprint(machine)
    return machine


def package_versions(probe: Probe) -> dict[str, str]:
    """Versions of those of ``PACKAGES`` that are installed."""
    versions = ((name, probe.version(name)) for name in PACKAGES)
    return {name: version for name, version in versions if version is not None}


def fingerprint(machine: Machine) -> str:
    """Twelve hexadecimal digits: the same for the same machine in the same state.

    >>> board = Machine(cpu="Carmel", cores=6, memory_gib=7.4, date="2026-11-22")
    >>> later = Machine(cpu="Carmel", cores=6, memory_gib=7.3, date="2027-01-01")
    >>> fingerprint(board) == fingerprint(later)
    True
    >>> fingerprint(board) == fingerprint(Machine(cpu="Carmel", cores=4, memory_gib=7.4))
    False
    """
    text = json.dumps(_facts(machine), sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def differences(one: Machine, other: Machine) -> list[str]:
    """Facts in which two machines differ, one line each; none where their fingerprints are equal.

    >>> differences(Machine(cpu="Carmel", cores=6), Machine(cpu="Carmel", cores=4))
    ['cores: 6 and 4']
    """
    first, second = dict(_flat(_facts(one))), dict(_flat(_facts(other)))
    return [
        f"{name}: {_shown(first.get(name))} and {_shown(second.get(name))}"
        for name in sorted(first | second)
        if first.get(name) != second.get(name)
    ]


def _facts(machine: Machine) -> dict[str, Any]:
    facts = msgspec.to_builtins(machine)
    return {
        **{name: facts[name] for name in _PLAIN},
        # A kernel takes more or less for itself: whole GiB.
        "memory_gib": None if machine.memory_gib is None else round(machine.memory_gib),
        "python": ".".join(str(machine.python).split(".")[:2]),
        "packages": {
            name: version for name, version in facts["packages"].items() if name != "jdetrt"
        },
        # The frequency of a moment changes while nobody changes anything.
        "clocks": [
            {name: value for name, value in clock.items() if name != "now_mhz"}
            for clock in facts["clocks"]
        ],
    }


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _flat(inner, f"{name}[{index}]")
    else:
        yield name, value


def _shown(value: Any) -> str:
    return "nothing" if value is None else str(value)


def _commit(probe: Probe) -> str | None:
    here = Path(__file__).resolve()
    git = ("git", "-C", str(here.parent))
    # An installed copy may lie inside somebody else's repository: it must be git that tracks us.
    if probe.output(*git, "ls-files", "--error-unmatch", here.name) is None:
        return None
    head = probe.output(*git, "rev-parse", "HEAD")
    changed = probe.output(*git, "status", "--porcelain", "--untracked-files=no")
    return f"{head}-dirty" if head and changed else head
