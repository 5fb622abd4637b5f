"""Give a plan the weights of an ONNX model: what is sent to boards is then small.

A plan of ``jdetrt build --strip`` has no weights. TensorRT puts those of a model of the same graph
in, on the board, in seconds and without a search for kernels.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec

from jdetrt import shipped
from jdetrt.engine.onnx_file import OnnxFile
from jdetrt.engine.tensorrt.compat import Log, TensorRt, deserialize
from jdetrt.engine.tensorrt.device import current_device
from jdetrt.engine.tensorrt.plan import FileFacts, Host, Plan, Sidecar, write_plan
from jdetrt.errors import BuildError
from jdetrt.runtime.opencv import native_name

__all__ = ["can_refit", "refit_plan"]

_SAME = ("body", "width", "height", "precision")  # metadata that a graph goes by


def can_refit(trt: TensorRt) -> bool:
    """Tell whether plans without weights can be built, and weights be put in from ONNX models."""
    return trt.has("BuilderFlag", "STRIP_PLAN") and hasattr(trt.module, "OnnxParserRefitter")


def refit_plan(trt: TensorRt, path: str | Path, model: str | Path, output: str | Path) -> Sidecar:
    """Write a plan with the weights of a model. Takes seconds.

    Args:
        trt: the TensorRT that built the plan.
        path: a plan of ``jdetrt build --strip``, or one that an earlier call wrote.
        model: an ONNX file with the same graph.
        output: the plan to write, with its sidecar; may be ``path``.

    Returns:
        The sidecar.

    Raises:
        BuildError: this TensorRT cannot do it, the plan has its weights fixed, or the model is of
            another graph.
        PlanMismatchError, SessionError: the plan does not fit this machine, or cannot be read.
        OutputError: the plan cannot be written.
    """
    if not can_refit(trt):
        raise BuildError(
            f"{trt.backend} {trt.version} cannot put the weights of an ONNX model into a plan; "
            "build the plan again"
        )
    plan, source, output = Plan(path), OnnxFile(model), Path(output)
    plan.check(Host.here(trt, current_device()))
    _check_same(plan.sidecar, source)
    log = Log(trt)
    options = plan.sidecar.options
    engine = deserialize(
        trt,
        log,
        plan.content,
        host_code=options.version_compatible,
        dla_core=options.dla_core,
    )
    if not engine.refittable:
        raise BuildError(
            f"{plan.path}: its weights are fixed; build it with `jdetrt build --strip` to change "
            "them"
        )
    _refit(trt, log, engine, source)
    data = _serialize(trt, log, engine)
    sidecar = msgspec.structs.replace(
        plan.sidecar,
        model=FileFacts(shipped.name_of(source.path), source.sha256, source.bytes),
        plan=FileFacts(output.name, hashlib.sha256(data).hexdigest(), len(data)),
        options=msgspec.structs.replace(options, strip=False),
        metadata=source.metadata,
    )
    write_plan(output, data, sidecar)
    return sidecar


def _check_same(sidecar: Sidecar, source: OnnxFile) -> None:
    was, given = sidecar.metadata, source.metadata
    other = [
        f"{name} {was[name]} there and {given[name]} here"
        for name in _SAME
        if name in was and name in given and was[name] != given[name]
    ]
    if other:
        raise BuildError(
            f"{source.path}: is another network than that of the plan ({'; '.join(other)}); build "
            "a plan of it"
        )


def _refit(trt: TensorRt, log: Log, engine: Any, source: OnnxFile) -> None:
    refitter = trt.module.Refitter(engine, log.logger)
    parser = trt.module.OnnxParserRefitter(refitter, log.logger)
    done = parser.refit_from_file(native_name(source.path, BuildError))
    if not done or not refitter.refit_cuda_engine():
        errors = [parser.get_error(index).desc() for index in range(parser.num_errors)]
        missing = list(refitter.get_missing_weights())
        errors += [f"weights that the model lacks: {', '.join(missing[:5])}"] * bool(missing)
        raise BuildError(
            f"{source.path}: its weights do not fit the plan: "
            f"{'; '.join(errors) or log.reason()}. It must have the graph that the plan was built "
            "from"
        )


def _serialize(trt: TensorRt, log: Log, engine: Any) -> bytes:
    """The whole engine, weights included, which can be refitted again."""
    config = engine.create_serialization_config()
    module = trt.module
    config.clear_flag(module.SerializationFlag.EXCLUDE_WEIGHTS)
    if trt.has("SerializationFlag", "INCLUDE_REFIT"):
        config.set_flag(module.SerializationFlag.INCLUDE_REFIT)
    data = engine.serialize_with_config(config)
    if data is None:
        raise BuildError(f"TensorRT cannot write the plan: {log.reason()}")
    return bytes(memoryview(data))
