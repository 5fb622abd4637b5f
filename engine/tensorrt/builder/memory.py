"""Memory of a build: check that it fits, and limit the share of kernels.

On a Jetson GPU and CPU share their memory: a build that takes too much is killed by the system, and
with it whatever else runs there.
"""

from __future__ import annotations

import logging
from typing import NamedTuple

from jdetrt.engine.tensorrt.device import Device, host_memory
from jdetrt.errors import BuildError

__all__ = ["Workspace", "check_memory", "default_workspace", "needed", "page_cache_advice"]

_log = logging.getLogger(__name__)

# A build held 3.7 times the bytes of the ONNX file of Darknet-53 in float32 at its peak (that of
# TensorRT-RTX ahead of time); the libraries hold some 200 MB before there is a model.
_TIMES_THE_MODEL = 4
_LIBRARIES = 256 << 20
_MIB = 1 << 20
# Less than this and kernels for whole layers are missing. A build that takes what swap gives it
# leaves memory that can be used for this.
_LEAST_WORKSPACE = 128 * _MIB


def needed(model_bytes: int) -> int:
    """Bytes of memory that the build of a model of this size takes, at least."""
    return _TIMES_THE_MODEL * model_bytes + _LIBRARIES


def check_memory(model_bytes: int, memory: tuple[int, int] | None = None) -> None:
    """Refuse a build for which there is not enough memory and swap.

    Args:
        model_bytes: of the ONNX file, weights included.
        memory: bytes that are available, and of free swap; None for what this machine says.

    Raises:
        BuildError: there is too little.
    """
    memory = memory or host_memory()
    if memory is None:
        return
    available, swap = memory
    if (need := needed(model_bytes)) > available + swap:
        raise BuildError(
            f"building this model takes about {need // _MIB} MiB of memory, of which "
            f"{available // _MIB} MiB are free and {swap // _MIB} MiB are free swap: the "
            f"system would kill the build. Close programs, add swap, or build on a machine "
            f"of the same kind with more memory"
        )


class Workspace(NamedTuple):
    """Bytes that a kernel may use, None for no limit; and what the figure comes from."""

    bytes: int | None
    source: str


def default_workspace(
    device: Device | None, model_bytes: int, memory: tuple[int, int] | None = None
) -> Workspace:
    """Memory that a kernel may use for its intermediate results: half of what is free.

    On a Jetson, where the build itself takes its share of the same memory, half of what is left,
    but 128 MiB at least. There the system's word counts and not CUDA's, which takes the files in
    the page cache for memory in use; the system gives that back when it is asked for.

    Args:
        device: the GPU; without one (ahead of time) there is no limit.
        model_bytes: of the ONNX file, weights included.
        memory: as in `check_memory`.
    """
    if device is None:
        return Workspace(None, "no limit ahead of time")
    free, source = device.free, "half of the free GPU memory"
    memory = memory or host_memory()
    if device.integrated and memory is not None:
        free, source = memory[0] - needed(model_bytes), "half of MemAvailable less the build's own"
    if free // 2 < _LEAST_WORKSPACE:
        _log.warning(
            "little memory is free: kernels may use %d MiB, and TensorRT leaves faster ones out; "
            "close programs before a build, or set --workspace (MiB)",
            _LEAST_WORKSPACE // _MIB,
        )
        return Workspace(_LEAST_WORKSPACE, f"the least; {source} is less")
    return Workspace(free // 2, source)


def page_cache_advice(device: Device | None, memory: tuple[int, int] | None = None) -> str:
    """Advise to drop the page cache where that is what lacks; "" where it is not.

    Args:
        device: the GPU, as it was before the build.
        memory: as in `check_memory`.
    """
    memory = memory or host_memory()
    if device is None or not device.integrated or memory is None:
        return ""
    cached = memory[0] - device.free
    if cached < _LEAST_WORKSPACE or device.free > memory[0] // 2:
        return ""
    return (
        f"Some {cached // _MIB} MiB hold files that were read (page cache), of which the GPU's "
        "driver may get too little: sync && echo 3 | sudo tee /proc/sys/vm/drop_caches"
    )
