"""Take in a plan that another program built: make its sidecar of what the engine says of itself."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from jdetrt.engine.onnx_file import OnnxFile
from jdetrt.engine.tensorrt.build_options import BuildOptions
from jdetrt.engine.tensorrt.compat import (
    Log,
    TensorRt,
    deserialize,
    device_memory_size,
    engine_information,
    io_specs,
)
from jdetrt.engine.tensorrt.device import current_device
from jdetrt.engine.tensorrt.layers import from_inspector
from jdetrt.engine.tensorrt.plan import FileFacts, Host, Plan, Sidecar, sidecar_path
from jdetrt.errors import SessionError
from jdetrt.files import write_json
from jdetrt.runtime.detector import check_model
from jdetrt.types import Session

__all__ = ["adopt_plan"]

_NAMES = {"int8": "int8", "float16": "fp16", "bfloat16": "bf16"}


def adopt_plan(trt: TensorRt, path: str | Path, model: str | Path | None = None) -> Sidecar:
    """Write the sidecar of a plan that has none, for this machine, on which TensorRT loads it.

    Args:
        trt: the TensorRT that made it.
        path: the plan, such as of trtexec, DeepStream or ModelOpt, of a model of ``jdetrt export``.
        model: the ONNX file that it was built from, whose notes (tracker settings, and the sizes
            and anchors of the network) then travel with the plan.

    Returns:
        The sidecar.

    Raises:
        SessionError: there is no plan, it has a sidecar, TensorRT refuses it, or it is another
            model.
        OutputError: the sidecar cannot be written.
    """
    plan = Plan(path)
    if sidecar_path(plan.path).exists():
        raise SessionError(
            f"{plan.path}: has a sidecar, {sidecar_path(plan.path).name}; delete that first if it "
            "is of another plan"
        )
    log = Log(trt)
    try:
        engine = deserialize(trt, log, plan.content, host_code=False)
    except SessionError as err:
        raise SessionError(
            f"{plan.path}: {err}. A plan loads on the TensorRT version and the kind of GPU that it "
            "was built with"
        ) from err
    inputs, outputs = io_specs(trt, engine)
    try:
        check_model(cast("Session", SimpleNamespace(inputs=inputs, outputs=outputs)))
    except SessionError as err:
        raise SessionError(f"{plan.path}: {err}") from err
    compiled = from_inspector(
        engine_information(trt, engine), device_memory_size(engine), plan.sha256
    )
    source = None if model is None else OnnxFile(model)
    types = [_NAMES[kind] for kind in _NAMES if kind in compiled.convolutions]
    sidecar = Sidecar(
        host=Host.here(trt, current_device()),
        model=FileFacts(
            name="unknown" if source is None else source.path.name,
            sha256="" if source is None else source.sha256,
            bytes=0 if source is None else source.bytes,
        ),
        plan=FileFacts(name=plan.path.name, sha256=plan.sha256, bytes=len(plan.content)),
        options=BuildOptions(batch=_batch(engine, inputs[0].name, inputs[0].shape)),
        typing="unknown",
        precision="+".join(types) or ("fp32" if "float32" in compiled.convolutions else "unknown"),
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        calibration=None,
        workspace_mib=None,
        fallback=(),
        metadata={} if source is None else source.metadata,
        build_seconds=0.0,
        convolutions=compiled.convolutions,
    )
    write_json(sidecar_path(plan.path), sidecar)
    return sidecar


def _batch(engine: Any, name: str, shape: tuple[int, ...]) -> tuple[int, int, int]:
    if shape[0] != -1:
        return shape[0], shape[0], shape[0]
    fewest, usual, most = engine.get_tensor_profile_shape(name, 0)
    return int(fewest[0]), int(usual[0]), int(most[0])
