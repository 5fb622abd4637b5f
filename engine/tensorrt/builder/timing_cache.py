"""Kernel timings of TensorRT, kept from build to build.

The second build of a model, or of the same model at another size, takes a fraction of the first.
TensorRT checks itself that a cache is of the same version and GPU.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

from jdetrt.engine.tensorrt.cache_folder import cache_folder, locked
from jdetrt.engine.tensorrt.compat import TensorRt
from jdetrt.engine.tensorrt.device import Device
from jdetrt.errors import SessionError
from jdetrt.files import write_bytes
from jdetrt.inputs import read_bytes
from jdetrt.runtime.signals import interrupt_held

__all__ = ["default_timing_cache", "keep_timings", "use_timings"]

_log = logging.getLogger(__name__)


def default_timing_cache(trt: TensorRt, device: Device | None) -> Path:
    """The file for this TensorRT on this GPU."""
    gpu = "no-gpu"
    if device is not None:  # TensorRT takes the timings of one Orin for those of another
        units = f"{device.multiprocessors}sm" if device.multiprocessors else None
        parts = (device.name, device.compute_capability, units, device.board)
        gpu = "-".join(part for part in parts if part)
    name = re.sub(r"[^\w.-]+", "_", f"{trt.backend}-{trt.version}-{gpu}")
    return cache_folder() / "timing" / f"{name}.cache"


def use_timings(config: Any, path: Path) -> Any:
    """Let a build use the timings of a file, which may not exist yet.

    Args:
        config: the ``IBuilderConfig`` of the build.
        path: the file.

    Returns:
        The ``ITimingCache``, to which the build adds what it times.
    """
    cache = _read(config, path)
    if cache is None or not config.set_timing_cache(cache, False):
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)
    return cache


def keep_timings(config: Any, cache: Any, path: Path) -> None:
    """Write the timings of a build that succeeded.

    The file is written whole, and together with what other processes wrote in the meantime.

    Raises:
        OutputError: it cannot be written.
    """
    with locked(path), interrupt_held():  # TensorRT swallows what is raised in its logger
        if (others := _read(config, path)) is not None:
            cache.combine(others, False)
        write_bytes(path, bytes(memoryview(cache.serialize())))


def _read(config: Any, path: Path) -> Any | None:
    """The cache in a file; None where there is none, or where TensorRT does not take it."""
    if not path.exists():
        return None
    try:
        data = read_bytes(path, SessionError)
    except SessionError as err:
        _log.warning("%s; kernels are timed again", err)
        return None
    cache = config.create_timing_cache(data)
    if cache is None:
        _log.warning("%s: TensorRT does not accept it; kernels are timed again", path)
    return cache
