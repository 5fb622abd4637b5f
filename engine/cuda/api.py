"""CUDA behind one small interface: buffers, streams, events, graphs, kernels, memory.

pycuda and cuda-python implement it (`engine.cuda.pycuda`, `engine.cuda.cuda_python`), and
a NumPy fake in the tests. Neither library is imported before :func:`open_cuda` is called.

All work on the device's primary context, which TensorRT and torch use as well. Every call but
:func:`open_cuda` and ``close`` belongs into a ``with cuda.current():`` block of the calling thread.
Whatever is made has a ``free`` of its own; freeing something twice is a defect of the caller.
"""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np

from jdetrt.errors import MissingDependencyError, SessionError
from jdetrt.types import Array

__all__ = [
    "Cuda",
    "CudaError",
    "CudaMemoryError",
    "DeviceBuffer",
    "Event",
    "Graph",
    "Kernel",
    "Pinned",
    "Stream",
    "View",
    "explained",
    "free_later",
    "open_cuda",
    "quietly",
]

_log = logging.getLogger(__name__)

# By preference: pycuda as far as it goes; its kernels need nvcc.
BACKENDS = {
    "pycuda": "jdetrt.engine.cuda.pycuda",
    "cuda-python": "jdetrt.engine.cuda.cuda_python",
}
_NO_GPU = (
    "Install NVIDIA's driver (on a Jetson JetPack brings it, in a container the NVIDIA runtime); "
    "`jdetrt doctor` says what is missing."
)


class CudaError(SessionError):
    """A call of the CUDA driver failed."""


class CudaMemoryError(CudaError):
    """The GPU has not enough free memory."""


# What CUDA, TensorRT and C++ say when memory is the reason.
_MEMORY_WORDS = ("out of memory", "outofmemory", "bad_alloc", "failed_alloc")
_LESS_MEMORY = (
    "Close other programs that use the GPU, or take a smaller network size or a plan in FP16"
)


def explained(err: SessionError) -> str:
    """The words of an error; where memory is the reason, also what helps."""
    words = str(err)
    if any(word in words.lower() for word in _MEMORY_WORDS):
        return f"{words}. {_LESS_MEMORY}"
    return words


class _Freed(Protocol):
    def free(self) -> None:
        """Give it back; nothing that was enqueued may still use it."""


_FreedT = TypeVar("_FreedT", bound=_Freed)


def free_later(cleanup: ExitStack, thing: _FreedT) -> _FreedT:
    """Let ``cleanup`` free it, before all that was handed over earlier."""
    cleanup.callback(quietly, thing.free)
    return thing


def quietly(step: Callable[[], object]) -> None:
    """Take a step of an ending. After a fault of the GPU every call fails: that is only logged."""
    try:
        step()
    except CudaError as err:
        _log.info("while freeing: %s", err)


class DeviceBuffer(_Freed, Protocol):
    """Memory of the GPU."""

    @property
    def address(self) -> int:
        """Where it begins."""

    @property
    def nbytes(self) -> int:
        """Length in bytes."""


@dataclass(frozen=True, slots=True)
class View:
    """A part of a `DeviceBuffer`, or of memory that host and GPU share; it is never freed.

    Attributes:
        address: where it begins, for the GPU.
        nbytes: length in bytes.
    """

    address: int
    nbytes: int


class Pinned(_Freed, Protocol):
    """Page-locked memory of the host, which copies can read and write while the CPU goes on."""

    @property
    def array(self) -> Array:
        """The memory; not to be touched after ``free``."""

    @property
    def address(self) -> int:
        """Where the GPU finds it, if it was made to be ``mapped``; else 0."""


class Event(_Freed, Protocol):
    """A point in a stream."""

    def record(self, stream: Stream) -> None:
        """Put it behind all that is enqueued in ``stream``."""

    def synchronize(self) -> None:
        """Sleep until the stream has come to it; at once if it was never recorded."""

    def seconds_since(self, earlier: Event) -> float:
        """Time on the GPU between two events that have both been reached."""


class Stream(_Freed, Protocol):
    """Work of the GPU in order."""

    @property
    def handle(self) -> int:
        """The ``CUstream`` as TensorRT takes it."""

    def synchronize(self) -> None:
        """Wait until all that is enqueued is done."""

    def wait(self, event: Event) -> None:
        """Let what is enqueued from now on begin after ``event``."""


class Graph(_Freed, Protocol):
    """Work that was captured once, to be enqueued by one call."""

    def launch(self, stream: Stream) -> None:
        """Enqueue it."""


