"""Convolutions that a model has in INT8: how many of them a plan runs in INT8."""

from __future__ import annotations

import logging

from jdetrt.engine.tensorrt.build_options import BuildOptions
from jdetrt.engine.tensorrt.builder.onnx_parser import Network
from jdetrt.engine.tensorrt.compat import (
    Log,
    TensorRt,
    deserialize,
    device_memory_size,
    engine_information,
)
from jdetrt.engine.tensorrt.layers import Compiled, from_inspector
from jdetrt.errors import BuildError, SessionError

__all__ = ["check_int8", "inspect_plan"]

_FLOATS = ("float32", "float16", "bfloat16")

_log = logging.getLogger(__name__)


def inspect_plan(
    trt: TensorRt, log: Log, plan: bytes, options: BuildOptions, digest: str
) -> Compiled | None:
    """Give the layers of a plan that was just built; None where it cannot be loaded here."""
    try:
        engine = deserialize(
            trt, log, plan, host_code=options.version_compatible, dla_core=options.dla_core
        )
    except SessionError as err:
        _log.info("the layers of the plan are not counted: %s", err)
        return None
    return from_inspector(engine_information(trt, engine), device_memory_size(engine), digest)


def check_int8(network: Network, compiled: Compiled | None, *, allow_float: bool) -> None:
    """Refuse a plan that runs convolutions in float which its model has in INT8.

    What is fused into one kernel with others may not be told apart, so only convolutions that are
    seen to run in float count.

    Raises:
        BuildError: INT8 was lost, and ``allow_float`` is not set; else it is logged.
    """
    if compiled is None or not network.quantised:
        return
    counts = compiled.convolutions
    in_float = sum(counts.get(dtype, 0) for dtype in _FLOATS)
    lost = in_float - (network.convolutions - network.quantised)
    if lost <= 0:
        return
    words = (
        f"{network.path}: TensorRT runs {lost} of {network.quantised} convolutions in float that "
        f"the model has in INT8 ({counts.get('int8', 0)} run in INT8), which may be slower than "
        "FP16"
    )
    if not allow_float:
        raise BuildError(
            f"{words}. Quantise the model in the form of this machine (`jdetrt calibrate --for`), "
            "leave those layers out (--leave-out), or take the plan as it is with --allow-float"
        )
    _log.warning("%s", words)
