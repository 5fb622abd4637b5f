"""CUDA graphs through the driver's own library, for pycuda, which has none.

Six calls of ``libcuda.so.1`` by ctypes. A stream of pycuda has the driver's handle, so what pycuda
and TensorRT enqueue there is captured. Source of the signatures: cuda.h of CUDA 11.4 and 12.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any

from jdetrt.engine.cuda.api import CudaError

__all__ = ["DriverGraph", "capture", "has_graphs"]

_LIBRARY = "libcuda.so.1"
_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
_HANDLE, _TARGET = ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p)
_CALLS: dict[str, list[Any]] = {
    "cuStreamBeginCapture_v2": [_HANDLE, ctypes.c_int],
    "cuStreamEndCapture": [_HANDLE, _TARGET],
    "cuGraphLaunch": [_HANDLE, _HANDLE],
    "cuGraphExecDestroy": [_HANDLE],
    "cuGraphDestroy": [_HANDLE],
}
_INSTANTIATE = "cuGraphInstantiateWithFlags"  # from driver 11.4 on
_INSTANTIATE_BEFORE = "cuGraphInstantiate_v2"


@functools.cache
def _driver() -> Any:
    """The library with its signatures; None where it is missing or too old for graphs."""
    try:
        library = ctypes.CDLL(_LIBRARY)
        for name, arguments in _CALLS.items():
            getattr(library, name).argtypes = arguments
        if hasattr(library, _INSTANTIATE):
            getattr(library, _INSTANTIATE).argtypes = [_TARGET, _HANDLE, ctypes.c_ulonglong]
        else:
            text, size = ctypes.c_char_p, ctypes.c_size_t
            arguments = [_TARGET, _HANDLE, _TARGET, text, size]
            getattr(library, _INSTANTIATE_BEFORE).argtypes = arguments
    except (OSError, AttributeError):
        return None
    return library


def has_graphs() -> bool:
    """Tell whether the driver captures graphs, as it does from CUDA 10 on."""
    return _driver() is not None


def _call(what: str, name: str, *arguments: Any) -> None:
    if status := getattr(_driver(), name)(*arguments):
        raise CudaError(f"CUDA failed: {what} (error {status})")


class DriverGraph:
    """A captured graph, ready to run. Implements :class:`jdetrt.engine.cuda.api.Graph`.

    Args:
        captured: the ``CUgraph``; it is destroyed here.
    """

    def __init__(self, captured: ctypes.c_void_p) -> None:
        self._executable = ctypes.c_void_p()
        target = ctypes.byref(self._executable)
        try:
            if hasattr(_driver(), _INSTANTIATE):
                _call("making a graph", _INSTANTIATE, target, captured, 0)
            else:
                _call("making a graph", _INSTANTIATE_BEFORE, target, captured, None, None, 0)
        finally:
            _call("freeing what was captured", "cuGraphDestroy", captured)
        self._launch = _driver().cuGraphLaunch

    def launch(self, stream: Any) -> None:
        """Enqueue it."""
        if status := self._launch(self._executable, stream.handle):
            raise CudaError(f"CUDA failed: starting a graph (error {status})")

    def free(self) -> None:
        """Destroy it."""
        _call("freeing a graph", "cuGraphExecDestroy", self._executable)


def capture(stream: Any, enqueue: Callable[[], None]) -> DriverGraph:
    """Record what ``enqueue`` puts into a stream; other threads may work on meanwhile.

    Args:
        stream: its ``handle`` is a ``CUstream``.
        enqueue: when it raises, nothing is left of the capture.

    Raises:
        CudaError: the driver refuses, for instance because something cannot be captured.
    """
    _call("beginning a capture", "cuStreamBeginCapture_v2", stream.handle, _THREAD_LOCAL)
    captured = ctypes.c_void_p()
    try:
        enqueue()
    except BaseException:
        _driver().cuStreamEndCapture(stream.handle, ctypes.byref(captured))
        if captured:
            _driver().cuGraphDestroy(captured)
        raise
    _call("ending a capture", "cuStreamEndCapture", stream.handle, ctypes.byref(captured))
    return DriverGraph(captured)
