"""A GPU in NumPy behind the interface of `jdetrt.engine.cuda.api`, which punishes misuse.

Nothing that is enqueued happens before somebody waits for it: who reads too early reads noise, who
overwrites too early spoils what is on its way. Calls outside of a ``current()`` block, of the wrong
size, on freed memory, frees in the wrong order, second frees and captures of a stream at work fail
at once; `check_all_freed` finds what was left. An address belongs to one buffer for ever.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from jdetrt.engine.cuda.api import CudaError, CudaMemoryError
from jdetrt.types import Array

__all__ = ["FakeCuda", "MisuseError"]

_NOISE = 0xA5
_SPACE = 1 << 30  # from one address to the next: no buffer is larger

# Runs a kernel: memory of the fake by address, then the arguments.
KernelFunction = Callable[..., None]


class MisuseError(AssertionError):
    """What a real GPU would answer with a crash, a leak or wrong numbers."""


class _Thing:
    """Something that must be freed once, with the context current."""

    def __init__(self, cuda: FakeCuda, kind: str) -> None:
        cuda._creating(kind)
        self.cuda, self.kind, self.alive = cuda, kind, True
        cuda.living.append(self)

    def use(self) -> None:
        self.cuda._check_current()
        if not self.alive:
            raise MisuseError(f"{self.kind} used after it was freed")

    def free(self) -> None:
        self.cuda._check_current()
        if not self.alive:
            raise MisuseError(f"{self.kind} freed twice")
        if any(self in needed for _, needed in self.cuda.pending()):
            raise MisuseError(f"{self.kind} freed while enqueued work still needs it")
        self.alive = False
        self.cuda.living.remove(self)
        self.cuda.freed.append(self.kind)


class _Buffer(_Thing):
    def __init__(self, cuda: FakeCuda, nbytes: int) -> None:
        if nbytes < 1:
            raise MisuseError(f"a buffer of {nbytes} bytes")
        cuda._take(nbytes)
        try:
            super().__init__(cuda, "buffer")
        except CudaError:
            cuda._take(-nbytes)
            raise
        self.nbytes = nbytes
        self.data = np.full(nbytes, _NOISE, np.uint8)
        self.address = next(cuda._addresses) * _SPACE
        cuda.buffers[self.address] = self

    def free(self) -> None:
        super().free()
        self.cuda._take(-self.nbytes)


class _Pinned(_Thing):
    def __init__(
        self, cuda: FakeCuda, shape: tuple[int, ...], dtype: str, *, mapped: bool = False
    ) -> None:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        self.data = np.full(size, _NOISE, np.uint8)
        self.nbytes = size
        self.array: Array = self.data.view(dtype).reshape(shape)
        self.address = 0
        super().__init__(cuda, "pinned")  # last: another thread may look through what is living
        if mapped:
            self.address = next(cuda._addresses) * _SPACE
            cuda.buffers[self.address] = self


class _Event(_Thing):
    def __init__(self, cuda: FakeCuda) -> None:
        super().__init__(cuda, "event")
        self.point: tuple[_Stream, int] | None = None
        self.time = 0.0

    def record(self, stream: _Stream) -> None:
        self.use()
        if self.cuda.capturing is not None:
            raise MisuseError("a timing event recorded in a capture")

        def reached() -> None:
            self.time = self.cuda.clock

        stream._enqueue(reached, (self,))
        self.point = stream, stream.enqueued

    def synchronize(self) -> None:
        self.use()
        self.cuda._fault()
        if self.point is not None:
            self.point[0]._advance(self.point[1])

    def seconds_since(self, earlier: _Event) -> float:
        self.use()
        for event in (self, earlier):
            if event.point is None or event.point[0].done < event.point[1]:
                raise CudaError("CUDA failed: reading a time (not ready)")
        return self.time - earlier.time


class _Stream(_Thing):
    def __init__(self, cuda: FakeCuda) -> None:
        super().__init__(cuda, "stream")
        self.handle = next(cuda._addresses)
        cuda.streams[self.handle] = self
        self.queue: list[tuple[Callable[[], None], tuple[_Thing, ...]]] = []
        self.enqueued = self.done = 0

    def _enqueue(self, work: Callable[[], None], needed: tuple[_Thing, ...]) -> None:
        self.use()
        for thing in needed:
            thing.use()
        if self.cuda.capturing is not None:
            if self.cuda.capturing[0] is not self:
                raise MisuseError("another stream used while one is captured")
            self.cuda.capturing[1].append((work, needed))
            return
        with self.cuda._lock:
            self.queue.append((work, needed))
            self.enqueued += 1

    def _advance(self, to: int) -> None:
        with self.cuda._lock:
            while self.done < to:
                work, _ = self.queue[0]
                work()
                self.cuda.clock += 1e-3
                del self.queue[0]
                self.done += 1

    def synchronize(self) -> None:
        self.use()
        self.cuda._fault()
        self._advance(self.enqueued)

    def wait(self, event: _Event) -> None:
        event.use()
        if event.point is None:
            return
        stream, to = event.point
        self._enqueue(lambda: stream._advance(to), (event,))


class _Graph(_Thing):
    def __init__(self, cuda: FakeCuda, work: list[Any]) -> None:
        super().__init__(cuda, "graph")
        self.work = work
        self.launches = 0

    def launch(self, stream: _Stream) -> None:
        self.use()
        self.launches += 1
        for work, needed in self.work:
            stream._enqueue(work, (self, *needed))


class _Kernel(_Thing):
    def __init__(self, cuda: FakeCuda, function: KernelFunction) -> None:
        super().__init__(cuda, "kernel")
        self.function = function

    def launch(
        self,
        grid: tuple[int, int],
        block: tuple[int, int],
        arguments: Sequence[np.generic],
        stream: _Stream,
    ) -> None:
        self.use()
        needed = tuple(self.cuda.at(int(a))[0] for a in arguments if a.dtype == np.uint64)
        stream._enqueue(lambda: self.function(self.cuda, grid, block, arguments), (self, *needed))


class FakeCuda:
    """Implements :class:`jdetrt.engine.cuda.api.Cuda`.

    Args:
        memory: bytes of the GPU.
        kernels: functions by name, or None for a library without a compiler.
        graphs: whether it can capture.
        fail_at: the how-many-eth creation fails, from 1; 0 for none.
        integrated: whether it shares the memory of the CPU; then copies are a misuse.

    Attributes:
        living: what is not freed.
        freed: kinds in the order in which they were freed, TensorRT's contexts among them.
        fault: when set, all that waits fails with it, as after a fault of the GPU.
        clock: seconds on the GPU; each piece of work takes a millisecond.
    """

    name = "fake"
    compute_capability = (8, 7)

    def __init__(
        self,
        *,
        memory: int = 1 << 30,
        kernels: dict[str, KernelFunction] | None = None,
        graphs: bool = True,
        fail_at: int = 0,
        integrated: bool = False,
    ) -> None:
        self.integrated = integrated
        self.total = self.left = memory
        self.living: list[_Thing] = []
        self.freed: list[str] = []
        self.buffers: dict[int, _Buffer | _Pinned] = {}
        self.streams: dict[int, _Stream] = {}
        self.capturing: tuple[_Stream, list[Any]] | None = None
        self.graphs: list[_Graph] = []
        self.clock = 0.0
        self.fault: CudaError | None = None
        self.closed = False
        self.created = 0
        self._kernels, self._can_capture, self._fail_at = kernels, graphs, fail_at
        self._addresses = itertools.count(1)
        self._lock = threading.RLock()
        self._local = threading.local()

    def has_graphs(self) -> bool:
        return self._can_capture

    def has_kernels(self) -> bool:
        return self._kernels is not None

    @contextmanager
    def current(self) -> Iterator[None]:
        if self.closed:
            raise MisuseError("used after it was closed")
        depth = getattr(self._local, "depth", 0)
        self._local.depth = depth + 1
        try:
            yield
        finally:
            self._local.depth = depth

    def memory(self) -> tuple[int, int]:
        self._check_current()
        return self.left, self.total

    def buffer(self, nbytes: int) -> _Buffer:
        return _Buffer(self, nbytes)

    def pinned(self, shape: tuple[int, ...], dtype: str, *, mapped: bool = False) -> _Pinned:
        return _Pinned(self, shape, dtype, mapped=mapped)

    def stream(self) -> _Stream:
        return _Stream(self)

    def event(self) -> _Event:
        return _Event(self)

    def upload(self, target: Any, source: Array, stream: _Stream) -> None:
        self._refuse_copies()
        self._copy(target, source, source.nbytes, stream, self._pinned_of(source))

    def download(self, target: Array, source: Any, stream: _Stream) -> None:
        self._refuse_copies()
        pinned, (thing, offset) = self._pinned_of(target), self.at(source.address)

        def work() -> None:
            given = thing.data[offset : offset + target.nbytes]
            target.reshape(-1).view(np.uint8)[:] = given

        if target.nbytes > source.nbytes:
            raise MisuseError(f"{target.nbytes} bytes copied from {source.nbytes}")
        stream._enqueue(work, (thing, pinned))

    def copy(self, target: Any, source: Any, stream: _Stream) -> None:
        thing, offset = self.at(source.address)
        self._copy(
            target, thing.data[offset : offset + source.nbytes], source.nbytes, stream, thing
        )

    def _copy(
        self, target: Any, source: Array, nbytes: int, stream: _Stream, needed: _Thing
    ) -> None:
        thing, offset = self.at(target.address)

        def work() -> None:
            thing.data[offset : offset + nbytes] = source.reshape(-1).view(np.uint8)

        if nbytes > target.nbytes:
            raise MisuseError(f"{nbytes} bytes copied into {target.nbytes}")
        stream._enqueue(work, (thing, needed))

    def capture(self, stream: _Stream, enqueue: Callable[[], None]) -> _Graph:
        if not self._can_capture:
            raise MisuseError("a capture with a library that has none")
        stream.use()
        if stream.queue:
            raise MisuseError("a capture of a stream that is at work")
        self.capturing = stream, []
        try:
            enqueue()
            work = self.capturing[1]
        finally:
            self.capturing = None
        graph = _Graph(self, work)
        self.graphs.append(graph)
        return graph

    def kernel(self, source: str, name: str) -> _Kernel:
        if self._kernels is None:
            raise MisuseError("a kernel with a library that has no compiler")
        assert name in source
        return _Kernel(self, self._kernels[name])

    def close(self) -> None:
        self.closed = True

    # ---- what tests and the fake of TensorRT use ------------------------------------------------

    def enqueue(self, handle: int, work: Callable[[], None], addresses: Sequence[int]) -> None:
        """Let ``work``, which uses the memory at ``addresses``, run on the stream ``handle``."""
        self.streams[handle]._enqueue(work, tuple(self.at(a)[0] for a in addresses))

    def view(self, address: int, dtype: str, shape: tuple[int, ...]) -> Array:
        """The memory at an address as an array; it must be long enough."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        thing, offset = self.at(address)
        return thing.data[offset : offset + size].view(dtype).reshape(shape)

    def at(self, address: int) -> tuple[_Buffer | _Pinned, int]:
        """The memory that an address is in, and how far from its beginning."""
        begin = address // _SPACE * _SPACE
        return self.buffers[begin], address - begin

    def pending(self) -> list[Any]:
        """What is enqueued and has not happened."""
        with self._lock:
            return [item for stream in self.streams.values() for item in stream.queue]

    def check_all_freed(self) -> None:
        """Everything is given back, and the GPU left."""
        if self.living:
            raise MisuseError(f"never freed: {[thing.kind for thing in self.living]}")
        if not self.closed:
            raise MisuseError("never closed")

    def _pinned_of(self, array: Array) -> _Pinned:
        for thing in list(self.living):
            if isinstance(thing, _Pinned) and np.shares_memory(thing.array, array):
                return thing
        raise MisuseError("an asynchronous copy with memory that is not page-locked, or freed")

    def _refuse_copies(self) -> None:
        if self.integrated:
            raise MisuseError("a copy where host and GPU share their memory")

    def _check_current(self) -> None:
        if getattr(self._local, "depth", 0) < 1:
            raise MisuseError("the context is not current in this thread")

    def _creating(self, kind: str) -> None:
        self._check_current()
        self.created += 1
        if self.created == self._fail_at:
            raise CudaError(f"CUDA failed: {kind} (made to fail)")

    def _take(self, nbytes: int) -> None:
        self._check_current()
        if nbytes > self.left:
            raise CudaMemoryError(f"out of memory: {nbytes} bytes of GPU memory")
        self.left -= nbytes

    def _fault(self) -> None:
        if self.fault is not None:
            raise self.fault
