"""Versions of the native libraries that decide a speed: CUDA, TensorRT, OpenCV.

On a Jetson they belong to the system and not to Python, so Debian's package list is asked too.
"""

from __future__ import annotations

import re
import sys

from jdetrt.machine.probe import Probe

__all__ = [
    "TENSORRTS",
    "cuda_version",
    "library_versions",
    "opencv_version",
    "system_tensorrt",
    "tensorrt_version",
]

_CUDA_RUNTIMES = ("nvidia-cuda-runtime", "nvidia-cuda-runtime-cu13", "nvidia-cuda-runtime-cu12")
TENSORRTS = ("tensorrt", "tensorrt-cu12", "tensorrt-cu13")
_OPENCVS = ("opencv-python", "opencv-python-headless", "opencv-contrib-python")


def library_versions(probe: Probe) -> dict[str, str | None]:
    """Versions of CUDA, TensorRT and OpenCV; None for one that is not there."""
    return {
        "cuda": cuda_version(probe),
        "tensorrt": tensorrt_version(probe),
        "opencv": opencv_version(probe),
    }


def cuda_version(probe: Probe) -> str | None:
    """The CUDA toolkit's version, else that of the runtime among the Python packages."""
    toolkit = re.search(r"release ([\d.]+)", probe.output("nvcc", "--version") or "")
    toolkit = toolkit or re.search(
        r'"cuda"\s*:\s*{[^}]*"version"\s*:\s*"([\d.]+)"',
        probe.text("usr/local/cuda/version.json") or "",
    )
    if toolkit:
        return f"{toolkit[1]} (toolkit)"
    for name in _CUDA_RUNTIMES:
        if version := probe.version(name):
            return f"{version} (Python package {name})"
    return None


def tensorrt_version(probe: Probe) -> str | None:
    """TensorRT's version: of the Python package, else of the system's library."""
    for name in TENSORRTS:
        if version := probe.version(name):
            return version
    if system := system_tensorrt(probe):
        return f"{system} (system)"
    if rtx := probe.version("tensorrt-rtx"):
        return f"{rtx} (TensorRT-RTX)"
    return None


def system_tensorrt(probe: Probe) -> str | None:
    """Version of the system's libnvinfer, which Python need not see."""
    listed = probe.output("dpkg-query", "-W", "-f", "${Package} ${Version}\n", "libnvinfer[0-9]*")
    match = re.search(r"^libnvinfer\d* (\S+)$", listed or "", re.MULTILINE)
    return match[1] if match else None


def opencv_version(probe: Probe) -> str | None:
    """OpenCV's version: of the Python package, else of whatever ``import cv2`` finds."""
    for name in _OPENCVS:
        if version := probe.version(name):
            return version
    shown = probe.output(sys.executable, "-c", "import cv2; print(cv2.__version__)")
    return f"{shown.splitlines()[0]} (system)" if shown else None
