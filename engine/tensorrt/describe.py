"""Describe a plan: its sidecar, and the layers that TensorRT compiled the graph to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jdetrt import inputs
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
    Host,
    Sidecar,
    open_plan,
    read_sidecar,
    sidecar_path,
)
from jdetrt.errors import EngineError, MissingDependencyError, PlanMismatchError, SessionError
from jdetrt.file_kind import PLAN_MARKS

__all__ = ["PlanContent", "describe_plan"]


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


def describe_plan(path: Path) -> PlanContent:
    """Describe a plan.

    Layers come from what the build kept beside the plan, or else from the plan itself, which only a
    machine that can run it can load.

    Raises:
        SessionError: there is no plan, it is empty, it cannot be read, or it is something else.
        PlanMismatchError: it is cut short or changed: its sidecar describes another file.
        DataError: what the build kept is damaged.
    """
    with inputs.reading(path, SessionError):
        size, digest = path.stat().st_size, inputs.sha256(path)
        with path.open("rb") as file:
            has_mark = file.read(4) in PLAN_MARKS
    if not size:
        raise SessionError(f"{path}: is empty (0 bytes); build the plan again")
    try:
        sidecar = read_sidecar(path)
    except PlanMismatchError as err:
        if not has_mark:
            raise SessionError(
                f"{path}: has the name of a plan but is not one; name a plan from `jdetrt build`"
            ) from err
        return PlanContent(str(path), size, digest, None, read_layers(path, digest), str(err))
    if digest != sidecar.plan.sha256:
        raise PlanMismatchError(
            f"{path}: is not the file that {sidecar_path(path).name} describes: it has "
            f"{size} bytes instead of {sidecar.plan.bytes}, and a different SHA-256. Copy "
            f"both again, or build "
            f"it again:\n  {sidecar.command(path)}"
        )
    compiled, note = read_layers(path, digest), ""
    if compiled is None:
        try:
            compiled = _from_engine(path, sidecar)
        except (EngineError, MissingDependencyError) as err:
            note = f"its layers are told by the plan itself, which cannot be loaded here: {err}"
    return PlanContent(str(path), size, digest, sidecar, compiled, note)


def _from_engine(path: Path, sidecar: Sidecar) -> Compiled:
    trt = load(sidecar.host.backend)
    log = Log(trt)
    sidecar, plan = open_plan(path, Host.here(trt, current_device()))
    engine = deserialize(trt, log, plan, host_code=sidecar.options.version_compatible)
    return from_inspector(
        engine_information(trt, engine), device_memory_size(engine), sidecar.plan.sha256
    )
