"""One execution context of a plan, its buffers on the GPU, and how a run is enqueued."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from jdetrt.engine.cuda.api import (
    Cuda,
    CudaError,
    DeviceBuffer,
    Event,
    Graph,
    Pinned,
    Stream,
    free_later,
)
from jdetrt.engine.tensorrt.compat import Log, TensorRt, device_memory_size, io_specs
from jdetrt.errors import SessionError
from jdetrt.runtime.signals import interrupt_held
from jdetrt.types import Array, TensorSpec

__all__ = ["DEPTH", "Execution", "Run", "Shapes", "mib", "nbytes"]

Shapes = Mapping[str, tuple[int, ...]]  # by name of the input
DEPTH = 2  # runs that may be enqueued: one at work, and the next, so that the GPU need not wait


@dataclass(slots=True, eq=False)
class Run:
    """Where the outputs of a run arrive; used again once it is finished.

    Attributes:
        results: on the host, by name of the output.
        shapes: of the outputs.
        begin: reached when the network begins.
        end: reached when it is done.
        done: reached when all outputs have arrived.
    """

    results: dict[str, Pinned]
    shapes: dict[str, tuple[int, ...]]
    begin: Event
    end: Event
    done: Event


class Execution:
    """Runs a plan on one stream; up to ``DEPTH`` runs may be enqueued before one is finished.

    Everything is allocated once, for the largest shapes that the plan takes. A CUDA graph is
    captured once a run of a shape has ended: it lets TensorRT set up what it needs. A graph
    keeps the addresses that it was captured with, so with graphs the inputs are copied on the GPU
    into buffers of their own; a change of shape drops the graph.

    Args:
        trt: the module.
        log: tells why TensorRT refuses.
        engine: an ``ICudaEngine``.
        cuda: the GPU; its context is current here and at every call.
        cleanup: frees everything; to be closed while the context is current.
        graphs: whether to replay a CUDA graph. TensorRT-RTX captures by itself.

    Attributes:
        inputs: what the plan takes.
        outputs: what it gives.
        activations: bytes of GPU memory that the context needs.
        buffers: bytes of GPU memory of the inputs and outputs.
        shapes: of the inputs in the last run; at first the largest.
        seconds: what the network took in the last run, on the GPU's clock, without copies.
        download_seconds: what the copies of its outputs took after it.

    Raises:
        SessionError: TensorRT makes no context, or an output has a size that is only known when the
            plan has run.
        CudaMemoryError: the GPU has not enough free memory.
    """

    def __init__(
        self,
        trt: TensorRt,
        log: Log,
        engine: Any,
        cuda: Cuda,
        cleanup: ExitStack,
        *,
        graphs: bool = False,
    ) -> None:
        self.inputs, self.outputs = io_specs(trt, engine)
        self.activations = device_memory_size(engine)
        self.seconds = self.download_seconds = 0.0
        self._cuda, self._log = cuda, log
        self._limits = {spec.name: _limits(engine, spec) for spec in self.inputs}
        self._graphs = graphs and not captures_itself(trt)
        with interrupt_held():
            self._context = _create_context(trt, engine, cuda, log, captured=graphs)
        cleanup.callback(self._drop_context)
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._set_shapes({name: largest for name, (_, largest) in self._limits.items()})
        self.input_buffers = {
            spec.name: self._buffer(self.shapes[spec.name], spec.dtype, cleanup)
            for spec in self.inputs
        }
        self._output_buffers: dict[str, DeviceBuffer] = {}
        for spec in self.outputs:
            shape = self._shape(spec.name)
            self._output_buffers[spec.name] = self._buffer(shape, spec.dtype, cleanup)
        self._runs = deque(self._new_run(cleanup) for _ in range(DEPTH))
        buffers = (*self.input_buffers.values(), *self._output_buffers.values())
        self.buffers = sum(buffer.nbytes for buffer in buffers)
        cleanup.callback(self._drop_graph)
        self._graph: Graph | None = None
        self._warm = False

    def check(self, shapes: Shapes) -> None:
        """Refuse shapes that the plan was not built for. Raises SessionError."""
        for name, shape in shapes.items():
            low, high = self._limits[name]
            if not all(a <= d <= b for a, d, b in zip(low, shape, high, strict=True)):
                raise SessionError(
                    f"input '{name}': the plan was built for shapes from {low} to {high}, "
                    f"got {shape}; build it with --batch for others"
                )

    def start(
        self,
        shapes: Shapes,
        sources: Mapping[str, DeviceBuffer],
        stream: Stream,
    ) -> Run:
        """Enqueue a run: the network, and the copies of its outputs to the host.

        Args:
            shapes: of the inputs, checked; others than before only when no run is open.
            sources: where the inputs lie on the GPU.
            stream: where all is enqueued, the same for all runs.

        Returns:
            What `finish` takes, in the order of the runs.

        Raises:
            SessionError: TensorRT refuses, for example for want of memory.
        """
        if shapes != self.shapes:
            self._drop_graph()
            self._set_shapes(shapes)
            self._warm = False
        if self._graphs:
            for name, own in self.input_buffers.items():
                if sources[name] is not own:
                    self._cuda.copy(own, sources[name], stream)
            sources = self.input_buffers
            if self._graph is None and self._warm:
                stream.synchronize()  # nothing of TensorRT's is at work while it is recorded
                self._bind(sources)
                self._graph = self._capture(stream)
        run = self._runs[0]
        run.begin.record(stream)
        if self._graph is not None:
            self._graph.launch(stream)
        else:
            self._bind(sources)
            self._execute(stream)
        run.end.record(stream)
        run.shapes = {name: self._shape(name) for name in run.results}
        for name, shape in run.shapes.items():
            taken = run.results[name].array[: math.prod(shape)]
            self._cuda.download(taken, self._output_buffers[name], stream)
        run.done.record(stream)
        self._runs.rotate(-1)  # last: a run that fails above is not open, and is taken again
        return run

    def finish(self, run: Run) -> dict[str, Array]:
        """Wait for a run that was started; give its outputs, which are the caller's."""
        run.done.synchronize()
        self._warm = True
        self.seconds = run.end.seconds_since(run.begin)
        self.download_seconds = run.done.seconds_since(run.end)
        return {
            name: run.results[name].array[: math.prod(shape)].reshape(shape).copy()
            for name, shape in run.shapes.items()
        }

    def _new_run(self, cleanup: ExitStack) -> Run:
        results = {}
        for spec in self.outputs:
            pinned = self._cuda.pinned((math.prod(self._shape(spec.name)),), spec.dtype)
            results[spec.name] = free_later(cleanup, pinned)
        begin, end, done = (free_later(cleanup, self._cuda.event()) for _ in range(3))
        return Run(results, {}, begin, end, done)

    def _bind(self, sources: Mapping[str, DeviceBuffer]) -> None:
        for name, buffer in {**sources, **self._output_buffers}.items():
            if not self._context.set_tensor_address(name, buffer.address):
                raise SessionError(f"TensorRT refuses '{name}': {self._log.reason()}")

    def _execute(self, stream: Stream) -> None:
        # Before it is warm TensorRT compiles and logs, and would swallow Ctrl-C.
        with nullcontext() if self._warm else interrupt_held():
            done = self._context.execute_async_v3(stream.handle)
        if not done:
            raise SessionError(f"TensorRT cannot run the plan: {self._log.reason()}")

    def _capture(self, stream: Stream) -> Graph:
        try:
            return self._cuda.capture(stream, lambda: self._execute(stream))
        except SessionError as err:
            raise SessionError(
                f"the plan cannot be captured as a CUDA graph ({err}); run it without"
            ) from err

    def _set_shapes(self, shapes: Shapes) -> None:
        self.shapes = {}  # should TensorRT refuse: set them again at the next run
        for name, shape in shapes.items():
            if not self._context.set_input_shape(name, shape):
                raise SessionError(f"input '{name}': TensorRT refuses {shape}")
        self.shapes = dict(shapes)
        for spec in self.outputs:
            if min(self._shape(spec.name), default=0) < 0:
                raise SessionError(
                    f"output '{spec.name}': its size {self._shape(spec.name)} is known only "
                    f"after a run; such plans are not supported"
                )

    def _shape(self, name: str) -> tuple[int, ...]:
        return tuple(int(d) for d in self._context.get_tensor_shape(name))

    def _buffer(self, shape: tuple[int, ...], dtype: str, cleanup: ExitStack) -> DeviceBuffer:
        return free_later(cleanup, self._cuda.buffer(nbytes(shape, dtype)))

    def _drop_graph(self) -> None:
        if self._graph is not None:
            graph, self._graph = self._graph, None
            graph.free()

    def _drop_context(self) -> None:
        self._context = None


