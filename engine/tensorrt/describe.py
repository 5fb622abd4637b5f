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
from jdetrt.engine.tensorrt.profile import LayerTimes, profile_plan
from jdetrt.engine.tensorrt.summary import PlanSummary, summarise
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
        times: of the layers on this machine's GPU; None where they were not measured.
        summary: numbers of the layers; None without them.
    """

    path: str
    bytes: int
    sha256: str
    sidecar: Sidecar | None
    compiled: Compiled | None
    note: str
    times: LayerTimes | None = None
    summary: PlanSummary | None = None


def describe_plan(path: Path, *, timed: bool = False) -> PlanContent:
    """Describe a plan.

    Layers come from what the build kept beside the plan, or else from the plan itself, which only a
    machine that can run it can load.

    Args:
        path: the file.
        timed: run it, and measure its layers; where that cannot be done, the note says why.

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
        layers = read_layers(path, digest)
        summary = None if layers is None else summarise(layers)
        return PlanContent(str(path), size, digest, None, layers, str(err), summary=summary)
    plan.check()
    compiled, note = read_layers(path, plan.sha256), ""
    if compiled is None:
        try:
            compiled = _from_engine(plan)
        except (EngineError, MissingDependencyError) as err:
            note = f"its layers are told by the plan itself, which cannot be loaded here: {err}"
    times = None
    if timed and compiled is not None and current_device() is not None:
        try:
            times = profile_plan(plan)
        except (EngineError, MissingDependencyError) as err:
            note = f"its layers could not be timed: {err}"
    summary = None if compiled is None else summarise(compiled, times)
    return PlanContent(str(path), size, plan.sha256, plan.sidecar, compiled, note, times, summary)


def _from_engine(plan: Plan) -> Compiled:
    trt = load(plan.sidecar.host.backend)
    log = Log(trt)
    plan.check(Host.here(trt, current_device()))
    engine = plan.deserialize(trt, log)
    return from_inspector(engine_information(trt, engine), device_memory_size(engine), plan.sha256)
