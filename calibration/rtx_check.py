"""INT8 against FP16 on TensorRT-RTX, which compiles both ahead of time, without a GPU."""

from __future__ import annotations

from pathlib import Path

import onnx

from jdetrt.calibration.quantize.fp16_rest import to_half
from jdetrt.engine.tensorrt.build_options import BuildOptions
from jdetrt.engine.tensorrt.builder.build import build_plan
from jdetrt.engine.tensorrt.compat import load
from jdetrt.engine.tensorrt.describe import describe_plan
from jdetrt.engine.tensorrt.summary import PlanSummary, more_work
from jdetrt.errors import JdetrtError, MissingDependencyError

__all__ = ["rtx_warning"]

_CAPABILITY = "8.6"  # launches and bytes are the same from 8.0 to 12.0


def rtx_warning(quantised: Path, source: onnx.ModelProto, scratch: Path) -> str | None:
    """Say where an INT8 model does more work than the same model in FP16; None where it does not.

    Args:
        quantised: the INT8 model, for TensorRT-RTX.
        source: the float32 model that it was made from.
        scratch: a folder for two plans.
    """
    half = scratch / "rtx-fp16.onnx"
    half.write_bytes(to_half(source, "desktop").SerializeToString())
    try:
        more = more_work(_compile(quantised, scratch), _compile(half, scratch))
    except MissingDependencyError:
        return "not compared with FP16 on TensorRT-RTX, which is not installed: jdetrt[rtx]"
    except JdetrtError as err:
        return f"not compared with FP16 on TensorRT-RTX: {err}"
    if more is None:
        return None
    return f"on TensorRT-RTX INT8 does more than FP16, which may be faster: {more}"


def _compile(model: Path, scratch: Path) -> PlanSummary:
    plan = scratch / f"{model.stem}.rtx.plan"
    options = BuildOptions(compute_capabilities=(_CAPABILITY,), allow_float=True)
    build_plan(load("tensorrt-rtx"), model, plan, options)
    summary = describe_plan(plan).summary
    assert summary is not None  # TensorRT-RTX logs its layers
    return summary
