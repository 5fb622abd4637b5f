"""Stand-ins for ``pycuda.driver`` and ``cuda.bindings``: the GPU is the memory of the host.

They are shaped like pycuda 2026.1 and cuda-bindings 13 where the backends touch them. All work is
done at once, but in a capture; addresses are real, and so is what a kernel reads of its arguments.
Each counts what it has handed out and not got back: ``module.living``.
"""

from __future__ import annotations

import ctypes
import enum
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

__all__ = ["fake_bindings", "fake_pycuda"]

MEMORY = 1 << 20

# Runs a kernel: its name, grid, block, and the address of each argument.
Run = Callable[[str, tuple[int, ...], tuple[int, ...], list[int]], None]


def _module(name: str, **content: Any) -> Any:
    module = ModuleType(name)
    module.__dict__.update(content)
    return module


class _Result(enum.IntEnum):
    CUDA_SUCCESS = 0
    CUDA_ERROR_INVALID_VALUE = 1
    CUDA_ERROR_OUT_OF_MEMORY = 2
    CUDA_ERROR_INVALID_CONTEXT = 201


class _NvrtcResult(enum.IntEnum):
    NVRTC_SUCCESS = 0
    NVRTC_ERROR_COMPILATION = 6


class _Driver:
    """The functions of ``cuda.bindings.driver``: a status first, then what they give."""

    def __init__(self, run: Run, *, driver: bool) -> None:
        self.run, self.there = run, driver
        self.living: dict[int, Any] = {}
        self.contexts: list[int] = []
        self.retained = 0
        self.left = MEMORY
        self.integrated = 0
        self.captured: list[Callable[[], None]] | None = None
        self.clock = 0.0
        self.handles = iter(range(1, 1 << 20))

    def _new(self, thing: Any) -> Any:
        if not self.contexts:
            return (_Result.CUDA_ERROR_INVALID_CONTEXT, 0)
        handle = next(self.handles)
        self.living[handle] = thing
        return (_Result.CUDA_SUCCESS, handle)

    def _drop(self, handle: int) -> Any:
        if handle not in self.living:
            return (_Result.CUDA_ERROR_INVALID_VALUE,)
        del self.living[handle]
        return (_Result.CUDA_SUCCESS,)

    def _do(self, work: Callable[[], object]) -> Any:
        if self.captured is None:
            work()
        else:
            self.captured.append(lambda: (work(), None)[1])
        return (_Result.CUDA_SUCCESS,)

    def _allocate(self, size: int) -> Any:
        if size > self.left:
            return (_Result.CUDA_ERROR_OUT_OF_MEMORY, 0)
        memory = np.zeros(size, np.uint8)
        self.left -= size
        self.living[memory.ctypes.data] = memory
        return (_Result.CUDA_SUCCESS, memory.ctypes.data)

    def _release(self, address: int) -> Any:
        self.left += self.living[int(address)].size
        return self._drop(int(address))

    def functions(self) -> dict[str, Any]:
        ok = _Result.CUDA_SUCCESS
        done = (ok,)

        def init(flags: int) -> Any:
            if not self.there:
                raise RuntimeError('"cuda" is an NVIDIA driver library and cannot be found')
            return done

        def retain(device: int) -> Any:
            self.retained += 1
            return (ok, 77)

        def leave(device: int) -> Any:
            if self.retained == 0:
                return (_Result.CUDA_ERROR_INVALID_CONTEXT,)
            self.retained -= 1
            return done

        def push(context: int) -> Any:
            self.contexts.append(context)
            return done

        def record(event: int, stream: int) -> Any:
            self.clock += 2.0
            self.living[event] = self.clock
            return done

        def begin(stream: int, mode: Any) -> Any:
            assert mode.name.endswith("THREAD_LOCAL")
            self.captured = []
            return done

        def end(stream: int) -> Any:
            work, self.captured = self.captured, None
            return self._new(work)

        def copy(target: int, source: int, size: int, stream: int) -> Any:
            return self._do(lambda: ctypes.memmove(int(target), int(source), size))

        def launch(function: str, *values: Any) -> Any:
            *shape, shared, _stream, parameters, extra = values
            assert (shared, extra, shape[2], shape[5]) == (0, 0, 1, 1)
            count = ctypes.cast(parameters, ctypes.POINTER(ctypes.c_void_p))
            addresses = [int(count[i] or 0) for i in range(13)]
            self.run(function, tuple(shape[:2]), tuple(shape[3:5]), addresses)
            return done

        def play(graph: int, stream: int) -> Any:
            for work in self.living[graph]:
                work()
            return done

        return {
            "cuInit": init,
            "cuDeviceGet": lambda n: (ok, n) if n == 0 else (_Result.CUDA_ERROR_INVALID_VALUE, 0),
            "cuDevicePrimaryCtxRetain": retain,
            "cuDevicePrimaryCtxRelease": leave,
            "cuDeviceGetAttribute": lambda which, device: (
                ok,
                {18: self.integrated, 75: 8, 76: 7}[which.value],
            ),
            "cuCtxPushCurrent": push,
            "cuCtxPopCurrent": lambda: (ok, self.contexts.pop()),
            "cuMemGetInfo": lambda: (ok, self.left, MEMORY),
            "cuMemAlloc": self._allocate,
            "cuMemFree": self._release,
            "cuMemHostAlloc": lambda size, flags: self._allocate(size),
            "cuMemHostGetDevicePointer": lambda address, flags: (ok, int(address)),
            "cuMemFreeHost": self._release,
            "cuStreamCreate": lambda flags: self._new("stream"),
            "cuStreamDestroy": self._drop,
            "cuStreamSynchronize": lambda stream: done,
            "cuStreamWaitEvent": lambda stream, event, flags: done,
            "cuEventCreate": lambda flags: self._new(None),
            "cuEventDestroy": self._drop,
            "cuEventRecord": record,
            "cuEventSynchronize": lambda event: done,
            "cuEventElapsedTime": lambda a, b: (ok, self.living[b] - self.living[a]),
            "cuMemcpyHtoDAsync": copy,
            "cuMemcpyDtoHAsync": copy,
            "cuMemcpyDtoDAsync": copy,
            "cuStreamBeginCapture": begin,
            "cuStreamEndCapture": end,
            "cuGraphInstantiate": lambda graph, flags: self._new(self.living[graph]),
            "cuGraphDestroy": self._drop,
            "cuGraphLaunch": play,
            "cuGraphExecDestroy": self._drop,
            "cuModuleLoadData": lambda image: self._new("module"),
            "cuModuleGetFunction": lambda module, name: (ok, name.decode()),
            "cuModuleUnload": self._drop,
            "cuLaunchKernel": launch,
        }


