"""Describe a plan: its sidecar, and the layers that TensorRT compiled the graph to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jdetrt.engine.tensorrt.compat import (
    Log,
    device_memory_size,
    engine_information,
    load,
)
from jdetrt.engine.tensorrt.device import current_device
from jdetrt.engine.tensorrt.layers import Compiled, from_inspector, read_layers
from jdetrt.engine.tensorrt.plan import Host, Plan, Sidecar
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
    plan = Plan(path)
    if not (size := len(plan.content)):
        raise SessionError(f"{path}: is empty (0 bytes); build the plan again")
    try:
        _ = plan.sidecar
    except PlanMismatchError as err:
        if bytes(plan.content[:4]) not in PLAN_MARKS:
            raise SessionError(
                f"{path}: has the name of a plan but is not one; name a plan from `jdetrt build`"
            ) from err
        digest = plan.sha256
        return PlanContent(str(path), size, digest, None, read_layers(path, digest), str(err))
    plan.check()
    compiled, note = read_layers(path, plan.sha256), ""
    if compiled is None:
        try:
            compiled = _from_engine(plan)
        except (EngineError, MissingDependencyError) as err:
            note = f"its layers are told by the plan itself, which cannot be loaded here: {err}"
    return PlanContent(str(path), size, plan.sha256, plan.sidecar, compiled, note)


def _from_engine(plan: Plan) -> Compiled:
    trt = load(plan.sidecar.host.backend)
    log = Log(trt)
    plan.check(Host.here(trt, current_device()))
    engine = plan.deserialize(trt, log)
    return from_inspector(engine_information(trt, engine), device_memory_size(engine), plan.sha256)
