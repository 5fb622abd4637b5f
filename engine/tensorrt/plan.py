"""Plan files, and the sidecar beside each, which records how it was built.

A plan runs on the TensorRT version, the kind of GPU and the platform that it was built with.
TensorRT itself refuses others with an internal assertion, or loads them and is slow. The sidecar,
``model.plan.json`` beside ``model.plan``, is checked first.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from jdetrt import __version__
from jdetrt.config import Section
from jdetrt.documents import read_json
from jdetrt.engine.tensorrt.build_options import BuildOptions
from jdetrt.engine.tensorrt.compat import BACKENDS, Backend, Log, TensorRt, deserialize
from jdetrt.engine.tensorrt.device import Device, jetpack, platform_name
from jdetrt.errors import EngineError, PlanMismatchError, SessionError
from jdetrt.files import atomic_path, to_json, write_together
from jdetrt.inputs import open_regular, reading
from jdetrt.machine.board import l4t_release
from jdetrt.types import TensorSpec

__all__ = ["FileFacts", "Host", "Plan", "Sidecar", "sidecar_path", "write_plan"]

_FORMAT = 1
_SIDECAR = "a plan's sidecar"
_Tensors = Annotated[tuple[TensorSpec, ...], Meta(min_length=1)]
_AMPERE = 8  # major compute capability, from which on plans for "ampere+" run


class Host(Section, frozen=True):
    """Machine that builds or runs a plan: what TensorRT ties the plan to, and some more."""

    backend: Backend
    tensorrt: str
    platform: str
    gpu: str | None
    compute_capability: str | None
    cuda: str | None  # the newest that the driver runs
    l4t: str | None  # the release of Jetson Linux
    jetpack: str | None = None
    multiprocessors: int | None = None  # of the GPU
    memory_gib: int | None = None  # of the GPU
    board: str | None = None  # of a Jetson

    @staticmethod
    def here(trt: TensorRt, device: Device | None) -> Host:
        """Describe this machine."""
        l4t = l4t_release()
        return Host(
            backend=trt.backend,
            tensorrt=trt.version,
            platform=platform_name(),
            gpu=device.name if device else None,
            compute_capability=device.compute_capability if device else None,
            cuda=device.cuda if device else None,
            l4t=l4t,
            jetpack=jetpack(l4t),
            multiprocessors=device.multiprocessors or None if device else None,
            memory_gib=round(device.memory / 2**30) if device else None,
            board=device.board if device else None,
        )

    def __str__(self) -> str:
        name = "TensorRT-RTX" if self.backend == "tensorrt-rtx" else "TensorRT"
        units = f", {self.multiprocessors} multiprocessors" if self.multiprocessors else ""
        gpu = f"on {self.gpu} (compute capability {self.compute_capability}{units})"
        gpu = gpu if self.gpu else "ahead of time (no GPU)"
        cuda = f", CUDA {self.cuda}" if self.cuda else ""
        l4t = f", Jetson Linux {self.l4t}" if self.l4t else ""
        jetpack = f" (JetPack {self.jetpack})" if self.jetpack else ""
        board = f", {self.board}" if self.board else ""
        return f"{name} {self.tensorrt} {gpu}{board}, {self.platform}{cuda}{l4t}{jetpack}"


class FileFacts(Section, frozen=True):
    """A file: its name, SHA-256 and size."""

    name: str
    sha256: str
    bytes: Annotated[int, Meta(ge=0)]


class _Head(msgspec.Struct):
    format: int | None = None


class Sidecar(Section, frozen=True):
    """Everything about a plan.

    Attributes:
        host: where it was built; ``"made"`` in the file.
        model: the ONNX file, or the name of what ships; its hash covers weights in files beside it.
        plan: the plan file.
        options: how.
        typing: ``"strong"``: every tensor has the type of the graph; ``"weak"``: TensorRT chose.
        precision: the lowest, such as ``"int8+fp16"``.
        inputs: what the plan takes.
        outputs: what it gives.
        calibration: where INT8 ranges come from; None without INT8.
        workspace_mib: MiB that a kernel may use; None for no limit.
        workspace_source: what that figure comes from.
        fallback: layers of the body that the DLA does not run; empty without one.
        metadata: the notes of the model.
        build_seconds: what the build took.
        convolutions: number in the plan by the type that they compute in; None if not counted.
        quantised: number that the model has in INT8.
        format: of this file.
        jdetrt: version that wrote it.
    """

    host: Host = msgspec.field(name="made")
    model: FileFacts
    plan: FileFacts
    options: BuildOptions
    typing: str
    precision: str
    inputs: _Tensors
    outputs: _Tensors
    calibration: str | None
    workspace_mib: int | None
    fallback: tuple[str, ...]
    metadata: dict[str, str]
    build_seconds: float
    convolutions: dict[str, int] | None = None
    quantised: int = 0
    workspace_source: str | None = None
    format: int = _FORMAT
    jdetrt: str = __version__

    def command(self, plan: Path) -> str:
        """The command line that builds it again as ``plan``, typed in the folder of the model."""
        return self.options.command(self.model.name, str(plan.absolute()), self.host.backend)


class _Both(Sidecar, frozen=True):
    """A sidecar while its plan is replaced: that of the plan before, too."""

    previous: Sidecar | None = None


def sidecar_path(plan: Path) -> Path:
    """The sidecar of a plan.

    >>> sidecar_path(Path("out/model.plan")).as_posix()
    'out/model.plan.json'
    """
    return plan.with_name(f"{plan.name}.json")


class Plan:
    """A plan; its sidecar and its content are read when they are first asked for, and then kept.

    Args:
        path: the file.

    Attributes:
        path: the file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @cached_property
    def sidecar(self) -> Sidecar:
        """Record of how it was built.

        Raises:
            SessionError: there is no plan.
            PlanMismatchError: the sidecar is missing or damaged.
        """
        path, sidecar = self.path, sidecar_path(self.path)
        again = f"build the plan again: jdetrt build MODEL.onnx -o {path}"
        if not path.is_file():
            raise SessionError(f"{path}: no such file, or not a regular one; {again}")
        if not sidecar.exists():
            raise PlanMismatchError(
                f"{path}: its sidecar {sidecar.name}, which records how it was built, is missing; "
                f"copy it beside the plan, {again}, or, if another program made it: "
                f"jdetrt adopt {path}"
            )
        head = read_json(sidecar, _Head, PlanMismatchError, _SIDECAR, again)
        if head.format != _FORMAT:
            raise PlanMismatchError(
                f"{sidecar}: has format {head.format}, but this jdetrt ({__version__}) reads "
                f"format {_FORMAT}; {again}"
            )
        both = read_json(sidecar, _Both, PlanMismatchError, _SIDECAR, again)
        if both.previous is not None and self.sha256 != both.plan.sha256:
            return both.previous
        return Sidecar(**{name: getattr(both, name) for name in Sidecar.__struct_fields__})

    @cached_property
    def content(self) -> memoryview:
        """The bytes of the file: mapped, not copied. Raises SessionError."""
        with reading(self.path, SessionError), open_regular(self.path) as file:
            if not os.fstat(file.fileno()).st_size:
                return memoryview(b"")
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    @cached_property
    def sha256(self) -> str:
        """Hexadecimal SHA-256 of the file. Raises SessionError."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def metadata(self) -> dict[str, str]:
        """Notes of the model, with the precision of the plan. Raises as `sidecar`."""
        # The graph's precision is not that of a plan for which TensorRT chose lower types.
        return {**self.sidecar.metadata, "precision": self.sidecar.precision}

    def deserialize(self, trt: TensorRt, log: Log) -> Any:
        """Make its ``ICudaEngine``, once it is checked. Raises SessionError."""
        options = self.sidecar.options
        if options.strip:
            raise SessionError(
                f"{self.path}: has no weights (build --strip). Put them in with: jdetrt refit "
                f"{self.path} MODEL.onnx -o FULL.plan"
            )
        return deserialize(
            trt,
            log,
            self.content,
            host_code=options.version_compatible,
            dla_core=options.dla_core,
        )

    def check(self, here: Host | None = None) -> None:
        """Refuse a plan that is not as its sidecar says, or not for this machine.

        Args:
            here: where it is to run; None for nowhere.

        Raises:
            SessionError: there is no plan, or it cannot be read.
            PlanMismatchError: it was made for another TensorRT or GPU, is cut short or changed, or
                its sidecar is missing or none.
        """
        path, sidecar = self.path, self.sidecar
        command = f":\n  {sidecar.command(path)}"
        if here is not None and (differences := _differences(sidecar, here)):
            raise PlanMismatchError(
                f"{path}: was made with {sidecar.host}; here is {here}. {'; '.join(differences)}. "
                f"Build it again on this machine{command}"
            )
        if (length := len(self.content)) < sidecar.plan.bytes:
            raise PlanMismatchError(
                f"{path}: is cut short, {length} of {sidecar.plan.bytes} bytes; copy it again, or "
                f"build it again{command}"
            )
        if length > sidecar.plan.bytes or self.sha256 != sidecar.plan.sha256:
            raise PlanMismatchError(
                f"{path}: is not the file that {sidecar_path(path).name} describes: its bytes were "
                f"changed or replaced. Copy both again, or build it again{command}"
            )


def write_plan(path: Path, plan: bytes, sidecar: Sidecar) -> None:
    """Write a plan and its sidecar; at any moment what stands there is a pair that opens.

    Between the names of the one and the other, the sidecar describes the plan before as well.

    Raises:
        OutputError: one of them cannot be written; what stood there before stands there still.
    """
    content = msgspec.to_builtins(sidecar)
    both = dict(content)
    with suppress(EngineError):  # there was none
        both["previous"] = msgspec.to_builtins(Plan(path).sidecar)
    with atomic_path(sidecar_path(path)) as temporary:
        temporary.write_bytes(to_json(content))
        write_together({path: plan, sidecar_path(path): to_json(both)})


def _differences(sidecar: Sidecar, here: Host) -> list[str]:
    """List the reasons that keep a plan from running here."""
    made, options = sidecar.host, sidecar.options
    found = []
    if made.backend != here.backend:
        found.append(f"The plan is for {BACKENDS[made.backend]}, not {BACKENDS[here.backend]}")
    elif made.tensorrt != here.tensorrt and not options.version_compatible:
        found.append("The version of TensorRT differs")
    if made.platform != here.platform:
        found.append("The platform differs")
    targets = options.compute_capabilities
    if here.compute_capability is None or (made.compute_capability is None and not targets):
        return found  # without a GPU TensorRT says it best, and plans for any GPU run on any
    if targets:
        if here.compute_capability not in targets:
            found.append(f"The plan is for the compute capabilities {', '.join(targets)}")
    elif options.hardware == "ampere+":
        if int(here.compute_capability.split(".")[0]) < _AMPERE:
            found.append("The plan is for GPUs of the Ampere generation and later")
    elif made.compute_capability != here.compute_capability:
        found.append("The compute capability of the GPU differs")
    elif options.hardware == "this":
        if made.gpu != here.gpu:
            found.append("The type of GPU differs")
        elif None not in (made.multiprocessors, here.multiprocessors) and (
            made.multiprocessors != here.multiprocessors
        ):
            found.append(
                f"The GPU has {here.multiprocessors} multiprocessors, not {made.multiprocessors}: "
                "the kernels were chosen for another of its kind"
            )
    return found
