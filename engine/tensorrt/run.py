"""One run of a plan, made once and started again and again: bound, and captured as a CUDA graph."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass

from jdetrt.engine.cuda.api import Cuda, DeviceBuffer, Graph, Stream, View, free_later
from jdetrt.engine.cuda.exchange import Exchange
from jdetrt.engine.tensorrt.execution_context import Contexts, Shapes, nbytes
from jdetrt.errors import SessionError
from jdetrt.runtime.signals import interrupt_held
from jdetrt.types import Array

__all__ = ["Run", "Streams"]

_ALIGNMENT = 256  # of the address of every input and output, as TensorRT wants it

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Streams:
    """The streams of a session.

    Attributes:
        uploads: images on their way to the GPU.
        network: letterbox and network.
        downloads: outputs on their way back.
        graphs: whether runs are captured; ceases at the first that cannot be.
    """

    uploads: Stream
    network: Stream
    downloads: Stream
    graphs: bool

    @property
    def all(self) -> tuple[Stream, ...]:
        """All of them."""
        return self.uploads, self.network, self.downloads


class Run:
    """An execution context with its inputs, its outputs and, from the second start on, a graph.

    The graph holds what makes the input ready on the GPU, such as the letterbox, and the network.
    The outputs follow on a stream of their own, because a graph ends with its last part: were they
    in it, the next run would begin only once they had arrived.

    Args:
        contexts: where its context comes from.
        cuda: the GPU; its context is current here and at every call.
        streams: where it is enqueued.
        inputs: where the inputs lie on the GPU, by name; room for ``shapes``.
        shapes: of the inputs, the largest that it is to take.
        cleanup: frees everything; to be closed while the context is current and nothing runs.

    Attributes:
        shapes: of the inputs.
        begin: reached when it begins.
        end: reached when the network is done.
        done: reached when the outputs are on the host.

    Raises:
        SessionError: an output has a size that is only known when the plan has run.
        CudaError: TensorRT makes no context, or there is not enough memory.
    """

    def __init__(
        self,
        contexts: Contexts,
        cuda: Cuda,
        streams: Streams,
        inputs: Mapping[str, DeviceBuffer | View],
        shapes: Shapes,
        cleanup: ExitStack,
    ) -> None:
        self._contexts, self._cuda, self._streams, self._inputs = contexts, cuda, streams, inputs
        self._context = contexts.context()
        cleanup.callback(self._drop_context)
        self._set_shapes(shapes)
        self._exchange = Exchange(cuda, self._size, cleanup)
        self.begin, self.end, self.done = (free_later(cleanup, cuda.event()) for _ in range(3))
        self._results: dict[str, Array] = {}
        self._graph: Graph | None = None
        cleanup.callback(self.drop_graph)
        self._warm = False
        self._bind()
        self.shapes = shapes

    def reshape(self, shapes: Shapes) -> None:
        """Take inputs of other shapes from the next start on. Raises SessionError."""
        if shapes != self.shapes:
            self.drop_graph()
            self._warm = False
            self.shapes = {}  # should TensorRT refuse: set them again at the next start
            self._set_shapes(shapes)
            self._bind()
            self.shapes = shapes

    def start(self, prepare: Callable[[Stream], None] | None = None) -> None:
        """Enqueue it.

        Args:
            prepare: enqueues in the stream it is given what makes the inputs ready. It becomes part
                of the graph: after another one than before call `drop_graph`.

        Raises:
            SessionError: TensorRT refuses, for example for want of memory.
        """
        stream = self._streams.network
        if self._graph is None and self._warm and self._streams.graphs:
            self._graph = self._capture(prepare)
        self.begin.record(stream)
        if self._graph is not None:
            self._graph.launch(stream)
        else:
            self._enqueue(prepare)
        self.end.record(stream)
        if self._exchange.copies:
            stream = self._streams.downloads
            stream.wait(self.end)
            self._exchange.download(self._size, stream)
        self.done.record(stream)

    def finish(self) -> dict[str, Array]:
        """Wait for it; give its outputs, which it overwrites when it is started again."""
        self.done.synchronize()
        self._warm = True
        return self._results

    @property
    def seconds(self) -> float:
        """Time of the last run on the GPU's clock, without copies."""
        return self.end.seconds_since(self.begin)

    @property
    def download_seconds(self) -> float:
        """Time that the copies of its outputs took after it."""
        return self.done.seconds_since(self.end)

    def drop_graph(self) -> None:
        """Forget the graph; nothing of it may be at work. The next start captures anew."""
        if self._graph is not None:
            graph, self._graph = self._graph, None
            graph.free()

    def _enqueue(self, prepare: Callable[[Stream], None] | None) -> None:
        stream = self._streams.network
        if prepare is not None:
            prepare(stream)
        # Before it is warm TensorRT compiles and logs, and would swallow Ctrl-C.
        with nullcontext() if self._warm else interrupt_held():
            enqueued = self._context.execute_async_v3(stream.handle)
        if not enqueued:
            raise SessionError(f"TensorRT cannot run the plan: {self._contexts.log.reason()}")

    def _capture(self, prepare: Callable[[Stream], None] | None) -> Graph | None:
        stream = self._streams.network
        stream.synchronize()  # nothing of TensorRT's is at work while it is recorded
        try:
            return self._cuda.capture(stream, lambda: self._enqueue(prepare))
        except SessionError as err:
            self._streams.graphs = False
            _log.warning("CUDA graphs are off, this plan cannot be captured as one: %s", err)
            return None

    def _bind(self) -> None:
        """Tell the context where its inputs and outputs are."""
        addresses = {name: buffer.address for name, buffer in self._inputs.items()}
        for name, offset in self._offsets.items():
            addresses[name] = self._exchange.device.address + offset
        for name, address in addresses.items():
            if not self._context.set_tensor_address(name, address):
                raise SessionError(f"TensorRT refuses '{name}': {self._contexts.log.reason()}")
        self._results = {
            spec.name: self._exchange.array(
                self._offsets[spec.name], self._outputs[spec.name], spec.dtype
            )
            for spec in self._contexts.outputs
        }

    def _set_shapes(self, shapes: Shapes) -> None:
        """Set the shapes, and lay the outputs out in their common memory, one behind the other."""
        self._outputs = self._contexts.set_shapes(self._context, shapes)
        self._offsets: dict[str, int] = {}
        self._size = 0
        for spec in self._contexts.outputs:
            self._offsets[spec.name] = self._size
            size = nbytes(self._outputs[spec.name], spec.dtype)
            self._size += -(-size // _ALIGNMENT) * _ALIGNMENT

    def _drop_context(self) -> None:
        self._context = None