def fake_bindings(run: Run, *, driver: bool = True) -> dict[str, Any]:
    """``cuda``, ``cuda.bindings`` and its modules ``driver`` and ``nvrtc``, by name."""
    state = _Driver(run, driver=driver)
    fake = _module(
        "cuda.bindings.driver",
        **state.functions(),
        CUresult=_Result,
        CU_MEMHOSTALLOC_PORTABLE=1,
        CU_MEMHOSTALLOC_DEVICEMAP=2,
        CUevent_flags=enum.Enum("CUevent_flags", {"CU_EVENT_BLOCKING_SYNC": 1}),
        CUstream_flags=enum.Enum("CUstream_flags", {"CU_STREAM_NON_BLOCKING": 1}),
        CUstreamCaptureMode=enum.Enum(
            "CUstreamCaptureMode", {"CU_STREAM_CAPTURE_MODE_THREAD_LOCAL": 1}
        ),
        CUdevice_attribute=enum.Enum(
            "CUdevice_attribute",
            {
                "CU_DEVICE_ATTRIBUTE_INTEGRATED": 18,
                "CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR": 75,
                "CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR": 76,
            },
        ),
        state=state,
    )
    result = _NvrtcResult
    nvrtc = _module(
        "cuda.bindings.nvrtc",
        nvrtcResult=result,
        nvrtcVersion=lambda: (result(0), 13, 0),
        nvrtcCreateProgram=lambda *arguments: (result(0), arguments[0]),
        nvrtcCompileProgram=lambda program, n, options: (result(6 if b"!" in program else 0),),
        nvrtcGetProgramLogSize=lambda program: (result(0), 12),
        nvrtcGetProgramLog=lambda program, log: _write(log, b"line 1: '!'\0", result(0)),
        nvrtcGetCUBINSize=lambda program: (result(0), 5),
        nvrtcGetCUBIN=lambda program, binary: _write(binary, b"cubin", result(0)),
        nvrtcDestroyProgram=lambda program: (result(0),),
    )
    bindings = _module("cuda.bindings", driver=fake, nvrtc=nvrtc, __path__=[])
    return {
        "cuda": _module("cuda", bindings=bindings, __path__=[]),
        "cuda.bindings": bindings,
        "cuda.bindings.driver": fake,
        "cuda.bindings.nvrtc": nvrtc,
    }


def _write(target: bytes, text: bytes, status: Any) -> Any:
    # NVRTC writes into the caller's bytes as well.
    address = ctypes.cast(ctypes.c_char_p(target), ctypes.c_void_p).value
    assert address is not None
    ctypes.memmove(address, text, len(text))
    return (status,)


class _PycudaError(Exception):
    pass


class _PycudaMemoryError(_PycudaError):
    pass


