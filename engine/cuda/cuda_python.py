"""cuda-python (the package cuda-bindings) behind the interface of `jdetrt.engine.cuda.api`.

It imports without a driver and has graphs; kernels are compiled by NVRTC (`engine.cuda.nvrtc`).
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from cuda.bindings import driver

from jdetrt.engine.cuda.api import CudaError, CudaMemoryError, DeviceBuffer, View, no_gpu
from jdetrt.engine.cuda.nvrtc import compile_kernel, has_nvrtc
from jdetrt.types import Array

__all__ = ["Backend"]


def _call(what: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call the driver; give what it gives without the status: nothing, one value, or a tuple."""
    status, *values = function(*arguments)
    if status == driver.CUresult.CUDA_ERROR_OUT_OF_MEMORY:
        raise CudaMemoryError(f"out of memory: {what}")
    if status != driver.CUresult.CUDA_SUCCESS:
        raise CudaError(f"CUDA failed: {what} ({status.name})")
    return values[0] if len(values) == 1 else tuple(values)


class _Buffer:
    def __init__(self, nbytes: int) -> None:
        pointer = _call(f"{nbytes} bytes of GPU memory", driver.cuMemAlloc, nbytes)
        self.address = int(pointer)
        self.nbytes = nbytes

    def free(self) -> None:
        _call("freeing GPU memory", driver.cuMemFree, self.address)


class _Pinned:
    def __init__(self, shape: tuple[int, ...], dtype: str, *, mapped: bool) -> None:
        nbytes = math.prod(shape) * np.dtype(dtype).itemsize
        what = f"page-locked memory for {dtype} {shape}"
        flags = driver.CU_MEMHOSTALLOC_PORTABLE
        flags |= driver.CU_MEMHOSTALLOC_DEVICEMAP if mapped else 0
        self._address = int(_call(what, driver.cuMemHostAlloc, nbytes, flags))
        self.address = 0
        if mapped:
            self.address = int(_call(what, driver.cuMemHostGetDevicePointer, self._address, 0))
        memory = (ctypes.c_byte * nbytes).from_address(self._address)
        self.array: Array = np.ctypeslib.as_array(memory).view(dtype).reshape(shape)

    def free(self) -> None:
        _call("freeing page-locked memory", driver.cuMemFreeHost, self._address)


class _Event:
    def __init__(self) -> None:
        flags = driver.CUevent_flags.CU_EVENT_BLOCKING_SYNC.value
        self.handle = _call("an event", driver.cuEventCreate, flags)

    def record(self, stream: Any) -> None:
        _call("recording an event", driver.cuEventRecord, self.handle, stream.raw)

    def synchronize(self) -> None:
        _call("waiting for the GPU", driver.cuEventSynchronize, self.handle)

    def seconds_since(self, earlier: Any) -> float:
        elapsed = _call("reading a time", driver.cuEventElapsedTime, earlier.handle, self.handle)
        return float(elapsed) / 1e3  # milliseconds

    def free(self) -> None:
        _call("freeing an event", driver.cuEventDestroy, self.handle)


class _Stream:
    def __init__(self) -> None:
        flags = driver.CUstream_flags.CU_STREAM_NON_BLOCKING.value
        self.raw = _call("a stream", driver.cuStreamCreate, flags)
        self.handle = int(self.raw)

    def synchronize(self) -> None:
        _call("waiting for the GPU", driver.cuStreamSynchronize, self.raw)

    def wait(self, event: Any) -> None:
        _call("waiting for an event", driver.cuStreamWaitEvent, self.raw, event.handle, 0)

    def free(self) -> None:
        _call("freeing a stream", driver.cuStreamDestroy, self.raw)


class _Graph:
    def __init__(self, captured: Any) -> None:
        try:
            self._executable = _call("making a graph", driver.cuGraphInstantiate, captured, 0)
        finally:
            _call("freeing what was captured", driver.cuGraphDestroy, captured)

    def launch(self, stream: Any) -> None:
        _call("starting a graph", driver.cuGraphLaunch, self._executable, stream.raw)

    def free(self) -> None:
        _call("freeing a graph", driver.cuGraphExecDestroy, self._executable)


