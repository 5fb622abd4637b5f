"""The running half of the fake TensorRT: plans that compute something simple on the fake GPU.

A plan of `write_plan` gives, for a batch of pictures, ``boxes`` = mean of the picture, ``scores`` =
its largest value, ``probe`` = its four corner columns of the first row: enough to see that the
right input has come to the network, whole and in time.
"""

from __future__ import annotations

import hashlib
import json
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from fake_cuda import FakeCuda
from fake_tensorrt import MAGIC, Scenario, Tensor, say

from jdetrt.engine.tensorrt.build_options import BuildOptions
from jdetrt.engine.tensorrt.compat import TensorRt
from jdetrt.engine.tensorrt.device import Device
from jdetrt.engine.tensorrt.plan import FileFacts, Host, Sidecar, sidecar_path
from jdetrt.files import write_json
from jdetrt.types import Array, TensorSpec

__all__ = ["Network", "expected", "write_plan"]

_TYPES = {"FLOAT": "float32", "HALF": "float16"}


class Network:
    """What the fake's ``execute_async_v3`` does, on a fake GPU.

    Attributes:
        runs: how many executions were enqueued outside of a graph or captured into one.
        refuse_at: the how-many-eth of these TensorRT refuses, from 1; 0 for none.
        refusal: what it then says.
        strategies: what contexts were made with, where TensorRT captures by itself.
        contexts: how many were made.
        no_context: TensorRT makes none, and says that memory is short.
        activations: bytes of GPU memory that a context works in.
    """

    def __init__(self, cuda: FakeCuda, *, activations: int = 1 << 16) -> None:
        self.cuda = cuda
        self.runs = 0
        self.refuse_at = 0
        self.refusal = "Cuda Runtime (out of memory)"
        self.strategies: list[str] = []
        self.contexts = 0
        self.no_context = False
        self.activations = activations
        self.inputs: Sequence[Tensor] = (("images", "FLOAT", (1, 3, 32, 64)),)
        self.outputs: Sequence[Tensor] = (
            ("boxes", "FLOAT", (1, 5, 4)),
            ("scores", "FLOAT", (1, 5)),
            ("probe", "FLOAT", (1, 3, 64)),
        )

    def scenario(self) -> Scenario:
        """For `fake_tensorrt`."""
        return Scenario(
            inputs=self.inputs,
            outputs=self.outputs,
            on_execute=self._execute,
            activations=self.activations,
        )

    def install(self, trt: TensorRt) -> None:
        """Give the module's engines contexts that need memory and, for RTX, a configuration."""
        module, network = trt.module, self
        engine = module.ICudaEngine
        logger: list[Any] = []
        start = module.Runtime.__init__

        def remember(runtime: Any, log: Any) -> None:
            logger.append(log)
            start(runtime, log)

        def watched(create: Any) -> Any:
            def context(engine: Any, *how: Any) -> Any:
                if how and hasattr(how[0], "cuda_graph_strategy"):
                    network.strategies.append(how[0].cuda_graph_strategy.name)
                if network.no_context:
                    say(module, logger[-1], "ERROR", "OutOfMemory (Requested size was too large)")
                    return None
                made = create(engine, *how)
                network.contexts += 1
                weakref.finalize(made, network.cuda.freed.append, "context")
                return made

            return context

        run = module.IExecutionContext.execute_async_v3

        def execute(context: Any, stream: int) -> bool:
            if network.runs + 1 == network.refuse_at:
                network.runs += 1
                say(module, logger[-1], "ERROR", network.refusal)
                return False
            return bool(run(context, stream))

        module.Runtime.__init__ = remember
        module.IExecutionContext.execute_async_v3 = execute
        for name in ("create_execution_context", "create_execution_context_without_device_memory"):
            setattr(engine, name, watched(getattr(engine, name)))

    def _execute(
        self, shapes: dict[str, tuple[int, ...]], addresses: dict[str, int], stream: int
    ) -> None:
        self.runs += 1
        ((name, kind, _),) = self.inputs
        shapes, addresses = dict(shapes), dict(addresses)

        def work() -> None:
            images = self.cuda.view(addresses[name], _TYPES[kind], shapes[name])
            for output, array in expected(images).items():
                self.cuda.view(addresses[output], "float32", shapes[output])[:] = array
            # What another run of the same plan would do to it if both were at work.
            self.cuda.view(addresses[""], "uint8", (self.activations,))[:] = self.runs % 256

        self.cuda.enqueue(stream, work, list(addresses.values()))


def expected(images: Array) -> dict[str, Array]:
    """What the network gives for ``(N, 3, H, W)``."""
    n = len(images)
    images = images.astype(np.float32)
    mean = images.mean((1, 2, 3)).reshape(n, 1, 1) * np.ones((1, 5, 4), np.float32)
    best = images.max((1, 2, 3)).reshape(n, 1) * np.ones((1, 5), np.float32)
    return {"boxes": mean, "scores": best, "probe": images[:, :, 0, :]}


def write_plan(
    path: Path,
    trt: TensorRt,
    device: Device | None,
    network: Network,
    *,
    batch: tuple[int, int, int] = (1, 1, 1),
    data: bytes | None = None,
    **changes: Any,
) -> Path:
    """A plan file and its sidecar, as `jdetrt build` would have made them on ``device``."""
    profiles = [{name: [[n, *shape[1:]] for n in batch] for name, _, shape in network.inputs}]
    plan = (
        data
        or MAGIC
        + json.dumps(
            {
                "version": trt.version,
                "inputs": network.inputs,
                "outputs": network.outputs,
                "profiles": profiles,
            }
        ).encode()
    )
    path.write_bytes(plan)
    options = BuildOptions(batch=batch)
    facts: dict[str, Any] = {
        "host": Host.here(trt, device),
        "model": FileFacts(name="model.onnx", sha256="0" * 64, bytes=1),
        "plan": FileFacts(name=path.name, sha256=hashlib.sha256(plan).hexdigest(), bytes=len(plan)),
        "options": options,
        "typing": "strong",
        "precision": "fp32",
        "inputs": tuple(TensorSpec(n, _TYPES[k], s) for n, k, s in network.inputs),
        "outputs": tuple(TensorSpec(n, _TYPES[k], s) for n, k, s in network.outputs),
        "calibration": None,
        "workspace_mib": None,
        "fallback": (),
        "metadata": {"width": "64", "height": "32"},
        "build_seconds": 1.0,
        **changes,
    }
    write_json(sidecar_path(path), Sidecar(**facts))
    return path