class Kernel(_Freed, Protocol):
    """A function that runs on the GPU."""

    def launch(
        self,
        grid: tuple[int, int],
        block: tuple[int, int],
        arguments: Sequence[np.generic],
        stream: Stream,
    ) -> None:
        """Enqueue it with ``grid`` blocks of ``block`` threads, each x and y.

        ``arguments`` are NumPy scalars of the kernel's own types, addresses as ``np.uint64``.
        """


class Cuda(Protocol):
    """One GPU through one library.

    Attributes:
        name: of the library, ``"pycuda"`` or ``"cuda-python"``.
        compute_capability: of the GPU, major and minor.
        integrated: the GPU shares the memory of the CPU, as on a Jetson.
    """

    name: str
    compute_capability: tuple[int, int]
    integrated: bool

    @staticmethod
    def has_graphs() -> bool:
        """True if ``capture`` works."""

    @staticmethod
    def has_kernels() -> bool:
        """True if ``kernel`` finds a compiler."""

    def current(self) -> AbstractContextManager[None]:
        """Make this GPU's context the calling thread's for the block, and then the one before."""

    def memory(self) -> tuple[int, int]:
        """Free and total bytes of the GPU; what other programs use is not free."""

    def buffer(self, nbytes: int) -> DeviceBuffer:
        """Memory of the GPU. Raises CudaMemoryError."""

    def pinned(self, shape: tuple[int, ...], dtype: str, *, mapped: bool = False) -> Pinned:
        """A page-locked array; if ``mapped``, the GPU can use it in place. CudaMemoryError."""

    def stream(self) -> Stream:
        """A stream that waits for no other."""

    def event(self) -> Event:
        """An event that measures time and whose ``synchronize`` leaves the CPU to others."""

    def upload(self, target: DeviceBuffer | View, source: Array, stream: Stream) -> None:
        """Enqueue a copy of all of ``source``, which is page-locked."""

    def download(self, target: Array, source: DeviceBuffer | View, stream: Stream) -> None:
        """Enqueue a copy that fills ``target``, which is page-locked."""

    def copy(
        self, target: DeviceBuffer | View, source: DeviceBuffer | View, stream: Stream
    ) -> None:
        """Enqueue a copy of all of ``source`` to the start of ``target``, on the GPU."""

    def capture(self, stream: Stream, enqueue: Callable[[], None]) -> Graph:
        """Record what ``enqueue`` puts into ``stream``, without running it.

        When ``enqueue`` raises, nothing is left of the capture.
        """

    def kernel(self, source: str, name: str) -> Kernel:
        """Compile CUDA C++ for this GPU and give its function ``name`` (``extern "C"``)."""

    def close(self) -> None:
        """Leave the GPU; a second call does nothing."""


def open_cuda(device: int = 0) -> Cuda:
    """Open a GPU with the library that is installed.

    pycuda comes first. cuda-python takes its place where it is absent, and where pycuda would find
    no compiler for kernels and cuda-python does.

    Args:
        device: number of the GPU, from 0.

    Raises:
        MissingDependencyError: no library is installed.
        CudaError: there is no driver or no such GPU.
    """
    loaded = [_load(name) for name in BACKENDS]
    kinds: list[Any] = [kind for kind in loaded if isinstance(kind, type)]
    broken = [reason for reason in loaded if isinstance(reason, str)]
    if not kinds and broken:
        raise CudaError(f"the GPU cannot be used ({'; '.join(broken)}). {_NO_GPU}")
    if not kinds:
        raise MissingDependencyError("pycuda", "tensorrt", "Running a plan on the GPU")
    kinds.sort(key=lambda kind: not kind.has_kernels())  # stable: the preference else stays
    opened: Cuda = kinds[0](device)
    return opened


def _load(name: str) -> Any:
    """The class of a backend; None if its library is not installed, the reason if it is broken."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pycuda warns of what it then raises
            return importlib.import_module(BACKENDS[name]).Backend
    except ModuleNotFoundError as err:
        if err.name is None or err.name.split(".")[0] not in ("pycuda", "cuda"):
            raise
        return None
    except ImportError as err:  # pycuda.driver is linked to the driver's library
        return f"{name}: {err}"


def no_gpu(library: str, reason: object) -> CudaError:
    """Make the error of a backend whose driver does not start or has no such GPU."""
    return CudaError(f"the GPU cannot be used ({library}: {reason}). {_NO_GPU}")
