"""Work of each step of ``selftest gpu``, in a process of its own.

    python -m jdetrt.benchmarks.selftest.work TASK.json OUTCOME.json

A fault of the GPU spoils the process that it meets, and some builds never end: the run itself
touches neither.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from jdetrt.benchmarks.latency import measure_run
from jdetrt.benchmarks.result import Row, RunConfig, write_result
from jdetrt.benchmarks.selftest.networks import CACHE, size_of
from jdetrt.benchmarks.selftest.steps import BEST_WAY, Way
from jdetrt.engine.tensorrt.build_options import BuildOptions
from jdetrt.engine.tensorrt.compat import TensorRt, load
from jdetrt.errors import ConfigError, JdetrtError
from jdetrt.types import Session, Size

__all__ = ["Outcome", "Task", "do"]

_VERIFIED = 8  # frames
_STREAMS = (1, 4)
_SLOWEST = 10  # layers that are named


class Task(msgspec.Struct, kw_only=True, frozen=True):
    """A step, and what all steps of a run share.

    Attributes:
        plans: folder of the plans.
        source: a video, folder or sequence.
        frames: timed frames.
        repeats: of a timing.
        optimization_level: of a build.
        tests: folder of the tests on a GPU.
    """

    kind: str
    network: str
    precision: str
    way: dict[str, Any] | None
    files: list[str]
    plans: str
    source: str
    frames: int
    warm_up: int
    repeats: int
    optimization_level: int | None = None
    tests: str | None = None

    @property
    def plan(self) -> Path:
        """The plan that the step makes or uses."""
        return Path(self.plans) / f"{self.network}.{self.precision}.plan"


class Outcome(msgspec.Struct, kw_only=True):
    """Result of a step.

    Attributes:
        facts: what it found out.
        rows: of timings.
        error: why it failed; None where it did not.
    """

    facts: dict[str, Any] = {}
    rows: list[Row] = []
    error: str | None = None


def do(task: Task) -> Outcome:
    """Do one step; a fault of ours becomes its ``error``."""
    try:
        return _WORK[task.kind](task)
    except (JdetrtError, OSError, MemoryError) as err:
        return Outcome(error=f"{type(err).__name__}: {err}")


def _machine(_: Task) -> Outcome:
    from jdetrt.machine.doctor import diagnose

    return Outcome(facts={fact.name: f"{fact.status}: {fact.value}" for fact in diagnose()})


def _build(task: Task) -> Outcome:
    from jdetrt.engine.tensorrt.builder.build import build_plan
    from jdetrt.engine.tensorrt.calibration_cache import cache_calibrator

    trt, model, *cache = load(), *map(Path, task.files)
    options = BuildOptions(
        precision=_chosen_by_tensorrt(trt, task, model),
        calibration_cache=cache[0].name if cache else None,
        optimization_level=task.optimization_level,
        allow_float=True,  # it is told, and timed all the same
    )
    made = build_plan(
        trt,
        model,
        task.plan,
        options,
        timings=Path(task.plans) / "timings",
        calibrator=cache_calibrator(cache[0]) if cache else None,
    )
    return Outcome(
        facts={
            "build_seconds": made.build_seconds,
            "megabytes": made.plan.bytes / 1e6,
            "precision": made.precision,
            "typing": made.typing,
            "workspace_mib": made.workspace_mib,
            "convolutions": made.convolutions,
            "quantised": made.quantised,
        }
    )


def _chosen_by_tensorrt(trt: TensorRt, task: Task, model: Path) -> Any:
    if task.precision == CACHE:
        return "int8"
    from jdetrt.engine.onnx_file import OnnxFile

    whole = OnnxFile(model).metadata.get("precision", "fp32") == "fp32"
    return "fp16" if task.precision == "fp16" and whole and trt.weak_typing else "graph"


def _time(task: Task) -> Outcome:
    from jdetrt.engine.tensorrt.session import TensorRtSession

    assert task.way is not None
    way = task.way
    with TensorRtSession(
        task.plan, graphs=way["graph"], gpu_letterbox=way["gpu_letterbox"]
    ) as session:
        session.depth = way["depth"]
        row = _row(task, session, task.precision, "tensorrt")
        row.gpu_memory = asdict(session.memory())
    return Outcome(rows=[row])


def _torch(task: Task) -> Outcome:
    from jdetrt.benchmarks.selftest.eager import EagerSession, torch_facts

    with EagerSession(Path(task.files[0]), size_of(task.network)) as session:
        row = _row(task, session, "fp32", "torch")
    return Outcome(facts=torch_facts(), rows=[row])


def _row(task: Task, session: Session, precision: str, backend: str) -> Row:
    way = BEST_WAY if task.way is None else Way(**task.way)
    body = task.network.rpartition("-")[0]
    row = Row(
        size=Size(*size_of(task.network)),
        precision=precision,
        backend=backend,
        name=body if way == BEST_WAY else f"{body}, {way},",
        body=body,
        model=task.plan.name if backend == "tensorrt" else Path(task.files[0]).name,
    )
    config = RunConfig(frames=task.frames, warm_up=task.warm_up, rest=0.0)
    for _ in range(task.repeats):
        row.add(measure_run(session, task.source, config))
    return row


def _verify(task: Task) -> Outcome:
    from jdetrt.engine.open import open_session
    from jdetrt.engine.tensorrt.session import TensorRtSession
    from jdetrt.evaluation.agreement import verify
    from jdetrt.evaluation.tolerance import LIMITS
    from jdetrt.runtime.sources.open import open_source

    limits = LIMITS["int8" if task.precision == CACHE else task.precision]
    with (
        TensorRtSession(task.plan) as session,
        open_session(task.files[-1], backend="onnxruntime", provider="cpu") as reference,
        open_source(task.source) as source,
    ):
        result = verify(
            session,
            reference,
            itertools.islice(source, _VERIFIED),
            score_threshold=0.0,
            edge=limits.score,
        )
    # What TensorRT's own INT8 does is told and not judged: the model is not the one it runs.
    faults = [] if task.precision == CACHE else result.faults(limits)
    return Outcome(facts={**asdict(result), "faults": faults})


def _streams(task: Task) -> Outcome:
    from jdetrt.benchmarks.streams import measure_streams

    result = measure_streams(
        task.plan, [task.source], _STREAMS, frames=max(task.frames // 2, 3), repeats=1
    )
    return Outcome(
        facts={f"fps_of_{row.streams}": row.fps for row in result.rows}
        | {f"batch_of_{row.streams}": row.batch for row in result.rows}
    )


def _layers(task: Task) -> Outcome:
    from jdetrt.engine.tensorrt.describe import describe_plan

    content = describe_plan(task.plan, timed=True)
    if content.times is None or content.summary is None:
        return Outcome(error=content.note)
    slowest = sorted(content.times.milliseconds.items(), key=lambda item: -item[1])[:_SLOWEST]
    return Outcome(facts={**msgspec.to_builtins(content.summary), "slowest_ms": dict(slowest)})


def _tests(task: Task) -> Outcome:
    import subprocess

    if task.tests is None:
        raise ConfigError("the folder of the tests is not known")
    command = [sys.executable, "-m", "pytest", task.tests, "-q", "-m", "gpu"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider"],
        cwd=Path(task.tests).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = (done.stdout + done.stderr).strip().splitlines() or ["pytest said nothing"]
    facts = {"summary": lines[-1], "failures": [one for one in lines if one.startswith("FAILED")]}
    wrong = done.returncode != 0 or " passed" not in lines[-1]  # none that ran is no success
    return Outcome(facts=facts, error=f"pytest: {lines[-1]}" if wrong else None)


_WORK: dict[str, Callable[[Task], Outcome]] = {
    "machine": _machine,
    "build": _build,
    "time": _time,
    "verify": _verify,
    "torch": _torch,
    "tests": _tests,
    "streams": _streams,
    "layers": _layers,
}


if __name__ == "__main__":
    write_result(sys.argv[2], do(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Task)))
