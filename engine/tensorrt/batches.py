"""Images of several input buffers in one run of the network."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from jdetrt.engine.cuda.api import Cuda, Event, View, free_later
from jdetrt.engine.tensorrt.execution_context import Contexts, nbytes
from jdetrt.engine.tensorrt.input_buffer import FrameBuffer
from jdetrt.engine.tensorrt.run import Run, Streams
from jdetrt.errors import SessionError
from jdetrt.types import Array

__all__ = ["Batch", "padded"]


def padded(count: int, largest: int) -> int:
    """Size of the batch that so many images go in: few sizes, and each has its graph.

    >>> [padded(count, 6) for count in (1, 2, 3, 4, 5, 6)]
    [1, 2, 4, 4, 6, 6]
    """
    return min(1 << (count - 1).bit_length(), largest)


class Batch:
    """The network input of several images one behind the other, and its run.

    The letterbox of each image writes into its part of the input. These are no part of the graph,
    because a frame may come in any buffer; the network is. What the parts behind the last image
    hold does not matter: nobody reads their outputs.

    Args:
        contexts: of the plan.
        cuda: the GPU; its context is current here and at every call.
        streams: of the session.
        shape: of the network input, ``(N, 3, H, W)``.
        cleanup: frees everything.

    Attributes:
        open: it is started and has not been waited for.
        run: of the network.
        sent: reached when the first image set out.
        ready: reached when it was on the GPU.

    Raises:
        CudaError: there is not enough memory, or TensorRT makes no context.
    """

    sent: Event
    ready: Event

    def __init__(
        self,
        contexts: Contexts,
        cuda: Cuda,
        streams: Streams,
        shape: tuple[int, ...],
        cleanup: ExitStack,
    ) -> None:
        (spec,) = contexts.inputs
        self.open = False
        self._buffers: Sequence[FrameBuffer] = ()
        size = nbytes(shape[1:], spec.dtype)
        with ExitStack() as made:
            whole = free_later(made, cuda.buffer(shape[0] * size))
            self._parts = [View(whole.address + i * size, size) for i in range(shape[0])]
            self.run = Run(contexts, cuda, streams, {spec.name: whole}, {spec.name: shape}, made)
            cleanup.push(made.pop_all())

    def start(self, buffers: Sequence[FrameBuffer]) -> None:
        """Enqueue the letterboxes of filled buffers, no more than it has room for, and the run.

        Raises:
            SessionError: TensorRT refuses.
        """
        for buffer, part in zip(buffers, self._parts, strict=False):
            buffer.enqueue(part)
        self.run.start()
        self._buffers = buffers
        self._set_open(True)
        self.sent, self.ready = buffers[0].sent, buffers[0].ready

    def finish(self) -> dict[str, Array]:
        """Wait for the run and give the outputs of the images, which the next run overwrites."""
        try:
            outputs = self.run.finish()
        except SessionError:
            self._set_open(False)
            raise
        self._set_open(False)
        for buffer in self._buffers:
            buffer.finished()
        return {name: array[: len(self._buffers)] for name, array in outputs.items()}

    def _set_open(self, is_open: bool) -> None:
        self.open = is_open
        for buffer in self._buffers:
            buffer.open = is_open
