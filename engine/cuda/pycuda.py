"""pycuda behind the interface of `jdetrt.engine.cuda.api`.

Importing this module imports ``pycuda.driver``, which fails where there is no driver. pycuda
2026.1 has neither stream capture nor graphs: `engine.cuda.driver_graphs` asks the driver itself.
It compiles kernels with nvcc.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pycuda.driver as driver

from jdetrt.engine.cuda.api import (
    CudaError,
    CudaMemoryError,
    DeviceBuffer,
    Event,
    Graph,
    Stream,
    View,
    no_gpu,
)
from jdetrt.engine.cuda.driver_graphs import capture, has_graphs
from jdetrt.types import Array

__all__ = ["Backend"]

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING, cuda.h


@contextmanager
def _calls(what: str) -> Iterator[None]:
    try:
        yield
    except driver.MemoryError as err:
        raise CudaMemoryError(f"out of memory: {what} ({err})") from err
    except driver.Error as err:
        raise CudaError(f"CUDA failed: {what} ({err})") from err


@functools.cache
def _primary_context(device: int) -> Any:
    """Retained once and kept: pycuda gives it back when the process ends."""
    driver.init()
    return driver.Device(device).retain_primary_context()


class _Buffer:
    def __init__(self, nbytes: int) -> None:
        with _calls(f"{nbytes} bytes of GPU memory"):
            self._memory = driver.mem_alloc(nbytes)
        self.address = int(self._memory)
        self.nbytes = nbytes

    def free(self) -> None:
        self._memory.free()


class _Pinned:
    def __init__(self, shape: tuple[int, ...], dtype: str, *, mapped: bool) -> None:
        flags = driver.host_alloc_flags.DEVICEMAP if mapped else 0
        with _calls(f"page-locked memory for {dtype} {shape}"):
            self.array: Array = driver.pagelocked_empty(shape, dtype, mem_flags=flags)
            allocation: Any = self.array.base
            self.address = int(allocation.get_device_pointer()) if mapped else 0

    def free(self) -> None:
        self.array.base.free()  # type: ignore[union-attr]  # a pycuda allocation


class _Event:
    def __init__(self) -> None:
        with _calls("an event"):
            self.event = driver.Event(driver.event_flags.BLOCKING_SYNC)

    def record(self, stream: Any) -> None:
        with _calls("recording an event"):
            self.event.record(stream.stream)

    def synchronize(self) -> None:
        with _calls("waiting for the GPU"):
            self.event.synchronize()

    def seconds_since(self, earlier: Any) -> float:
        with _calls("reading a time"):
            return float(self.event.time_since(earlier.event)) / 1e3  # milliseconds

    def free(self) -> None:
        self.event = None


class _Stream:
    def __init__(self) -> None:
        with _calls("a stream"):
            self.stream = driver.Stream(_NON_BLOCKING)
        self.handle = int(self.stream.handle)

    def synchronize(self) -> None:
        with _calls("waiting for the GPU"):
            self.stream.synchronize()

    def wait(self, event: Any) -> None:
        with _calls("waiting for an event"):
            self.stream.wait_for_event(event.event)

    def free(self) -> None:
        self.stream = None


class _Kernel:
    def __init__(self, source: str, name: str) -> None:
        # Not at the top: it is only there for those who compile.
        from pycuda.compiler import SourceModule

        with _calls(f"compiling the kernel {name}"):
            module = SourceModule(source, no_extern_c=True)
            self._function = module.get_function(name)

    def launch(
        self,
        grid: tuple[int, int],
        block: tuple[int, int],
        arguments: Sequence[np.generic],
        stream: Any,
    ) -> None:
        with _calls("starting a kernel"):
            self._function(*arguments, grid=grid, block=(*block, 1), stream=stream.stream)

    def free(self) -> None:
        self._function = None


class Backend:
    """A GPU through pycuda. Implements :class:`jdetrt.engine.cuda.api.Cuda`."""

    name = "pycuda"

    def __init__(self, device: int) -> None:
        try:
            self._context = _primary_context(device)
            with self.current():
                gpu = driver.Context.get_device()
                self.compute_capability: tuple[int, int] = gpu.compute_capability()
                self.integrated = bool(gpu.get_attribute(driver.device_attribute.INTEGRATED))
        except driver.Error as err:
            raise no_gpu(self.name, err) from err

    @staticmethod
    def has_graphs() -> bool:
        """True if the driver captures CUDA graphs."""
        return has_graphs()

    @staticmethod
    def has_kernels() -> bool:
        """True if nvcc, which pycuda compiles with, is installed."""
        return shutil.which("nvcc") is not None

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the context the thread's for the block."""
        self._context.push()
        try:
            yield
        finally:
            driver.Context.pop()

    def memory(self) -> tuple[int, int]:
        """Free and total bytes."""
        with _calls("reading the free memory"):
            free, total = driver.mem_get_info()
        return int(free), int(total)

    def buffer(self, nbytes: int) -> DeviceBuffer:
        """Memory of the GPU."""
        return _Buffer(nbytes)

    def pinned(self, shape: tuple[int, ...], dtype: str, *, mapped: bool = False) -> _Pinned:
        """A page-locked array."""
        return _Pinned(shape, dtype, mapped=mapped)

    def stream(self) -> Stream:
        """A stream that waits for no other."""
        return _Stream()

    def event(self) -> Event:
        """An event."""
        return _Event()

    def upload(self, target: DeviceBuffer | View, source: Array, stream: Any) -> None:
        """Enqueue a copy to the GPU."""
        with _calls("copying to the GPU"):
            driver.memcpy_htod_async(target.address, source, stream.stream)

    def download(self, target: Array, source: DeviceBuffer | View, stream: Any) -> None:
        """Enqueue a copy from the GPU."""
        with _calls("copying from the GPU"):
            driver.memcpy_dtoh_async(target, source.address, stream.stream)

    def copy(self, target: DeviceBuffer | View, source: DeviceBuffer | View, stream: Any) -> None:
        """Enqueue a copy on the GPU."""
        with _calls("copying on the GPU"):
            driver.memcpy_dtod_async(target.address, source.address, source.nbytes, stream.stream)

    def capture(self, stream: Stream, enqueue: Callable[[], None]) -> Graph:
        """Record what ``enqueue`` puts into ``stream``; other threads may work on meanwhile."""
        return capture(stream, enqueue)

    def kernel(self, source: str, name: str) -> _Kernel:
        """Compile a kernel with nvcc; pycuda keeps what it compiled."""
        return _Kernel(source, name)

    def close(self) -> None:
        """The context is shared and stays."""
