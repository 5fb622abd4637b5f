"""A plan on the GPU: its execution contexts and the memory that they share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np

from jdetrt.engine.cuda.api import Cuda, CudaError, CudaMemoryError, free_later
from jdetrt.engine.tensorrt.compat import Log, TensorRt, device_memory_size, io_specs
from jdetrt.errors import SessionError
from jdetrt.runtime.signals import interrupt_held
from jdetrt.types import TensorSpec

__all__ = ["Contexts", "Shapes", "captures_itself", "nbytes"]

Shapes = Mapping[str, tuple[int, ...]]  # by name of the input


class Contexts:
    """Makes the execution contexts of a plan, which take turns in one memory.

    NVIDIA's guide advises one context for each CUDA graph, since a context must not change once it
    is captured, and to let them share the memory of their activations. So all their runs must be
    enqueued in one stream.

    Args:
        trt: the module.
        log: tells why TensorRT refuses.
        engine: an ``ICudaEngine``.
        cuda: the GPU; its context is current here and at every call.
        cleanup: frees everything; to be closed while the context is current.
        graphs: whether TensorRT-RTX is to capture its own CUDA graphs.

    Attributes:
        inputs: what the plan takes.
        outputs: what it gives.
        largest: shapes of the inputs that the plan takes at most.
        activations: bytes of GPU memory that the contexts share.
        buffers: bytes of the inputs and outputs of a run of the largest shapes.
        log: as given.

    Raises:
        SessionError: an input or output has a type that NumPy does not have, or an output a size
            that is only known when the plan has run.
        CudaError: the GPU has not enough free memory.
    """

    def __init__(
        self,
        trt: TensorRt,
        log: Log,
        engine: Any,
        cuda: Cuda,
        cleanup: ExitStack,
        *,
        graphs: bool,
    ) -> None:
        self.inputs, self.outputs = io_specs(trt, engine)
        self.activations = device_memory_size(engine)
        self.log = log
        self._trt, self._engine, self._cuda = trt, engine, cuda
        self._captures_itself = graphs and captures_itself(trt)
        self._limits = {spec.name: _limits(engine, spec) for spec in self.inputs}
        self.largest = {name: largest for name, (_, largest) in self._limits.items()}
        try:
            self._memory = free_later(cleanup, cuda.buffer(max(self.activations, 1)))
        except CudaMemoryError as err:
            raise self._refusal(str(err)) from err
        cleanup.callback(self._drop)
        self._spare: Any = (
            self._create()
        )  # for the first that asks: a plan that is no use fails here
        shapes = self.set_shapes(self._spare, self.largest)
        self.buffers = sum(
            nbytes(shape, spec.dtype)
            for specs, known in ((self.inputs, self.largest), (self.outputs, shapes))
            for spec, shape in ((spec, known[spec.name]) for spec in specs)
        )

    def check(self, shapes: Shapes) -> None:
        """Refuse shapes that the plan was not built for. Raises SessionError."""
        for name, shape in shapes.items():
            low, high = self._limits[name]
            if not all(a <= d <= b for a, d, b in zip(low, shape, high, strict=True)):
                raise SessionError(
                    f"input '{name}': the plan was built for shapes from {low} to {high}, "
                    f"got {shape}; build it with --batch for others"
                )

    @property
    def smallest_batch(self) -> int:
        """Images that a run takes at least."""
        return self._limits[self.inputs[0].name][0][0]

    def context(self) -> Any:
        """Give an ``IExecutionContext`` of its own. Raises CudaError where TensorRT refuses."""
        context, self._spare = self._spare, None
        return self._create() if context is None else context

    def set_shapes(self, context: Any, shapes: Shapes) -> dict[str, tuple[int, ...]]:
        """Set the shapes of a context's inputs; give those of its outputs.

        Raises:
            SessionError: TensorRT refuses, or an output has a size that is known only afterwards.
        """
        for name, shape in shapes.items():
            if not context.set_input_shape(name, shape):
                raise SessionError(f"input '{name}': TensorRT refuses {shape}")
        outputs = {
            spec.name: tuple(int(d) for d in context.get_tensor_shape(spec.name))
            for spec in self.outputs
        }
        for name, shape in outputs.items():
            if min(shape, default=0) < 0:
                raise SessionError(
                    f"output '{name}': its size {shape} is known only after a run; such plans are "
                    "not supported"
                )
        return outputs

    def _create(self) -> Any:
        with interrupt_held():
            context = self._new()
        if context is None:
            raise self._refusal(self.log.reason())
        if hasattr(context, "set_device_memory"):
            context.set_device_memory(self._memory.address, self.activations)
        else:
            context.device_memory = self._memory.address
        return context

    def _new(self) -> Any:
        engine, module = self._engine, self._trt.module
        if not hasattr(module, "ExecutionContextAllocationStrategy"):
            return engine.create_execution_context_without_device_memory()
        managed = module.ExecutionContextAllocationStrategy.USER_MANAGED
        if not self._captures_itself:
            return engine.create_execution_context(managed)
        runtime_config = engine.create_runtime_config()
        runtime_config.set_execution_context_allocation_strategy(managed)
        runtime_config.cuda_graph_strategy = module.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        return engine.create_execution_context(runtime_config)

    def _refusal(self, reason: str) -> CudaError:
        free, total = self._cuda.memory()
        return CudaError(
            f"TensorRT cannot make an execution context: {reason}. It needs "
            f"{mib(self.activations)} of GPU memory for activations; {mib(free)} of {mib(total)} "
            "are free"
        )

    def _drop(self) -> None:
        self._spare = self._engine = None


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