class _Pycuda:
    """The classes of ``pycuda.driver``."""

    def __init__(self, run: Run, *, driver: bool) -> None:
        self.run = run
        self.living: list[Any] = []
        self.stack: list[Any] = []
        self.left = MEMORY
        self.there = driver
        self.integrated = 0
        self.clock = 0.0

    def content(self) -> dict[str, Any]:
        state = self

        class Handle:
            """Destroyed with its last reference, which must be let go in its context."""

            def __init__(self, flags: int = 0) -> None:
                assert state.stack, "no context is current"
                self.flags = flags
                self.handle = id(self)
                state.living.append(self.handle)

            def __del__(self) -> None:
                assert state.stack, "freed without a context"
                state.living.remove(self.handle)

        class Stream(Handle):
            def synchronize(self) -> None: ...

            def wait_for_event(self, event: Any) -> None:
                assert isinstance(event, Event)

        class Event(Handle):
            def record(self, stream: Any) -> Event:
                assert isinstance(stream, Stream)
                state.clock += 2.0
                self.at = state.clock
                return self

            def synchronize(self) -> Event:
                return self

            def time_since(self, event: Any) -> float:
                return float(self.at - event.at)

        class Allocation:
            def __init__(self, size: int) -> None:
                assert state.stack, "no context is current"
                if size > state.left:
                    raise _PycudaMemoryError("cuMemAlloc failed: out of memory")
                state.left -= size
                self.memory = np.zeros(size, np.uint8)
                state.living.append(self)

            def __int__(self) -> int:
                return int(self.memory.ctypes.data)

            def get_device_pointer(self) -> int:
                return int(self)

            def free(self) -> None:
                state.living.remove(self)  # a second time is an error
                state.left += self.memory.size

        class Pagelocked(np.ndarray):
            base = property(lambda self: self.allocation)

        def pagelocked_empty(shape: tuple[int, ...], dtype: str, *, mem_flags: int) -> Any:
            assert mem_flags in (0, 2)
            size = int(np.prod(shape)) * np.dtype(dtype).itemsize
            allocation = Allocation(size)
            array = allocation.memory.view(dtype).reshape(shape).view(Pagelocked)
            array.allocation = allocation  # type: ignore[attr-defined]
            return array

        class Context:
            def push(self) -> None:
                state.stack.append(self)

            @staticmethod
            def pop() -> None:
                state.stack.pop()

            @staticmethod
            def get_device() -> Any:
                return Device(0)

        class Device:
            def __init__(self, number: int) -> None:
                if not state.there or number:
                    raise _PycudaError("cuDeviceGet failed: invalid device ordinal")

            def retain_primary_context(self) -> Any:
                return Context()

            def compute_capability(self) -> tuple[int, int]:
                return (8, 7)

            def get_attribute(self, which: int) -> int:
                return {18: state.integrated}[which]

        def to_gpu(target: int, source: Any, stream: Any) -> None:
            assert isinstance(stream, Stream)
            ctypes.memmove(target, source.ctypes.data, source.nbytes)

        def from_gpu(target: Any, source: int, stream: Any) -> None:
            assert isinstance(stream, Stream)
            ctypes.memmove(target.ctypes.data, source, target.nbytes)

        def on_gpu(target: int, source: int, size: int, stream: Any) -> None:
            assert isinstance(stream, Stream)
            ctypes.memmove(target, source, size)

        return {
            "Error": _PycudaError,
            "MemoryError": _PycudaMemoryError,
            "Device": Device,
            "Context": Context,
            "Stream": Stream,
            "Event": Event,
            "device_attribute": enum.IntEnum("device_attribute", {"INTEGRATED": 18}),
            "host_alloc_flags": enum.IntEnum("host_alloc_flags", {"PORTABLE": 1, "DEVICEMAP": 2}),
            "event_flags": enum.IntEnum("event_flags", {"BLOCKING_SYNC": 1}),
            "init": lambda: None,
            "mem_alloc": Allocation,
            "mem_get_info": lambda: (state.left, MEMORY),
            "pagelocked_empty": pagelocked_empty,
            "memcpy_htod_async": to_gpu,
            "memcpy_dtoh_async": from_gpu,
            "memcpy_dtod_async": on_gpu,
            "state": state,
        }


def fake_pycuda(run: Run, *, driver: bool = True) -> dict[str, Any]:
    """``pycuda``, ``pycuda.driver`` and ``pycuda.compiler``, by name."""
    state = _Pycuda(run, driver=driver)
    fake = _module("pycuda.driver", **state.content())

    class SourceModule:
        def __init__(self, source: str, *, no_extern_c: bool) -> None:
            assert no_extern_c
            if "!" in source:
                raise _PycudaError("nvcc compilation failed: line 1: '!'")

        def get_function(self, name: str) -> Any:
            def function(*arguments: Any, grid: Any, block: Any, stream: Any) -> None:
                assert isinstance(stream, fake.Stream)
                assert block[2] == 1
                values = [np.atleast_1d(argument) for argument in arguments]
                state.run(name, tuple(grid), tuple(block[:2]), [v.ctypes.data for v in values])

            return function

    compiler = _module("pycuda.compiler", SourceModule=SourceModule)
    package = _module("pycuda", driver=fake, compiler=compiler, __path__=[])
    return {"pycuda": package, "pycuda.driver": fake, "pycuda.compiler": compiler}
