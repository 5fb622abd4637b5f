"""TensorRT behind the ``Session`` protocol: a plan file, and frames straight onto the GPU."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from jdetrt.engine.cuda.api import (
    CudaError,
    DeviceBuffer,
    Event,
    Pinned,
    Stream,
    explained,
    free_later,
    open_cuda,
    quietly,
)
from jdetrt.engine.cuda.letterbox import LetterboxKernel
from jdetrt.engine.tensorrt.compat import Log, load
from jdetrt.engine.tensorrt.device import current_device
from jdetrt.engine.tensorrt.execution_context import DEPTH, Execution, Run, Shapes, captures_itself
from jdetrt.engine.tensorrt.input_buffer import FrameBuffer
from jdetrt.engine.tensorrt.plan import Host, Plan
from jdetrt.errors import SessionError
from jdetrt.runtime.session import SessionBase
from jdetrt.types import Array, Session

__all__ = ["MemoryUse", "TensorRtSession", "memory_of"]

_WATCHED_RUNS = 3  # TensorRT allocates in the first, a graph is captured in the second

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """GPU memory, in bytes.

    Attributes:
        activations: what TensorRT says that its execution context needs.
        buffers: inputs and outputs of the plan.
        used: by how much the free memory has become less since the session was opened: weights,
            code, buffers and all. It is the driver's count of the whole GPU, so what other programs
            took or freed meanwhile is in it.
        peak: the largest ``used`` seen: after loading, after buffers were made, in the first runs
            and whenever this was asked for.
        free: what is left.
        total: what the GPU has.
    """

    activations: int
    buffers: int
    used: int
    peak: int
    free: int
    total: int


class TensorRtSession(SessionBase):
    """A plan of ``jdetrt build``. Implements `jdetrt.types.Session` and `BufferedSession`.

    ``submit`` enqueues and returns: between it and ``wait`` the GPU works and the caller's Python
    goes on. Images in buffers (`frame_buffers`) are uploaded and letterboxed on a stream of their
    own, so the next one is on its way while the network runs; and one more may be submitted while
    the network is at work, which then goes on by itself.

    Args:
        plan: the plan, or its file; its sidecar is beside it and is checked first.
        graphs: replay the network as a CUDA graph, which costs the CPU less.
        gpu_letterbox: letterbox in buffers on the GPU; where no compiler for kernels is found, the
            CPU does it all the same.

    Attributes:
        depth: buffers that may be submitted before one is waited for.
        last_run_seconds: what the network took in the last run, on the GPU's clock.
        last_stage_seconds: what went before and after it, on the same clock: ``upload`` of
            arrays, or of an image with its letterbox, and ``download`` of the outputs.

    Raises:
        PlanMismatchError: the plan was made for another TensorRT or GPU, or is damaged.
        MissingDependencyError: TensorRT or a CUDA library is not installed.
        SessionError: there is no driver, not enough memory, or TensorRT refuses the plan.
    """

    depth = DEPTH

    def __init__(
        self, plan: str | Path | Plan, *, graphs: bool = False, gpu_letterbox: bool = True
    ) -> None:
        plan = plan if isinstance(plan, Plan) else Plan(plan)
        trt = load(plan.sidecar.host.backend)
        plan.check(Host.here(trt, current_device()))
        self._cuda = open_cuda(graphs=graphs and not captures_itself(trt))
        self._cleanup = ExitStack()
        self._streams: list[Stream] = []
        self._frame_buffers: list[FrameBuffer] = []
        self._staging: dict[str, Pinned] = {}
        self._kernel: LetterboxKernel | None = None
        self._gpu_letterbox = gpu_letterbox
        self._runs = 0
        self.last_stage_seconds: dict[str, float] = {}
        try:
            with self._cuda.current():
                self._free_before = self._cuda.memory()[0]
                self._peak = 0
                self._stream, self._copies = self._new_stream(), self._new_stream()
                self._sent, self._ready = (
                    free_later(self._cleanup, self._cuda.event()) for _ in range(2)
                )
                log = Log(trt)
                engine = plan.deserialize(trt, log)
                self._execution = Execution(
                    trt, log, engine, self._cuda, self._cleanup, graphs=graphs
                )
        except BaseException as err:
            self._free()
            if isinstance(err, SessionError):
                raise SessionError(f"{plan.path}: {explained(err)}") from err
            raise
        super().__init__(self._execution.inputs, self._execution.outputs, plan.metadata)
        self.memory()

    def frame_buffers(self, size: tuple[int, int], count: int) -> Sequence[FrameBuffer]:
        """Buffers for frames of any size, for one user at a time, that live as long as the session.

        Args:
            size: width and height of the network input.
            count: how many.

        Raises:
            SessionError: the plan takes another size, or there is not enough memory.
        """
        if self._closed:
            raise SessionError("the session is closed")
        spec = self.inputs[0]
        shape = (1, 3, size[1], size[0])
        self._execution.check({spec.name: shape})
        try:
            with self._cuda.current():
                if self._gpu_letterbox and self._kernel is None:
                    self._kernel = self._compile(spec.dtype)
                kept = [buffer for buffer in self._frame_buffers if buffer.shape == shape]
                for _ in range(count - len(kept)):
                    buffer = FrameBuffer(
                        self._cuda, self._copies, self._kernel, size, spec.dtype, self._run_buffer
                    )
                    self._frame_buffers.append(buffer)
                    kept.append(buffer)
        except CudaError as err:
            raise SessionError(explained(err)) from err
        self.memory()
        return kept[:count]

    def memory(self) -> MemoryUse:
        """GPU memory now, and the most that was used. Raises SessionError once closed."""
        if self._closed:
            raise SessionError("the session is closed")
        with self._cuda.current():
            free, total = self._cuda.memory()
        used = self._free_before - free
        self._peak = max(self._peak, used)
        execution = self._execution
        return MemoryUse(execution.activations, execution.buffers, used, self._peak, free, total)

    def close(self) -> None:
        """Wait for what the GPU has begun and free everything; a second call does nothing."""
        if not self._closed:
            super().close()
            self._free()

    def _start(self, feeds: Mapping[str, Array]) -> Callable[[], dict[str, Array]]:
        shapes = {name: array.shape for name, array in feeds.items()}
        self._execution.check(shapes)
        with self._cuda.current():
            buffers = self._execution.input_buffers
            try:
                self._upload(feeds, buffers)
            except CudaError as err:
                raise SessionError(explained(err)) from err
            return self._begin(shapes, buffers, self._sent, self._ready)

    def _upload(self, feeds: Mapping[str, Array], buffers: Mapping[str, DeviceBuffer]) -> None:
        self._sent.record(self._stream)
        for spec in self._inputs:
            array = feeds[spec.name]
            if spec.name not in self._staging:
                size = buffers[spec.name].nbytes // array.itemsize
                pinned = self._cuda.pinned((size,), spec.dtype)
                self._staging[spec.name] = free_later(self._cleanup, pinned)
            taken = self._staging[spec.name].array[: array.size]
            taken.reshape(array.shape)[...] = array
            self._cuda.upload(buffers[spec.name], taken, self._stream)
        self._ready.record(self._stream)

    def _run_buffer(self, buffer: FrameBuffer) -> None:
        """Start the network on a buffer that is filled."""
        name = self._inputs[0].name
        shapes = {name: buffer.shape}
        self._check_room(self.depth if shapes == self._execution.shapes else 1)
        with self._cuda.current():
            run = self._begin(shapes, {name: buffer.buffer}, buffer.sent, buffer.ready)
            self._open.append(run)

    def _begin(
        self, shapes: Shapes, sources: Mapping[str, DeviceBuffer], sent: Event, ready: Event
    ) -> Callable[[], dict[str, Array]]:
        self._stream.wait(ready)
        try:
            run = self._execution.start(shapes, sources, self._stream)
        except SessionError as err:
            raise SessionError(explained(err)) from err
        return lambda: self._finish(run, sent, ready)

    def _finish(self, run: Run, sent: Event, ready: Event) -> dict[str, Array]:
        try:
            with self._cuda.current():
                outputs = self._execution.finish(run)
                upload = ready.seconds_since(sent)
        except SessionError as err:
            raise SessionError(explained(err)) from err
        self.last_run_seconds = self._execution.seconds
        download = self._execution.download_seconds
        self.last_stage_seconds = {"upload": upload, "download": download}
        self._runs += 1
        if self._runs <= _WATCHED_RUNS:
            self.memory()
        return outputs

    def _new_stream(self) -> Stream:
        stream = free_later(self._cleanup, self._cuda.stream())
        self._streams.append(stream)
        return stream

    def _compile(self, dtype: str) -> LetterboxKernel | None:
        if not self._cuda.has_kernels():
            _log.warning(
                "%s finds no compiler for kernels (nvcc, or cuda-bindings with NVRTC): the CPU "
                "letterboxes",
                self._cuda.name,
            )
            self._gpu_letterbox = False
            return None
        return free_later(self._cleanup, LetterboxKernel(self._cuda, dtype))

    def _free(self) -> None:
        with self._cuda.current():
            for stream in self._streams:
                quietly(stream.synchronize)
            for buffer in self._frame_buffers:
                buffer.free()
            self._cleanup.close()
        quietly(self._cuda.close)


def memory_of(session: Session) -> MemoryUse | None:
    """GPU memory that a session takes; None where it is not known: no plan runs, or a GPU fault."""
    with suppress(SessionError):
        return session.memory() if isinstance(session, TensorRtSession) else None
    return None
