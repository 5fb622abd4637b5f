"""Checks of ``jdetrt doctor``: parts of this machine, and how to get those that are missing.

A library is imported in a process of its own, so one that crashes while it loads becomes a line of
the report. A check never guesses: what it cannot read, it calls unknown.
"""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Literal, NamedTuple

from jdetrt.machine.gstreamer import missing_elements
from jdetrt.machine.hardware import (
    TEGRA,
    Gpu,
    Jetson,
    cores,
    cpu_name,
    free_disk_gib,
    gpus,
    jetson,
    memory_gib,
    os_name,
)
from jdetrt.machine.libraries import TENSORRTS, cuda_version, system_tensorrt
from jdetrt.machine.probe import Probe

__all__ = ["Fact", "diagnose", "to_dict"]

Status = Literal["ok", "missing", "broken"]

_BASE = ("numpy", "numba", "lap", "click", "rich", "msgspec")
# Compute capabilities before 7 with fast INT8 (DP4A); all from 7.2 on have it.
# Source: TensorRT support matrix, hardware and precision; Tegra X1 (5.3) and X2 (6.2) are without.
_INT8_BEFORE_7 = (6.1,)
_NO_ANSWER = "Python does not answer"
_GPU_ONLY = "only useful with an NVIDIA GPU"
_SYSTEM_VENV = (
    "python3 -m venv --system-site-packages makes an environment that sees the system's packages"
)


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of the report.

    Attributes:
        name: what was looked at.
        status: ok; missing, where tracking works without it; broken, where it does not.
        value: its version or state.
        hint: what to do, or "".
    """

    name: str
    status: Status
    value: str
    hint: str = ""


def diagnose(probe: Probe | None = None) -> list[Fact]:
    """Look at everything that jdetrt can use. Takes a few seconds; changes nothing."""
    probe = probe or Probe()
    board, cards = jetson(probe), gpus(probe)
    return [
        *_python(probe),
        *_computer(probe),
        *_jetson(board),
        *_gpu(probe, board, cards),
        _tensorrt(probe, board, cards),
        *_tensorrt_rtx(probe, board),
        _cuda(probe, cards),
        *_cuda_libraries(probe, cards),
        _onnxruntime(probe, board, cards),
        *_opencv(probe, board),
        *_extras(probe),
    ]


def _python(probe: Probe) -> Iterator[Fact]:
    isolated = sys.prefix != sys.base_prefix
    where = "in a virtual environment" if isolated else "not in a virtual environment"
    yield Fact("Python", "ok", f"{platform.python_version()}, {where}")
    versions = {name: probe.version(name) for name in _BASE}
    missing = [name for name, version in versions.items() if version is None]
    if missing:
        yield Fact("Packages", "broken", f"missing: {', '.join(missing)}", "pip install jdetrt")
    elif (error := _run(probe, f"import {', '.join(_BASE)}").error) is not None:
        hint = f"pip install --upgrade --force-reinstall {' '.join(_BASE)}"
        yield Fact("Packages", "broken", f"do not load: {error}", hint)
    else:
        value = ", ".join(f"{name} {version}" for name, version in versions.items())
        yield Fact("Packages", "ok", value)


def _computer(probe: Probe) -> Iterator[Fact]:
    yield Fact("System", "ok", f"{os_name(probe)}, {platform.machine()}")
    yield Fact("CPU", "ok", f"{cpu_name(probe) or 'name unknown'}, {cores()} cores usable")
    total, free = memory_gib(probe), memory_gib(probe, "MemAvailable")
    if total is None or free is None:
        yield Fact("Memory", "ok", "unknown")
    else:
        hint = "building a plan may run out of memory; add swap, or stop other programs"
        yield Fact("Memory", "ok", f"{total} GiB, {free} GiB free", hint if free < 2 else "")
    try:
        disk = free_disk_gib()
    except OSError as err:
        yield Fact("Disk", "ok", f"unknown ({err.strerror})")
    else:
        hint = "plans and videos may not fit; free some space"
        yield Fact("Disk", "ok", f"{disk} GiB free in this folder", hint if disk < 2 else "")


def _jetson(board: Jetson | None) -> Iterator[Fact]:
    if board is None:
        yield Fact("Jetson", "ok", "no")
        return
    family = TEGRA[board.chip][0] if board.chip in TEGRA else "chip unknown"
    yield Fact("Jetson", "ok", f"{board.model} ({family})")
    yield Fact("L4T", "ok", board.l4t or "release unknown")
    if board.jetpack:
        yield Fact("JetPack", "ok", board.jetpack)
    else:
        hint = "sudo apt-get install nvidia-jetpack brings CUDA and TensorRT"
        yield Fact("JetPack", "missing", "package nvidia-jetpack not installed", hint)
    if board.power_mode:
        hint = "before a benchmark: sudo jetson_clocks"
        yield Fact("Power mode", "ok", board.power_mode, hint)
    else:
        yield Fact("Power mode", "missing", "unknown: nvpmodel does not answer", "sudo nvpmodel -q")


def _gpu(probe: Probe, board: Jetson | None, cards: list[Gpu]) -> Iterator[Fact]:
    if not cards:
        smi = probe.run(("nvidia-smi", "-L"))
        if board is not None:
            value = "the board's GPU has no device files here"
            hint = "in a container: start it with --runtime nvidia"
        elif smi is not None and smi.code != 0:
            value = f"nvidia-smi fails: {_last_line(smi.out + smi.err)}"
            hint = "reinstall the NVIDIA driver, or restart after its update"
        elif probe.text("proc/driver/nvidia/version"):
            value = "a driver is loaded, but nvidia-smi is not installed"
            hint = "install the driver's nvidia-smi; in a container: start it with --gpus all"
        else:
            value = "no NVIDIA GPU, or no driver for it"
            hint = "models run on the CPU through ONNX Runtime; with a card: install its driver"
        yield Fact("GPU", "missing", value, hint)
        return
    for card in cards:
        parts = [card.name]
        parts += [f"driver {card.driver}"] if card.driver else []
        parts += [f"{card.memory_mib} MiB"] if card.memory_mib else []
        parts += [f"compute capability {card.capability}"] if card.capability else []
        yield Fact("GPU", "ok", ", ".join(parts))
    capabilities = [card.capability for card in cards if card.capability is not None]
    if capabilities:
        capability = max(capabilities)
        if capability >= 7.2 or capability in _INT8_BEFORE_7:
            yield Fact("INT8", "ok", "yes")
        else:
            name = board.model if board else cards[0].name
            yield Fact("INT8", "missing", f"{name} has no INT8", "build plans with FP16")


class _Run(NamedTuple):
    """Outcome of a line of Python: its output, or the last line of its error."""

    out: str
    error: str | None


def _run(probe: Probe, code: str) -> _Run:
    done = probe.run((sys.executable, "-c", code))
    if done is None:
        return _Run("", _NO_ANSWER)
    return _Run(done.out.strip(), None if done.code == 0 else _last_line(done.err))


def _tensorrt(probe: Probe, board: Jetson | None, cards: list[Gpu]) -> Fact:
    version = next(filter(None, map(probe.version, TENSORRTS)), None)
    if version is not None:
        hint = "its libraries must match the driver and CUDA; install it again"
        return _python_tensorrt(probe, "TensorRT", "tensorrt", version, hint)
    if system := system_tensorrt(probe):
        value = f"{system} of the system, which this Python does not see"
        return Fact("TensorRT", "missing", value, f"{_SYSTEM_VENV}; or install python3-libnvinfer")
    if board is not None:
        hint = f"sudo apt-get install nvidia-jetpack (never from PyPI here); {_SYSTEM_VENV}"
    else:
        hint = "pip install 'jdetrt[tensorrt]'" if cards else _GPU_ONLY
    return Fact("TensorRT", "missing", "not installed", hint)


def _tensorrt_rtx(probe: Probe, board: Jetson | None) -> Iterator[Fact]:
    """TensorRT-RTX, which is for x86 alone; builds ahead of time need no GPU."""
    version = probe.version("tensorrt-rtx")
    if version is not None:
        hint = "pip install --upgrade --force-reinstall tensorrt-rtx"
        yield _python_tensorrt(probe, "TensorRT-RTX", "tensorrt_rtx", version, hint)
    elif board is None and platform.machine() == "x86_64":
        hint = "to build plans for RTX cards, here or elsewhere: pip install 'jdetrt[rtx]'"
        yield Fact("TensorRT-RTX", "missing", "not installed", hint)


def _python_tensorrt(probe: Probe, name: str, module: str, version: str, hint: str) -> Fact:
    out, error = _run(probe, f"import {module}; print({module}.__version__)")
    if error is not None:
        return Fact(name, "missing", f"{version} does not load: {error}", hint)
    return Fact(name, "ok", out or version)


def _cuda(probe: Probe, cards: list[Gpu]) -> Fact:
    if version := cuda_version(probe):
        return Fact("CUDA", "ok", version)
    hint = "comes with jdetrt[tensorrt] or JetPack" if cards else _GPU_ONLY
    return Fact("CUDA", "missing", "no toolkit and no runtime package", hint)


def _cuda_libraries(probe: Probe, cards: list[Gpu]) -> Iterator[Fact]:
    """Either lets a plan run; the bindings are of the CUDA version that is here, or older."""
    major = (cuda_version(probe) or "").partition(".")[0]
    bound = f"pip install 'cuda-bindings<{int(major) + 1}'" if major.isdecimal() else ""
    for name, package, module, needs in (
        ("PyCUDA", "pycuda", "pycuda.driver", "pip install pycuda (needs the CUDA toolkit)"),
        (
            *("cuda-python", "cuda-bindings", "cuda.bindings.driver"),
            f"in place of PyCUDA: {bound or 'which version: docs/guide/gpu.md'}",
        ),
    ):
        version = probe.version(package)
        if version is None:
            hint = needs if cards else "only useful with TensorRT"
            yield Fact(name, "missing", "not installed", hint)
        elif cards and bound and package == "cuda-bindings" and _newer(version, major):
            value = f"{version} is for CUDA {version.partition('.')[0]}, here is CUDA {major}"
            yield Fact(name, "broken", value, bound)
        # Without a driver it does not load, and need not.
        elif cards and (error := _run(probe, f"import {module}").error) is not None:
            yield Fact(name, "broken", f"{version} does not load: {error}", needs)
        else:
            yield Fact(name, "ok", version)


def _newer(version: str, major: str) -> bool:
    """Tell whether a version is of a later major version."""
    first = version.partition(".")[0]
    return first.isdecimal() and int(first) > int(major)


def _onnxruntime(probe: Probe, board: Jetson | None, cards: list[Gpu]) -> Fact:
    if board is not None and not any(map(probe.version, ("onnxruntime", "onnxruntime-gpu"))):
        hint = "only for ONNX models without TensorRT: pip install 'jdetrt[onnxruntime]'"
        return Fact("ONNX Runtime", "missing", "not installed", hint)
    out, error = _run(
        probe,
        "import onnxruntime as o; print(o.__version__); "
        "print(', '.join(o.get_available_providers()))",
    )
    if error is not None:
        hint = "pip install onnxruntime"
        return Fact("ONNX Runtime", "broken", f"does not load: {error}", hint)
    version, _, providers = out.partition("\n")
    hint = ""
    if cards and "CUDA" not in providers:
        hint = "for its CUDA provider: onnxruntime-gpu in place of onnxruntime"
    return Fact("ONNX Runtime", "ok", f"{version}: {providers}", hint)


def _opencv(probe: Probe, board: Jetson | None) -> Iterator[Fact]:
    out, error = _run(probe, "import cv2; print(cv2.__version__); print(cv2.getBuildInformation())")
    system = (
        f"the OpenCV of JetPack has GStreamer (sudo apt-get install nvidia-opencv); {_SYSTEM_VENV}"
    )
    get = system if board else "pip install 'jdetrt[video]'"
    if error is not None:
        if "No module named 'cv2'" in error or error == _NO_ANSWER:
            value = "not installed: no images, video or cameras"
            yield Fact("OpenCV", "missing", value, get)
        else:
            shared = "cannot open shared object" in error
            hint = "sudo apt-get install libgl1 libglib2.0-0" if shared else get
            yield Fact("OpenCV", "broken", f"does not load: {error}", hint)
        return
    version, _, built = out.partition("\n")
    yield Fact("OpenCV", "ok", version.strip())
    if re.search(r"GStreamer:\s+YES", built):
        yield _elements(probe, board)
        if board and probe.run(("lsmod",)) is None:
            value = "lsmod is not installed: hardware decoding fails without it"
            yield Fact("kmod", "missing", value, "sudo apt-get install kmod")
        return
    if not board:
        system = (
            f"Debian's python3-opencv has it ({_SYSTEM_VENV}); files and USB cameras work without"
        )
    value = "no: CSI cameras and GStreamer pipelines will not open"
    yield Fact("GStreamer", "missing", value, system)


def _elements(probe: Probe, board: Jetson | None) -> Fact:
    missing = missing_elements(probe, jetson=board is not None)
    if missing is None:
        hint = "to have its elements checked: sudo apt-get install gstreamer1.0-tools"
        return Fact("GStreamer", "ok", "yes; elements unknown", hint)
    if missing:
        value = f"OpenCV has it, but these elements are missing: {', '.join(missing)}"
        packages = " ".join(dict.fromkeys(missing.values()))
        return Fact("GStreamer", "missing", value, f"sudo apt-get install {packages}")
    return Fact("GStreamer", "ok", "yes, with all elements")


def _extras(probe: Probe) -> Iterator[Fact]:
    for name, extra, purpose in (
        ("torch", "export", "export, training"),
        ("onnx", "export", "export"),
        ("trackeval", "bench", "jdetrt score"),
    ):
        version = probe.version(name)
        hint = "" if version else f"for {purpose}: pip install 'jdetrt[{extra}]'"
        yield Fact(name, "ok" if version else "missing", version or "not installed", hint)


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else "no message"


def to_dict(facts: list[Fact]) -> dict[str, object]:
    """``{"works": bool, "facts": [{"name", "status", "value", "hint"}, ...]}`` for JSON."""
    return {
        "works": all(fact.status != "broken" for fact in facts),
        "facts": [asdict(fact) for fact in facts],
    }
