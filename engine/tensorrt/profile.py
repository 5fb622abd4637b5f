"""Time of each layer of a plan, as TensorRT's profiler measures it on the GPU.

The profiler waits after each layer, so the layers together take longer than a run without it.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from jdetrt.config import Section
from jdetrt.engine.cuda.api import Cuda, CudaError, Stream, explained, free_later, open_cuda
from jdetrt.engine.tensorrt.compat import Log, TensorRt, load
from jdetrt.engine.tensorrt.device import current_device
from jdetrt.engine.tensorrt.execution_context import Contexts, nbytes
from jdetrt.engine.tensorrt.plan import Host, Plan
from jdetrt.errors import SessionError
from jdetrt.runtime.signals import interrupt_held

__all__ = ["LayerTimes", "profile_plan"]

RUNS, WARM_UP = 50, 20


class LayerTimes(Section, frozen=True):
    """Milliseconds by layer.

    Attributes:
        milliseconds: median of each layer, by TensorRT's name of it, in order.
        total: median of a run, the sum of its layers.
        runs: measured.
    """

    milliseconds: dict[str, float]
    total: float
    runs: int


def profile_plan(
    plan: str | Path | Plan, *, runs: int = RUNS, warm_up: int = WARM_UP
) -> LayerTimes:
    """Measure the layers of a plan on this machine's GPU, at the largest batch that it takes.

    Args:
        plan: the plan, or its file; its sidecar is beside it.
        runs: that are measured.
        warm_up: runs before them.

    Raises:
        PlanMismatchError: the plan was made for another TensorRT or GPU, or is damaged.
        MissingDependencyError: TensorRT or a CUDA library is not installed.
        SessionError: there is no driver, not enough memory, or TensorRT refuses.
    """
    plan = plan if isinstance(plan, Plan) else Plan(plan)
    trt = load(plan.sidecar.host.backend)
    plan.check(Host.here(trt, current_device()))
    cuda = open_cuda()
    try:
        with cuda.current(), ExitStack() as cleanup:
            return _measure(trt, plan, cuda, cleanup, runs, warm_up)
    except CudaError as err:
        raise SessionError(f"{plan.path}: {explained(err)}") from err
    finally:
        cuda.close()


def _measure(
    trt: TensorRt, plan: Plan, cuda: Cuda, cleanup: ExitStack, runs: int, warm_up: int
) -> LayerTimes:
    log = Log(trt)
    contexts = Contexts(trt, log, plan.deserialize(trt, log), cuda, cleanup, graphs=False)
    context = contexts.context()
    stream: Stream = free_later(cleanup, cuda.stream())
    _bind(contexts, context, cuda, cleanup, stream)
    profiler = _profiler(trt)

    def run() -> None:
        with interrupt_held():
            done = context.execute_async_v3(stream.handle)
        if not done:
            raise SessionError(f"{plan.path}: TensorRT cannot run the plan: {log.reason()}")
        stream.synchronize()

    for _ in range(warm_up):
        run()
    context.profiler = profiler
    for _ in range(runs):
        profiler.reported.append({})
        run()
    context.profiler = None
    return _medians(plan, profiler.reported)


def _medians(plan: Plan, reported: list[dict[str, float]]) -> LayerTimes:
    if not all(reported):
        raise SessionError(f"{plan.path}: TensorRT's profiler reports no layers")
    names = list(dict.fromkeys(name for times in reported for name in times))
    return LayerTimes(
        milliseconds={
            name: float(np.median([times.get(name, 0.0) for times in reported])) for name in names
        },
        total=float(np.median([sum(times.values()) for times in reported])),
        runs=len(reported),
    )


def _profiler(trt: TensorRt) -> Any:
    """An ``IProfiler``; ``reported`` has a dict a run, the last of which it fills."""
    base: Any = trt.module.IProfiler

    class Profiler(base):  # type: ignore[misc]  # its base is only known here
        def __init__(self) -> None:
            base.__init__(self)  # pybind11 wants it by name
            self.reported: list[dict[str, float]] = []

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            times = self.reported[-1]
            times[layer_name] = times.get(layer_name, 0.0) + ms

    return Profiler()


def _bind(contexts: Contexts, context: Any, cuda: Cuda, cleanup: ExitStack, stream: Stream) -> None:
    """Give the context random inputs of the largest shapes, and room for the outputs."""
    outputs = contexts.set_shapes(context, contexts.largest)
    rng = np.random.default_rng(0)
    for spec in contexts.outputs:
        buffer = free_later(cleanup, cuda.buffer(nbytes(outputs[spec.name], spec.dtype)))
        context.set_tensor_address(spec.name, buffer.address)
    for spec in contexts.inputs:
        shape = contexts.largest[spec.name]
        buffer = free_later(cleanup, cuda.buffer(nbytes(shape, spec.dtype)))
        context.set_tensor_address(spec.name, buffer.address)
        pinned = free_later(cleanup, cuda.pinned(shape, spec.dtype))
        pinned.array[...] = rng.random(shape, np.float32) * (255 if spec.dtype == "uint8" else 1)
        cuda.upload(buffer, pinned.array, stream)
    stream.synchronize()