class _Kernel:
    def __init__(self, binary: bytes, name: str) -> None:
        # Kept as long as the module: some versions read it later.
        self._binary = np.frombuffer(binary, np.uint8)
        self._module = _call("loading a kernel", driver.cuModuleLoadData, self._binary.ctypes.data)
        self._function = _call(
            f"finding the kernel {name}",
            driver.cuModuleGetFunction,
            self._module,
            name.encode(),
        )

    def launch(
        self,
        grid: tuple[int, int],
        block: tuple[int, int],
        arguments: Sequence[np.generic],
        stream: Any,
    ) -> None:
        values = [np.atleast_1d(argument) for argument in arguments]
        addresses = np.array([value.ctypes.data for value in values], np.uint64)
        shape = (*grid, 1, *block, 1)
        _call(
            "starting a kernel",
            driver.cuLaunchKernel,
            self._function,
            *shape,
            0,  # bytes of shared memory
            stream.raw,
            addresses.ctypes.data,
            0,  # no other form of arguments
        )

    def free(self) -> None:
        _call("freeing a kernel", driver.cuModuleUnload, self._module)


class Backend:
    """A GPU through cuda-python. Implements :class:`jdetrt.engine.cuda.api.Cuda`."""

    name = "cuda-python"

    def __init__(self, device: int) -> None:
        try:
            _call("starting the driver", driver.cuInit, 0)
            self._device = _call(f"GPU {device}", driver.cuDeviceGet, device)
            self._context = _call("its context", driver.cuDevicePrimaryCtxRetain, self._device)
        except RuntimeError as err:  # no libcuda
            raise no_gpu(self.name, err) from err
        except CudaError as err:
            raise no_gpu(self.name, err) from err
        self._open = True
        attribute = driver.CUdevice_attribute
        major, minor, integrated = (
            _call("its attributes", driver.cuDeviceGetAttribute, which, self._device)
            for which in (
                attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
                attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
                attribute.CU_DEVICE_ATTRIBUTE_INTEGRATED,
            )
        )
        self.compute_capability = (int(major), int(minor))
        self.integrated = bool(integrated)

    @staticmethod
    def has_graphs() -> bool:
        """True if CUDA graphs can be captured."""
        return True

    @staticmethod
    def has_kernels() -> bool:
        """True if NVRTC, which compiles the kernels, is installed."""
        return has_nvrtc()

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the context the thread's for the block."""
        _call("entering the context", driver.cuCtxPushCurrent, self._context)
        try:
            yield
        finally:
            _call("leaving the context", driver.cuCtxPopCurrent)

    def memory(self) -> tuple[int, int]:
        """Free and total bytes."""
        free, total = _call("reading the free memory", driver.cuMemGetInfo)
        return int(free), int(total)

    def buffer(self, nbytes: int) -> _Buffer:
        """Memory of the GPU."""
        return _Buffer(nbytes)

    def pinned(self, shape: tuple[int, ...], dtype: str, *, mapped: bool = False) -> _Pinned:
        """A page-locked array."""
        return _Pinned(shape, dtype, mapped=mapped)

    def stream(self) -> _Stream:
        """A stream that waits for no other."""
        return _Stream()

    def event(self) -> _Event:
        """An event."""
        return _Event()

    def upload(self, target: DeviceBuffer | View, source: Array, stream: Any) -> None:
        """Enqueue a copy to the GPU."""
        _call(
            "copying to the GPU",
            driver.cuMemcpyHtoDAsync,
            target.address,
            source.ctypes.data,
            source.nbytes,
            stream.raw,
        )

    def download(self, target: Array, source: DeviceBuffer | View, stream: Any) -> None:
        """Enqueue a copy from the GPU."""
        _call(
            "copying from the GPU",
            driver.cuMemcpyDtoHAsync,
            target.ctypes.data,
            source.address,
            target.nbytes,
            stream.raw,
        )

    def copy(self, target: DeviceBuffer | View, source: DeviceBuffer | View, stream: Any) -> None:
        """Enqueue a copy on the GPU."""
        _call(
            "copying on the GPU",
            driver.cuMemcpyDtoDAsync,
            target.address,
            source.address,
            source.nbytes,
            stream.raw,
        )

    def capture(self, stream: Any, enqueue: Callable[[], None]) -> _Graph:
        """Record what ``enqueue`` puts into ``stream``; other threads may work on meanwhile."""
        mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        _call("beginning a capture", driver.cuStreamBeginCapture, stream.raw, mode)
        try:
            enqueue()
        except BaseException:
            status, captured = driver.cuStreamEndCapture(stream.raw)
            if status == driver.CUresult.CUDA_SUCCESS:
                driver.cuGraphDestroy(captured)
            raise
        return _Graph(_call("ending a capture", driver.cuStreamEndCapture, stream.raw))

    def kernel(self, source: str, name: str) -> _Kernel:
        """Compile a kernel for this GPU."""
        return _Kernel(compile_kernel(source, self.compute_capability), name)

    def close(self) -> None:
        """Give the context back; a second call does nothing."""
        if self._open:
            self._open = False
            _call("leaving the GPU", driver.cuDevicePrimaryCtxRelease, self._device)
