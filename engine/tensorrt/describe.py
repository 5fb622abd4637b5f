"""What a plan is: what its sidecar says, and what TensorRT made of the graph."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jdetrt import files
from jdetrt.engine.tensorrt.compat import (
    Log,
    deserialize,
    device_memory_size,
    engine_information,
    load,
)
from jdetrt.engine.tensorrt.device import current_device
from jdetrt.engine.tensorrt.layers import Compiled, from_inspector, read_layers
from jdetrt.engine.tensorrt.plan import (
    PLAN_SUFFIXES,
    Place,
    Sidecar,
    open_plan,
    read_sidecar,
    sidecar_path,
)
from jdetrt.errors import EngineError, MissingDependencyError, PlanMismatchError, SessionError

__all__ = ["PlanContent", "describe_plan", "is_plan"]

# How plans begin, of TensorRT and of TensorRT-RTX.
_MAGIC = (b"ftrt", b"vtrt")


@dataclass(frozen=True, slots=True)
class PlanContent:
    """A plan.

    Attributes:
        path: the file.
        bytes: its size.
        sha256: of the file.
        sidecar: what it was made with; None without one.
        compiled: its layers; None where they cannot be had here.
        note: why the sidecar or the layers are missing; "" where nothing is.
    """

    path: str
    bytes: int
    sha256: str
    sidecar: Sidecar | None
    compiled: Compiled | None
    note: str


def is_plan(path: Path) -> bool:
    """Whether a file is a plan, by its first bytes, or else by its name."""
    try:
        return _begins_like_one(path) or path.suffix.lower() in PLAN_SUFFIXES
    except OSError:
        return False


def describe_plan(path: Path) -> PlanContent:
    """Say what a plan holds.

    Layers come from what the build kept beside the plan, or else from the plan itself, which only a
    machine that can run it can load.

    Raises:
        SessionError: there is no plan, it is empty, it cannot be read, or it is something else.
        PlanMismatchError: it is cut short or changed: its sidecar describes another file.
        DataError: what the build kept is damaged.
    """
    size, digest = _facts(path)
    try:
        sidecar = read_sidecar(path)
    except PlanMismatchError as err:
        if not _begins_like_one(path):
            raise SessionError(
                f"{path}: is no plan, for all its name; name one of `jdetrt build`"
            ) from err
        return PlanContent(str(path), size, digest, None, read_layers(path, digest), str(err))
    if digest != sidecar.plan.sha256:
        raise PlanMismatchError(
            f"{path}: is not the file that {sidecar_path(path).name} describes: it has {size} "
            f"bytes, that one {sidecar.plan.bytes}, and another SHA-256. Copy both again, or build "
            f"it again:\n  {sidecar.command(path)}"
        )
    compiled, note = read_layers(path, digest), ""
    if compiled is None:
        try:
            compiled = _from_engine(path, sidecar)
        except (EngineError, MissingDependencyError) as err:
            note = f"its layers are told by the plan itself, which cannot be loaded here: {err}"
    return PlanContent(str(path), size, digest, sidecar, compiled, note)


def _begins_like_one(path: Path) -> bool:
    with files.open_regular(path) as file:
        return file.read(4) in _MAGIC


def _facts(path: Path) -> tuple[int, str]:
    try:
        size = path.stat().st_size
        digest = files.sha256(path)
    except OSError as err:
        raise SessionError(f"{path}: cannot be read ({err.strerror})") from err
    if not size:
        raise SessionError(f"{path}: is empty (0 bytes); build the plan again")
    return size, digest


def _from_engine(path: Path, sidecar: Sidecar) -> Compiled:
    trt = load(sidecar.made.backend)
    log = Log(trt)
    sidecar, plan = open_plan(path, Place.here(trt, current_device()))
    engine = deserialize(trt, log, plan, host_code=sidecar.options.version_compatible)
    return from_inspector(
        engine_information(trt, engine), device_memory_size(engine), sidecar.plan.sha256
    )
