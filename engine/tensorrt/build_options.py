"""Options of a build, shared by the command line, the sidecar and the key of the cache."""

from __future__ import annotations

import re
import shlex
from typing import Annotated, Literal

from msgspec import Meta

from jdetrt.config import Section
from jdetrt.errors import ConfigError

__all__ = ["BuildOptions", "parse_batch"]

_Batch = Annotated[int, Meta(ge=1, le=1024)]


class BuildOptions(Section, frozen=True):
    """Everything about a build that changes the plan, but for the model and the machine."""

    # "graph": every tensor as the ONNX graph has it. "fp16", "int8": let TensorRT choose, layer by
    # layer, down to this precision; only up to TensorRT 10.
    precision: Literal["graph", "fp16", "int8"] = "graph"
    # Name of the file of ranges for "int8", where they come from one and not from the graph.
    calibration_cache: str | None = None
    # Fewest, usual and most images at a time, for models that leave it free.
    batch: tuple[_Batch, _Batch, _Batch] = (1, 1, 1)
    # MiB that a kernel may use while it runs; None for half of what is free.
    workspace_mib: Annotated[int, Meta(ge=1)] | None = None
    # 0 to 5: the higher, the longer TensorRT looks for fast kernels; None for its own choice.
    optimization_level: Annotated[int, Meta(ge=0, le=5)] | None = None
    # A plan that later TensorRT versions load as well.
    version_compatible: bool = False
    # GPUs that the plan is to run on beside this one.
    hardware: Literal["this", "same-compute-capability", "ampere+"] = "this"
    # The deep learning accelerator that runs the body; None for the GPU alone.
    dla_core: Annotated[int, Meta(ge=0)] | None = None
    # TensorRT-RTX: compute capabilities to build for, such as "8.6"; none for its own choice.
    compute_capabilities: tuple[str, ...] = ()

    # Take a plan in which convolutions that the model has in INT8 run in float.
    allow_float: bool = False
    # A plan without weights, which `refit` puts in on the machine that runs it.
    strip: bool = False

    def command(self, model: str, plan: str, backend: str) -> str:
        """The command line that builds such a plan.

        >>> BuildOptions(batch=(1, 2, 4)).command("a b.onnx", "a.plan", "tensorrt")
        "jdetrt build 'a b.onnx' -o a.plan --batch 1:2:4"
        """
        default = BuildOptions()
        words = ["jdetrt", "build", model, "-o", plan]
        if backend != "tensorrt":
            words += ["--backend", backend]
        if self.precision != default.precision:
            words += ["--precision", self.precision]
        if self.calibration_cache is not None:
            words += ["--calibration-cache", self.calibration_cache]
        if self.batch != default.batch:
            words += ["--batch", ":".join(map(str, self.batch))]
        if self.workspace_mib is not None:
            words += ["--workspace", str(self.workspace_mib)]
        if self.optimization_level is not None:
            words += ["--optimization-level", str(self.optimization_level)]
        if self.version_compatible:
            words.append("--version-compatible")
        if self.hardware != default.hardware:
            words += ["--hardware", self.hardware]
        if self.dla_core is not None:
            words += ["--dla-core", str(self.dla_core)]
        if self.allow_float:
            words.append("--allow-float")
        if self.strip:
            words.append("--strip")
        for capability in self.compute_capabilities:
            words += ["--compute-capability", capability]
        return shlex.join(words)


def parse_batch(text: str) -> tuple[int, int, int]:
    """``"4"`` or ``"1:4:8"``, fewest, usual and most.

    Raises:
        ConfigError: it is neither, or does not ascend.

    >>> parse_batch("2"), parse_batch("1:2:8")
    ((2, 2, 2), (1, 2, 8))
    """
    found = re.fullmatch(r"(\d{1,4})(?::(\d{1,4}):(\d{1,4}))?", text)
    numbers = [] if found is None else [int(n) for n in found.groups() if n is not None]
    fewest, usual, most = numbers * 3 if len(numbers) == 1 else numbers or (0, 0, 0)
    if not 1 <= fewest <= usual <= most <= 1024:
        raise ConfigError(
            f"batch '{text}': expected a number from 1 to 1024, or "
            f"smallest:typical:largest, for example 1:4:8"
        )
    return fewest, usual, most
