"""The settings of a build, as each TensorRT takes them; what it cannot do is refused in words."""

from __future__ import annotations

import re
from typing import Any

from jdetrt.engine.tensorrt.build_options import BuildOptions
from jdetrt.engine.tensorrt.builder.onnx_parser import BODY, DECODE, Network
from jdetrt.engine.tensorrt.compat import TensorRt
from jdetrt.engine.tensorrt.refit import can_refit
from jdetrt.errors import BuildError

__all__ = ["check_options", "configure", "is_strong"]

_XY = re.compile(r"\d+\.\d")
_HARDWARE = {"same-compute-capability": "SAME_COMPUTE_CAPABILITY", "ampere+": "AMPERE_PLUS"}

# Up to this optimisation level TensorRT guesses which kernels are fast and times only those.
_GUESSING_LEVEL = 2
_FOREIGN_KERNELS = ("CUBLAS", "CUBLAS_LT", "CUDNN")
_NO_DLA = "a Jetson Orin Nano has none, nor do TensorRT 10.8 to 11.4.0 support any"
_NO_FOREIGN_KERNELS = "DISABLE_EXTERNAL_TACTIC_SOURCES_FOR_CORE_0805"


def is_strong(trt: TensorRt, options: BuildOptions) -> bool:
    """Tell whether every tensor is to have the type of the graph.

    The DLA takes strongly typed networks only where weakly typed ones are gone.
    """
    wanted = options.precision == "graph" and not (options.dla_core is not None and trt.weak_typing)
    return trt.strong_typing and wanted


def check_options(trt: TensorRt, options: BuildOptions, *, calibrator: bool) -> None:
    """Refuse what this TensorRT cannot do before anything is read.

    Raises:
        BuildError: says what, and what to do instead.
    """
    for wanted, there, what in (
        (
            options.precision != "graph",
            trt.weak_typing,
            f"choose {options.precision} by itself: precision is in the model. Export it with "
            "`jdetrt export --precision fp16`, or quantise it with `jdetrt calibrate`",
        ),
        (calibrator, trt.calibration, "calibrate: quantise the model with `jdetrt calibrate`"),
        (
            options.version_compatible,
            trt.has("BuilderFlag", "VERSION_COMPATIBLE") and not trt.ahead_of_time,
            "make plans for other versions; build on each machine",
        ),
        (
            options.hardware != "this",
            trt.has("HardwareCompatibilityLevel", _HARDWARE.get(options.hardware, ""))
            and not trt.ahead_of_time,
            f"make plans for '{options.hardware}'"
            + ("; name --compute-capability" if trt.ahead_of_time else "; build on each machine"),
        ),
        (
            bool(options.compute_capabilities),
            trt.ahead_of_time,
            "build for named compute capabilities; use --backend tensorrt-rtx",
        ),
        (options.dla_core is not None, not trt.ahead_of_time, "build for a DLA"),
        (
            options.strip,
            can_refit(trt),
            "leave the weights out of a plan and put them in later; build without --strip",
        ),
    ):
        if wanted and not there:
            raise BuildError(f"{trt.backend} {trt.version} cannot {what}")
    if calibrator and options.precision != "int8":
        raise BuildError(
            "--calibration-cache is for --precision int8; add that option, or leave "
            "--calibration-cache out"
        )
    if options.calibration_cache is not None and not calibrator:
        raise BuildError(
            f"nothing reads {options.calibration_cache}: give `build_plan` a calibrator of it "
            "(`jdetrt.engine.tensorrt.calibration_cache.cache_calibrator`)"
        )
    fewest, _, most = options.batch
    if options.dla_core is not None and fewest != most:
        raise BuildError("the DLA supports only one batch size; give --batch a single number")


def configure(
    trt: TensorRt,
    builder: Any,
    config: Any,
    network: Network,
    options: BuildOptions,
    *,
    strong: bool,
    calibrator: bool,
    workspace: int | None,
) -> tuple[str, ...]:
    """Set up a build.

    Args:
        trt: the module.
        builder: its ``Builder``.
        config: the ``IBuilderConfig`` to change.
        network: the network; weakly typed ones get the precisions of their layers here.
        options: how.
        strong: the network is strongly typed.
        calibrator: INT8 ranges come from a calibrator.
        workspace: bytes that a kernel may use; None for no limit.

    Returns:
        Layers of the body that the DLA does not run; nothing without one.

    Raises:
        BuildError: it is asked for something that this TensorRT or this network does not have.
    """
    module = trt.module
    config.profiling_verbosity = module.ProfilingVerbosity.DETAILED
    if workspace is not None:
        config.set_memory_pool_limit(module.MemoryPoolType.WORKSPACE, workspace)
    if options.optimization_level is not None:
        _set_effort(trt, config, options.optimization_level)
    if options.version_compatible:
        config.set_flag(module.BuilderFlag.VERSION_COMPATIBLE)
    if options.strip:  # REFIT, or only the very same weights could be put in
        config.set_flag(module.BuilderFlag.STRIP_PLAN)
        config.set_flag(module.BuilderFlag.REFIT)
    if options.hardware != "this":
        level = _HARDWARE[options.hardware]
        config.hardware_compatibility_level = getattr(module.HardwareCompatibilityLevel, level)
    if options.compute_capabilities:
        _set_targets(trt, config, options.compute_capabilities)
    _set_own_kernels(trt, config)
    _set_batch(builder, config, network, options.batch)
    if not strong:
        _set_precision(trt, config, network, options, calibrator=calibrator)
    if options.dla_core is None:
        return ()
    return _set_dla(trt, builder, config, network, options.dla_core)


