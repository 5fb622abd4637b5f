"""TensorRT behind the ``Session`` protocol: a plan file, and frames straight onto the GPU."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from jdetrt.engine.cuda.api import CudaError, explained, free_later, open_cuda, quietly
from jdetrt.engine.cuda.letterbox import LetterboxKernel
from jdetrt.engine.tensorrt.arrays import Arrays
from jdetrt.engine.tensorrt.batches import Batch, padded
from jdetrt.engine.tensorrt.compat import Log, load
from jdetrt.engine.tensorrt.device import current_device
from jdetrt.engine.tensorrt.execution_context import Contexts, captures_itself
from jdetrt.engine.tensorrt.input_buffer import FrameBuffer
from jdetrt.engine.tensorrt.plan import Host, Plan
from jdetrt.engine.tensorrt.run import Streams
from jdetrt.errors import SessionError
from jdetrt.runtime.pixels import Pixels
from jdetrt.runtime.session import SessionBase
from jdetrt.types import Array, Session

__all__ = ["MemoryUse", "TensorRtSession", "memory_of"]

DEPTH = 2  # runs that may be enqueued: one at work, and the next, so that the GPU need not wait
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
    goes on. Images in buffers (`frame_buffers`) are uploaded on a stream of their own, so the next
    one is on its way while the network runs; and one more may be submitted while the network is at
    work, which then goes on by itself.

    Args:
        plan: the plan, or its file; its sidecar is beside it and is checked first.
        graphs: run letterbox and network as one CUDA graph, which costs the CPU less; where the
            driver or the plan does not allow it, that is said once, and they run without.
        gpu_letterbox: letterbox in buffers on the GPU; where no compiler for kernels is found, the
            CPU does it all the same.

    Attributes:
        depth: buffers that may be submitted before one is waited for.
        last_run_seconds: what the network, and the letterbox on the GPU, took in the last run, on
            the GPU's clock.

    Raises:
        PlanMismatchError: the plan was made for another TensorRT or GPU, or is damaged.
        MissingDependencyError: TensorRT or a CUDA library is not installed.
        SessionError: there is no driver, not enough memory, or TensorRT refuses the plan.
    """

    depth = DEPTH

    def __init__(
        self, plan: str | Path | Plan, *, graphs: bool = True, gpu_letterbox: bool = True
    ) -> None:
        plan = plan if isinstance(plan, Plan) else Plan(plan)
        trt = load(plan.sidecar.host.backend)
        plan.check(Host.here(trt, current_device()))
        self._cuda = open_cuda()
        self._cleanup = ExitStack()
        self._streams: Streams | None = None
        self._frame_buffers: list[FrameBuffer] = []
        self._kernels: dict[Pixels, LetterboxKernel] = {}
        self._gpu_letterbox = gpu_letterbox
        self._runs = 0
        self._arrays: Arrays | None = None
        self._batches: dict[tuple[int, ...], list[Batch]] = {}
        self._last: FrameBuffer | Arrays | Batch | None = None
        try:
            with self._cuda.current():
                self._free_before = self._cuda.memory()[0]
                self._peak = 0
                uploads, network, downloads = (
                    free_later(self._cleanup, self._cuda.stream()) for _ in range(3)
                )
                captured = graphs and not captures_itself(trt) and self._can_capture()
                self._streams = Streams(uploads, network, downloads, captured)
                log = Log(trt)
                engine = plan.deserialize(trt, log)
                self._contexts = Contexts(
                    trt, log, engine, self._cuda, self._cleanup, graphs=graphs
                )
        except BaseException as err:
            self._free()
            if isinstance(err, SessionError):
                raise SessionError(f"{plan.path}: {explained(err)}") from err
            raise
        super().__init__(self._contexts.inputs, self._contexts.outputs, plan.metadata)
        self.memory()

    def frame_buffers(self, size: tuple[int, int], count: int) -> Sequence[FrameBuffer]:
        """Buffers for frames of any size, for one user at a time, that live as long as the session.

        Args:
            size: width and height of the network input.
            count: how many.

        Raises:
            SessionError: the plan takes another size, or there is not enough memory.
        """
        return self._make_buffers(size, count, self._start_buffer, least=1)

    def batch_buffers(self, size: tuple[int, int], count: int) -> Sequence[FrameBuffer]:
        """Buffers as of `frame_buffers`, but to be submitted together, by `submit_batch`.

        Raises:
            SessionError: as for `frame_buffers`.
        """
        return self._make_buffers(size, count, None, least=self._contexts.smallest_batch)

    @property
    def largest_batch(self) -> int:
        """Images that one run takes at most."""
        return self._contexts.largest[self.inputs[0].name][0]

    def submit_batch(self, buffers: Sequence[FrameBuffer]) -> None:
        """Start the network on several filled buffers of `batch_buffers` in one run; then ``wait``.

        Up to ``depth`` runs may be open.

        Args:
            buffers: of one size, `largest_batch` of them at most; its outputs have their order.

        Raises:
            SessionError: there are too many, one holds no image, or TensorRT refuses.
        """
        self._check_room(self.depth)
        if not 0 < len(buffers) <= self.largest_batch:
            raise SessionError(
                f"a batch of {len(buffers)} images: the plan takes 1 to {self.largest_batch}"
            )
        for buffer in buffers:
            buffer.check()
        try:
            with self._cuda.current():
                batch = self._batch(len(buffers), buffers[0].shape)
                batch.start(buffers)
        except SessionError as err:
            raise SessionError(explained(err)) from err
        self._open.append(functools.partial(self._finish, batch))

    def _batch(self, count: int, shape: tuple[int, ...]) -> Batch:
        """A batch that is not at the network, for so many images."""
        count = max(padded(count, self.largest_batch), self._contexts.smallest_batch)
        batches = self._batches.setdefault((count, *shape[1:]), [])
        for batch in batches:
            if not batch.open:
                return batch
        assert self._streams is not None
        batches.append(
            Batch(self._contexts, self._cuda, self._streams, (count, *shape[1:]), self._cleanup)
        )
        return batches[-1]

    def _make_buffers(
        self,
        size: tuple[int, int],
        count: int,
        submit: Callable[[FrameBuffer], None] | None,
        *,
        least: int,
    ) -> Sequence[FrameBuffer]:
        if self._closed:
            raise SessionError("the session is closed")
        spec = self.inputs[0]
        shape = (1, 3, size[1], size[0])
        self._contexts.check({spec.name: (least, *shape[1:])})
        assert self._streams is not None
        try:
            with self._cuda.current():
                if self._gpu_letterbox and not self._kernels:
                    self._gpu_letterbox = self._finds_compiler()
                kernels = self._kernel if self._gpu_letterbox else None
                if kernels is not None:
                    kernels("bgr")
                kept = [
                    buffer
                    for buffer in self._frame_buffers
                    if buffer.shape == shape and (buffer.run is None) == (submit is None)
                ]
                for _ in range(count - len(kept)):
                    buffer = FrameBuffer(
                        self._contexts,
                        self._cuda,
                        self._streams,
                        kernels,
                        size,
                        submit,
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
        contexts = self._contexts
        return MemoryUse(contexts.activations, contexts.buffers, used, self._peak, free, total)

    @property
    def last_stage_seconds(self) -> Mapping[str, float]:
        """Times of the last run's copies on the GPU's clock: ``upload`` and ``download``.

        Those of an image in a buffer are known until that is filled again.
        """
        if self._last is None:
            return {}
        assert self._last.run is not None
        with self._cuda.current():
            return {
                "upload": self._last.ready.seconds_since(self._last.sent),
                "download": self._last.run.download_seconds,
            }

    def wait(self) -> dict[str, Array]:
        """Wait for the oldest run that is open and return its outputs by name, as in `Session`."""
        return {name: array.copy() for name, array in self.collect().items()}

    def collect(self) -> dict[str, Array]:
        """Wait as ``wait`` does, without a copy: its outputs are good until the buffer's next use.

        Raises:
            SessionError: no run is open, or the run failed.
        """
        return super().wait()

    def close(self) -> None:
        """Wait for what the GPU has begun and free everything; a second call does nothing."""
        if not self._closed:
            super().close()
            self._free()

    def _start(self, feeds: Mapping[str, Array]) -> Callable[[], dict[str, Array]]:
        self._contexts.check({name: array.shape for name, array in feeds.items()})
        try:
            with self._cuda.current():
                if self._arrays is None:
                    assert self._streams is not None
                    self._arrays = Arrays(self._contexts, self._cuda, self._streams, self._cleanup)
                self._arrays.start(feeds)
        except SessionError as err:
            raise SessionError(explained(err)) from err
        return functools.partial(self._finish, self._arrays)

    def _start_buffer(self, buffer: FrameBuffer) -> None:
        """Start the network on a buffer that is filled."""
        self._check_room(self.depth)
        try:
            with self._cuda.current():
                buffer.start()
        except SessionError as err:
            raise SessionError(explained(err)) from err
        self._open.append(functools.partial(self._finish, buffer))

    def _finish(self, part: FrameBuffer | Arrays | Batch) -> dict[str, Array]:
        try:
            with self._cuda.current():
                outputs = part.finish()
                assert part.run is not None
                self.last_run_seconds = part.run.seconds
        except SessionError as err:
            raise SessionError(explained(err)) from err
        self._last = part
        self._runs += 1
        if self._runs <= _WATCHED_RUNS:
            self.memory()
        return outputs

    def _can_capture(self) -> bool:
        if not self._cuda.has_graphs():
            _log.warning("CUDA graphs are off: %s finds no driver that has them", self._cuda.name)
            return False
        return True

    def _finds_compiler(self) -> bool:
        if self._cuda.has_kernels():
            return True
        _log.warning(
            "%s finds no compiler for kernels (nvcc, or cuda-bindings with NVRTC): the CPU "
            "letterboxes",
            self._cuda.name,
        )
        return False

    def _kernel(self, pixels: Pixels) -> LetterboxKernel:
        """The letterbox of images of a form, compiled when it is first needed."""
        if pixels not in self._kernels:
            kernel = LetterboxKernel(self._cuda, self.inputs[0].dtype, pixels)
            self._kernels[pixels] = free_later(self._cleanup, kernel)
        return self._kernels[pixels]

    def _free(self) -> None:
        with self._cuda.current():
            if self._streams is not None:
                for stream in self._streams.all:
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