def nbytes(shape: tuple[int, ...], dtype: str) -> int:
    """Bytes of an array; at least one, as the driver gives none for nothing.

    >>> nbytes((2, 3), "float32")
    24
    """
    return max(math.prod(shape) * np.dtype(dtype).itemsize, 1)


def mib(size: float) -> str:
    """A size for people.

    >>> mib(3 << 20)
    '3 MiB'
    """
    return f"{size / (1 << 20):.0f} MiB"


def captures_itself(trt: TensorRt) -> bool:
    """True if this TensorRT makes its own CUDA graphs, as TensorRT-RTX does."""
    return hasattr(trt.module, "CudaGraphStrategy")


def _limits(engine: Any, spec: TensorSpec) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The smallest and the largest shape of an input."""
    if -1 not in spec.shape:
        return spec.shape, spec.shape
    low, _, high = engine.get_tensor_profile_shape(spec.name, 0)
    return tuple(int(d) for d in low), tuple(int(d) for d in high)


def _create_context(trt: TensorRt, engine: Any, cuda: Cuda, log: Log, *, captured: bool) -> Any:
    if captured and captures_itself(trt):
        runtime_config = engine.create_runtime_config()
        runtime_config.cuda_graph_strategy = trt.module.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        context = engine.create_execution_context(runtime_config)
    else:
        context = engine.create_execution_context()
    if context is None:
        free, total = cuda.memory()
        raise CudaError(
            f"TensorRT cannot make an execution context: {log.reason()}. It needs "
            f"{mib(device_memory_size(engine))} of GPU memory for activations; {mib(free)} of "
            f"{mib(total)} are free"
        )
    return context