def _set_effort(trt: TensorRt, config: Any, level: int) -> None:
    if hasattr(config, "builder_optimization_level"):
        config.builder_optimization_level = level
    elif level <= _GUESSING_LEVEL:  # 8.5 guesses, or times all kernels
        config.set_flag(trt.module.BuilderFlag.ENABLE_TACTIC_HEURISTIC)


def _set_targets(trt: TensorRt, config: Any, capabilities: tuple[str, ...]) -> None:
    known = trt.module.ComputeCapability.__members__
    names = {c: f"SM{c.replace('.', '')}" for c in capabilities}
    if unknown := [c for c, name in names.items() if not (_XY.fullmatch(c) and name in known)]:
        numbers = sorted(int(name[2:]) for name in known if name.startswith("SM"))
        there = ", ".join(f"{number // 10}.{number % 10}" for number in numbers)
        raise BuildError(
            f"{trt.backend} {trt.version} does not build for the compute capability "
            f"{', '.join(unknown)}; it builds for: {there}"
        )
    config.num_compute_capabilities = len(names)
    for index, name in enumerate(names.values()):
        config.set_compute_capability(known[name], index)


def _set_own_kernels(trt: TensorRt, config: Any) -> None:
    """No kernels of cuDNN and cuBLAS, which 8.5 would take: the plan needs TensorRT alone.

    Every later TensorRT leaves them out by itself (release notes of 8.5.2, "Announcements").
    """
    sources = trt.module.TacticSource.__members__
    foreign = sum(1 << int(sources[name]) for name in _FOREIGN_KERNELS if name in sources)
    if foreign:
        config.set_tactic_sources(config.get_tactic_sources() & ~foreign)
    if trt.has("PreviewFeature", _NO_FOREIGN_KERNELS):
        feature = getattr(trt.module.PreviewFeature, _NO_FOREIGN_KERNELS)
        config.set_preview_feature(feature, True)


def _set_batch(builder: Any, config: Any, network: Network, batch: tuple[int, int, int]) -> None:
    profile = None
    for spec in network.inputs:
        if not spec.shape:
            raise BuildError(
                f"{network.path}: the input '{spec.name}' is a single number; is this a JDE model?"
            )
        size, rest = spec.shape[0], spec.shape[1:]
        if -1 in rest:
            raise BuildError(
                f"{network.path}: the input '{spec.name}' has free dimensions besides the "
                f"batch, {spec.shape}; export the model with a fixed size"
            )
        if size != -1:
            if batch not in ((1, 1, 1), (size, size, size)):
                raise BuildError(
                    f"{network.path}: has a fixed batch size of {size}; leave --batch out, "
                    f"or export it with --dynamic-batch"
                )
            continue
        profile = profile or builder.create_optimization_profile()
        profile.set_shape(spec.name, *((pictures, *rest) for pictures in batch))
    if profile is not None:
        config.add_optimization_profile(profile)


def _set_precision(
    trt: TensorRt, config: Any, network: Network, options: BuildOptions, *, calibrator: bool
) -> None:
    """The types of the graph, or what is asked for, as flags; decoding stays in float32."""
    flags = trt.module.BuilderFlag
    quantised = "int8" in network.precision
    if options.precision == "int8" and not (quantised or calibrator):
        raise BuildError(
            f"{network.path}: INT8 needs the ranges of the tensors: give "
            f"--calibration-cache FILE, "
            "or quantise the model with `jdetrt calibrate`"
        )
    if options.precision == "int8" or quantised:
        config.set_flag(flags.INT8)
    # With INT8 alone, what is not quantised would run in float32.
    if options.precision != "graph" or network.precision != "fp32" or options.dla_core is not None:
        config.set_flag(flags.FP16)
    config.set_flag(flags.OBEY_PRECISION_CONSTRAINTS)
    single = trt.module.DataType.FLOAT
    for layer in network.layers():
        if layer.name.startswith(DECODE) and layer.get_output(0).dtype == single:
            layer.precision = single
            layer.set_output_type(0, single)


def _set_dla(
    trt: TensorRt, builder: Any, config: Any, network: Network, core: int
) -> tuple[str, ...]:
    if "int8" in network.precision:
        raise BuildError(
            f"{network.path}: has INT8 in its graph (QuantizeLinear), which the DLA does not "
            "accept; build the float model with --precision int8 --calibration-cache FILE "
            "(`jdetrt calibrate --calibration-cache` writes it), or leave --dla-core out"
        )
    if core >= builder.num_DLA_cores:
        raise BuildError(
            f"this machine has no DLA core {core}: TensorRT {trt.version} reports "
            f"{builder.num_DLA_cores} cores ({_NO_DLA}). Leave --dla-core out"
        )
    config.DLA_core = core
    config.set_flag(trt.module.BuilderFlag.GPU_FALLBACK)
    body = [layer for layer in network.layers() if layer.name.startswith(BODY)]
    refused = []
    for layer in body:
        if config.can_run_on_DLA(layer):
            config.set_device_type(layer, trt.module.DeviceType.DLA)
        else:
            refused.append(layer.name)
    if len(refused) == len(body):
        raise BuildError(
            f"{network.path}: the DLA supports no layer of this model's body; leave --dla-core out"
        )
    return tuple(refused)
