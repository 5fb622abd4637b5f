"""Plans of one network in several precisions: built, timed in turn, and the best one kept."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from jdetrt import shipped
from jdetrt.engine.onnx_file import OnnxFile
from jdetrt.errors import BuildError
from jdetrt.files import scratch_folder
from jdetrt.functions.tasks import build_plan
from jdetrt.progress import NO_PROGRESS, Progress

if TYPE_CHECKING:
    from jdetrt.engine.tensorrt.build_options import BuildOptions
    from jdetrt.engine.tensorrt.compat import TensorRt
    from jdetrt.engine.tensorrt.plan import Sidecar

__all__ = ["PlanChoice", "choose_plan", "int8_faults", "time_plans"]

PRECISIONS = ("fp32", "fp16", "int8")
TRACKING_DROP = 1.0  # points of HOTA, MOTA or IDF1 that INT8 may cost
_ROUNDS, _RUNS, _WARM_UP = 3, 100, 20
_SUFFIX = re.compile(r"[.-](fp32|fp16|int8)$")


class PlanChoice(msgspec.Struct, frozen=True):
    """The plan that was kept.

    Attributes:
        precision: of it.
        milliseconds: median of a run of the network on the GPU's clock, by precision.
        why: the reason, in words.
        sidecar: of the plan.
    """

    precision: str
    milliseconds: dict[str, float]
    why: str
    sidecar: Sidecar


def choose_plan(
    model: str | Path,
    output: str | Path,
    precisions: Sequence[str],
    *,
    options: BuildOptions,
    calibration_cache: Path | None = None,
    timing_cache: Path | None = None,
    report: Path | None = None,
    progress: Progress = NO_PROGRESS,
) -> PlanChoice:
    """Build a plan in each precision, time them in turn, and keep the fastest that is accurate.

    Args:
        model: an ONNX model in one of the precisions; the others are files beside it, named
            ``NAME.fp16.onnx`` and so on, or, up to TensorRT 10, chosen by TensorRT.
        output: the plan to write.
        precisions: two or more of `PRECISIONS`.
        options: of the builds.
        calibration_cache: ranges for INT8 that TensorRT chooses.
        timing_cache: as in `build_plan`.
        report: the JSON of ``jdetrt calibrate``, which says what INT8 does to detection and
            tracking; without it INT8 is timed and not kept.
        progress: gets the phases of each build.

    Raises:
        BuildError: there is no model in a precision, or no plan can be kept.
        CalibrationError: the report cannot be read.
        EngineError, OutputError: as `build_plan`; a plan cannot be run.
    """
    from jdetrt.engine.tensorrt.compat import load
    from jdetrt.engine.tensorrt.plan import Plan, write_plan

    if len(set(precisions)) < 2 or not set(precisions) <= set(PRECISIONS):
        raise BuildError(
            f"--compare {','.join(precisions)}: expected two or three of {', '.join(PRECISIONS)}"
        )
    trt, path, output = load(), shipped.resolve(model), Path(output)
    found = {name: _model_of(path, name, trt, options, calibration_cache) for name in precisions}
    with scratch_folder("compare") as folder:
        plans = {}
        for name, (file, chosen) in found.items():
            progress.message(f"Building {name}: {file.name}")
            plans[name] = Path(folder) / f"{name}.plan"
            uses_cache = chosen.precision == "int8"
            build_plan(
                file,
                plans[name],
                options=chosen,
                calibration_cache=calibration_cache if uses_cache else None,
                timing_cache=timing_cache,
                progress=progress,
            )
        times = time_plans(plans)
        faults = int8_faults(found["int8"][0], report) if "int8" in found else []
        kept, why = _decide(times, faults)
        plan = Plan(plans[kept])
        sidecar = msgspec.structs.replace(
            plan.sidecar, plan=msgspec.structs.replace(plan.sidecar.plan, name=output.name)
        )
        write_plan(output, bytes(plan.content), sidecar)
    return PlanChoice(kept, times, why, sidecar)


def time_plans(plans: Mapping[str, Path]) -> dict[str, float]:
    """Median milliseconds of the network of each plan, in rounds, so that drifts fall on all.

    Raises:
        EngineError: a plan cannot be run.
    """
    from jdetrt.engine.tensorrt.session import TensorRtSession

    times: dict[str, list[float]] = {name: [] for name in plans}
    for _ in range(_ROUNDS):
        for name, path in plans.items():  # one at a time: a small board has no room for two
            with TensorRtSession(path) as session:
                spec = session.inputs[0]
                shape = tuple(1 if size == -1 else size for size in spec.shape)
                images = np.random.default_rng(0).random(shape).astype(spec.dtype)
                for number in range(_WARM_UP + _RUNS):
                    session.infer({spec.name: images})
                    if number >= _WARM_UP and session.last_run_seconds is not None:
                        times[name].append(1e3 * session.last_run_seconds)
    return {name: float(np.median(values)) for name, values in times.items()}


def int8_faults(model: Path, report: Path | None) -> list[str]:
    """Reasons why a quantised model is not accurate enough, from the report of its calibration.

    Raises:
        CalibrationError: the report cannot be read.
    """
    from jdetrt.calibration.record import CalibrationRecord

    if report is None:
        return ["what it does to tracking is not known (--calibration-report)"]
    record = CalibrationRecord.read(report)
    if OnnxFile(model).sha256 not in [one.sha256 for one in record.written]:
        return [f"{report.name} is about another model than {model.name}"]
    faults = list(record.outside or ())
    if record.targets is not None and record.chosen.cosine < record.targets.cosine:
        faults.append(f"cosine {record.chosen.cosine:.4f}, expected {record.targets.cosine:g}")
    rows = record.accuracy.rows if record.accuracy is not None else {}
    if {"FP32", "INT8"} <= set(rows):
        for score in ("hota", "mota", "idf1"):
            before, after = (_score(rows[name], score) for name in ("FP32", "INT8"))
            if before is not None and after is not None and before - after > TRACKING_DROP:
                faults.append(f"{score.upper()} falls from {before:.1f} to {after:.1f}")
    return faults


def _score(row: Mapping[str, Any], name: str) -> float | None:
    """The mean over perturbed boxes where there is one, else of the single run."""
    values = (row.get("shaken") or {}).get(name)
    single = row.get(name)
    return mean(values) if values else None if single is None else float(single)


def _decide(times: Mapping[str, float], faults: Sequence[str]) -> tuple[str, str]:
    order = sorted(times, key=times.__getitem__)
    told = ", ".join(f"{name} {times[name]:.3f} ms" for name in order)
    accurate = [name for name in order if name != "int8" or not faults]
    kept = accurate[0]
    if kept == order[0]:
        return kept, f"it is the fastest ({told})"
    return kept, f"INT8 is faster ({told}), but {'; '.join(faults)}"


def _model_of(
    path: Path, precision: str, trt: TensorRt, options: BuildOptions, ranges: Path | None
) -> tuple[Path, BuildOptions]:
    """The ONNX file of a precision, and the options to build it with."""
    own = OnnxFile(path).metadata.get("precision", "fp32")
    if own.partition("+")[0] == precision:
        return path, options
    beside = path.with_name(f"{_SUFFIX.sub('', path.stem)}.{precision}.onnx")
    if beside.is_file():
        return beside, options
    if own == "fp32" and trt.weak_typing and (precision == "fp16" or ranges is not None):
        return path, msgspec.structs.replace(options, precision=precision)
    raise BuildError(
        f"{path}: has the precision {own}, and there is no {beside.name} beside it; make it with "
        + (
            "`jdetrt calibrate`"
            if precision == "int8"
            else f"`jdetrt export --precision {precision}`"
        )
    )
