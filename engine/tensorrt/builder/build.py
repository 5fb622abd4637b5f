"""From an ONNX model to a plan, on whatever TensorRT is installed.

Precision lives in the model: where TensorRT has strong typing, every tensor keeps the type that it
has in the graph. Where it has none (8.5, 8.6), the types of the graph become flags, and decoding is
held in float32 by hand.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jdetrt import shipped
from jdetrt.engine.onnx_file import OnnxFile
from jdetrt.engine.tensorrt.build_options import BuildOptions
from jdetrt.engine.tensorrt.builder.config import check_options, configure, is_strong
from jdetrt.engine.tensorrt.builder.fp16_beside import tell_more_work
from jdetrt.engine.tensorrt.builder.memory import (
    Workspace,
    check_memory,
    default_workspace,
    page_cache_advice,
)
from jdetrt.engine.tensorrt.builder.onnx_parser import Network, parse
from jdetrt.engine.tensorrt.builder.progress import Watch, run_build
from jdetrt.engine.tensorrt.builder.quantised import check_int8, inspect_plan
from jdetrt.engine.tensorrt.builder.timing_cache import (
    default_timing_cache,
    keep_timings,
    use_timings,
)
from jdetrt.engine.tensorrt.cache_folder import lock_path
from jdetrt.engine.tensorrt.compat import Log, TensorRt
from jdetrt.engine.tensorrt.device import Device, current_device
from jdetrt.engine.tensorrt.layers import from_log, layers_path
from jdetrt.engine.tensorrt.plan import FileFacts, Host, Sidecar, sidecar_path, write_plan
from jdetrt.errors import BuildError, OutputError, SessionError
from jdetrt.file_check import check
from jdetrt.file_kind import PLAN_SUFFIXES
from jdetrt.files import check_writable, write_json
from jdetrt.progress import NO_PROGRESS, Progress
from jdetrt.runtime.signals import interrupt_held

__all__ = ["build_plan"]

_MIB = 1 << 20
# https://github.com/NVIDIA/TensorRT/issues/3040; seen with nano on 8.5.3.
_INT8_FAULT = "incorrectly marked as an int8 node"
# What TensorRT says when memory is the reason, in its versions.
_MEMORY_LACKS = "Memory is what is lacking"
_MEMORY_WORDS = ("out of memory", "outofmemory", "bad_alloc", "workspace limit", "failed_alloc")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Built:
    """Result of a build: the plan, and facts about it."""

    plan: bytes
    network: Network
    config: Any
    timings: Any  # an ITimingCache; None where none are kept
    fallback: tuple[str, ...]


def build_plan(
    trt: TensorRt,
    model: str | Path | OnnxFile,
    output: str | Path,
    options: BuildOptions | None = None,
    *,
    timings: Path | None = None,
    calibrator: Callable[[TensorRt], Any] | None = None,
    progress: Progress = NO_PROGRESS,
) -> Sidecar:
    """Build a plan and its sidecar. Takes seconds to tens of minutes.

    Args:
        trt: what builds it, `jdetrt.engine.tensorrt.compat.load`.
        model: an ``.onnx`` file.
        output: the plan to write; it appears only when it is whole, with its sidecar.
        options: how.
        timings: the timing cache; None for the one in the cache folder, where it is no fault that
            it cannot be written.
        calibrator: makes an INT8 calibrator, for ``precision="int8"`` of a model without Q/DQ.
        progress: told of the phases of the build, where TensorRT reports them.

    Returns:
        The sidecar.

    Raises:
        BuildError: TensorRT cannot do what is asked, does not take the model, fails, or runs in
            float what the model has in INT8.
        SessionError: the model cannot be read.
        OutputError: the plan cannot be written; or ``timings`` cannot, which leaves the plan.
        KeyboardInterrupt: Ctrl-C; nothing is written or, late, the plan and its sidecar.
    """
    model = model if isinstance(model, OnnxFile) else OnnxFile(model)
    output, options = Path(output), options or BuildOptions()
    check_options(trt, options, calibrator=calibrator is not None)
    check(model.path, "build", SessionError)
    # First: a model that changes after this is refused, and its notes are not read later.
    facts = FileFacts(name=shipped.name_of(model.path), sha256=model.sha256, bytes=model.bytes)
    metadata = model.metadata
    _check_outputs(output, timings)
    device = current_device()
    if device is None and not trt.ahead_of_time:
        raise BuildError(
            f"TensorRT {trt.version} builds plans on the GPU that will run them, but this "
            f"machine has no GPU or no driver; `jdetrt doctor` says what is missing"
        )
    check_memory(facts.bytes)

    log = Log(trt)
    workspace = _workspace(options, device, facts.bytes)
    cache = (timings or default_timing_cache(trt, device)) if trt.timing_cache else None

    def build(watch: Watch) -> _Built:
        return _build(trt, log, model, options, workspace.bytes, cache, calibrator, watch)

    start = time.perf_counter()
    try:
        built = run_build(trt, build, progress)
    except BuildError as err:
        advice = page_cache_advice(device) if _MEMORY_LACKS in str(err) else ""
        if not advice:
            raise
        raise BuildError(f"{err}\n{advice}") from err
    seconds = time.perf_counter() - start

    network, digest = built.network, hashlib.sha256(built.plan).hexdigest()
    logged = from_log(log.compiled, digest)
    compiled = logged
    if network.quantised and logged is None:
        compiled = inspect_plan(trt, log, built.plan, options, digest)
    try:
        check_int8(network, compiled, allow_float=options.allow_float)
    except BuildError:
        if cache is not None:
            _keep(built, cache, output, wanted=False)  # the next build is a quick one
        raise
    sidecar = Sidecar(
        host=Host.here(trt, device),
        model=facts,
        plan=FileFacts(name=output.name, sha256=digest, bytes=len(built.plan)),
        options=options,
        typing="strong" if is_strong(trt, options) else "weak",
        precision=_precision(trt, options, network),
        inputs=network.inputs,
        outputs=network.outputs,
        calibration=_calibration(options, metadata, calibrator is not None),
        workspace_mib=None if workspace.bytes is None else workspace.bytes // _MIB,
        workspace_source=workspace.source,
        fallback=built.fallback,
        metadata=metadata,
        build_seconds=round(seconds, 3),
        convolutions=None if compiled is None else compiled.convolutions,
        quantised=network.quantised,
    )
    with interrupt_held():
        write_plan(output, built.plan, sidecar)
        if logged is not None:  # where no GPU can load the plan to tell it
            write_json(layers_path(output), logged, indent=1)
    tell_more_work(output, sidecar, compiled)
    if cache is not None:
        _keep(built, cache, output, wanted=timings is not None)
    return sidecar


def _build(
    trt: TensorRt,
    log: Log,
    model: OnnxFile,
    options: BuildOptions,
    workspace: int | None,
    cache: Path | None,
    calibrator: Callable[[TensorRt], Any] | None,
    watch: Watch,
) -> _Built:
    """All that TensorRT does, in a thread that no signal arrives in."""
    builder = _builder(trt, log)
    watch.check()
    strong = is_strong(trt, options)
    network = parse(
        trt, builder, log, model.path, strong=strong, for_dla=options.dla_core is not None
    )
    if OnnxFile(model.path).sha256 != model.sha256:
        raise BuildError(f"{model.path}: was changed while it was being read; build again")
    watch.check()
    config = builder.create_builder_config()
    fallback = configure(
        trt,
        builder,
        config,
        network,
        options,
        strong=strong,
        calibrator=calibrator is not None,
        workspace=workspace,
    )
    ranges = None if calibrator is None else calibrator(trt)  # it must live as long as the build
    if ranges is not None:
        config.int8_calibrator = ranges
    timings = None if cache is None else use_timings(config, cache)
    watch.check()
    watch.over(config)
    plan = _serialize(builder, network, config, log)
    # TensorRT only prints what its calibrator raises, and builds on.
    if (failure := getattr(ranges, "failure", None)) is not None:
        raise failure
    return _Built(plan, network, config, timings, fallback)


def _keep(built: _Built, cache: Path, output: Path, *, wanted: bool) -> None:
    """Keep the timings; the plan is written by now, and no fault here may cost it."""
    try:
        keep_timings(built.config, built.timings, cache)
    except OutputError as err:
        if wanted:
            raise OutputError(f"{err}. The plan {output} is complete") from err
        _log.warning("the timings of this build are not kept: %s", err)


def _precision(trt: TensorRt, options: BuildOptions, network: Network) -> str:
    if options.precision != "graph":
        return options.precision
    return (
        network.precision
        if is_strong(trt, options) or "int8" not in network.precision
        else (
            "int8+fp16"  # weakly typed, the rest may be halved
        )
    )


def _calibration(options: BuildOptions, metadata: dict[str, str], calibrator: bool) -> str | None:
    if calibrator:
        return options.calibration_cache or "a calibrator"
    return metadata.get("calibration")


def _check_outputs(output: Path, timings: Path | None) -> None:
    """Before the minutes of a build, see to it that its plan can be written, and found again."""
    if output.suffix.lower() not in PLAN_SUFFIXES:
        raise OutputError(f"{output}: the name of a plan must end in {', '.join(PLAN_SUFFIXES)}")
    needed = [output, sidecar_path(output), layers_path(output)]
    if timings is not None:
        needed += [timings, lock_path(timings)]
    for path in needed:
        check_writable(path)


def _builder(trt: TensorRt, log: Log) -> Any:
    try:
        builder = trt.module.Builder(log.logger)
    except TypeError as err:  # what 8.x makes of a missing driver
        raise BuildError(
            f"TensorRT {trt.version} cannot start: {log.reason()}; `jdetrt doctor` says what is "
            "missing"
        ) from err
    log.take_errors()  # those of another build, or of a driver that ahead of time is not needed
    return builder


def _workspace(options: BuildOptions, device: Device | None, model_bytes: int) -> Workspace:
    if options.workspace_mib is not None:
        return Workspace(options.workspace_mib * _MIB, "--workspace")
    return default_workspace(device, model_bytes)


def _serialize(builder: Any, network: Network, config: Any, log: Log) -> bytes:
    """Call TensorRT; give the bytes of the plan."""
    try:
        plan = builder.build_serialized_network(network.definition, config)
    except MemoryError as err:
        raise _failed(["out of memory"]) from err
    if plan is None:
        raise _failed(log.take_errors())
    return bytes(memoryview(plan))


def _failed(reasons: list[str]) -> BuildError:
    text = "\n  ".join(reasons or ["TensorRT gave no reason"])
    hint = ""
    if any(word in text.lower() for word in _MEMORY_WORDS):
        hint = (
            f"\n{_MEMORY_LACKS}: close programs that use the GPU, set another "
            "--workspace (MiB), or export the model at a smaller size"
        )
    if _INT8_FAULT in text:
        hint += (
            "\nTensorRT 8 fails so on some INT8 models with depthwise convolutions, those of nano "
            "among them (9 and later do not, its developers say): build with TensorRT 10, or try "
            "the float32 model with --precision int8 --calibration-cache (`jdetrt calibrate "
            "--cache` writes it)"
        )
    return BuildError(f"TensorRT cannot build this model:\n  {text}{hint}")
