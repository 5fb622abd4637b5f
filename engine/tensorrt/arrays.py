"""Arrays on their way to the network, one run at a time."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

from jdetrt.engine.cuda.api import Cuda, free_later
from jdetrt.engine.cuda.exchange import Exchange
from jdetrt.engine.tensorrt.execution_context import Contexts, nbytes
from jdetrt.engine.tensorrt.run import Run, Streams
from jdetrt.types import Array

__all__ = ["Arrays"]


class Arrays:
    """Room for the inputs of one run, of any shapes that the plan takes, and the run.

    Args:
        contexts: of the plan.
        cuda: the GPU; its context is current here and at every call.
        streams: of the session.
        cleanup: frees everything.

    Attributes:
        sent: reached when the arrays set out.
        ready: reached when they are on the GPU.
        run: of the network.

    Raises:
        CudaError: there is not enough memory, or TensorRT makes no context.
    """

    def __init__(
        self, contexts: Contexts, cuda: Cuda, streams: Streams, cleanup: ExitStack
    ) -> None:
        self._contexts, self._streams = contexts, streams
        with ExitStack() as made:
            self._inputs = {
                spec.name: Exchange(cuda, nbytes(contexts.largest[spec.name], spec.dtype), made)
                for spec in contexts.inputs
            }
            self.sent, self.ready = (free_later(made, cuda.event()) for _ in range(2))
            devices = {name: exchange.device for name, exchange in self._inputs.items()}
            self.run = Run(contexts, cuda, streams, devices, contexts.largest, made)
            cleanup.push(made.pop_all())

    def start(self, feeds: Mapping[str, Array]) -> None:
        """Copy checked arrays, which are then the caller's again, and enqueue the run.

        Raises:
            SessionError: TensorRT refuses.
        """
        self.ready.synchronize()  # those of a run that failed may be on their way
        uploads = self._streams.uploads
        self.sent.record(uploads)
        for spec in self._contexts.inputs:
            array, exchange = feeds[spec.name], self._inputs[spec.name]
            exchange.array(0, array.shape, spec.dtype)[...] = array
            exchange.upload(array.nbytes, uploads)
        self.ready.record(uploads)
        self.run.reshape({name: array.shape for name, array in feeds.items()})
        self._streams.network.wait(self.ready)
        self.run.start()

    def finish(self) -> dict[str, Array]:
        """Wait for the run and give its outputs, which the next one overwrites."""
        return self.run.finish()
