"""Run of ``selftest gpu``: step by step within the time there is, written after each."""

from __future__ import annotations

import glob
import hashlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import mean

import msgspec

import jdetrt
from jdetrt.benchmarks.result import Row, write_result
from jdetrt.benchmarks.selftest.networks import NETWORKS, size_of
from jdetrt.benchmarks.selftest.result import (
    Check,
    SelftestResult,
    SelftestSettings,
    StepResult,
    network_fps,
    resume,
)
from jdetrt.benchmarks.selftest.steps import KINDS, Step, steps
from jdetrt.benchmarks.selftest.work import Outcome, Task
from jdetrt.engine.tensorrt.compat import TensorRt, load
from jdetrt.engine.tensorrt.device import current_device
from jdetrt.errors import ConfigError
from jdetrt.files import scratch_folder
from jdetrt.inputs import sha256
from jdetrt.progress import NO_PROGRESS, Progress

__all__ = ["SelftestConfig", "checks", "estimates", "selftest", "steps_here"]

SYSTEM_SHARE = 0.95  # of the network's speed that the whole pipeline reaches
TORCH_TIMES = 5.0  # as fast as PyTorch's eager float32 that FP16 is
_LONGEST = 10  # times the estimate: longer than this a step hangs
_LEAST = 60.0  # seconds that any step is given, if they are left
_ROOT = Path(jdetrt.__file__).parents[1]

RunStep = Callable[[Task, str, float], Outcome]


@dataclass(frozen=True)
class SelftestConfig:
    """Options of a run.

    Attributes:
        source: a video, folder or sequence that can be read again.
        models: folder of ``make_models``; None for what ships alone.
        networks: by worth.
        folder: gets the plans.
        minutes: that the run may take.
        frames: timed frames; ``warm_up`` go before them.
        repeats: of a timing.
        optimization_level: of the builds; None for TensorRT's own.
        torch_python: the Python with PyTorch for CUDA; None for this one.

    Raises:
        ConfigError: a network's name is none.
    """

    source: str
    folder: Path
    models: Path | None = None
    networks: tuple[str, ...] = NETWORKS
    minutes: float = 15.0
    frames: int = 200
    warm_up: int = 20
    repeats: int = 2
    optimization_level: int | None = None
    torch_python: str | None = None

    def __post_init__(self) -> None:
        for network in self.networks:
            size_of(network)

    def settings(self, trt: TensorRt) -> SelftestSettings:
        """As the result has them."""
        return SelftestSettings(
            model=", ".join(self.networks),
            source=Path(self.source).name,
            frames=self.frames,
            warm_up=self.warm_up,
            repeats=self.repeats,
            rest=0.0,
            backend=trt.backend,
            minutes=self.minutes,
            tensorrt=trt.version,
            optimization_level=self.optimization_level,
        )


def steps_here(config: SelftestConfig, trt: TensorRt | None) -> list[Step]:
    """Steps of this machine, by worth; without TensorRT, as if it were there."""
    tests = _ROOT / "tests" / "gpu"
    return steps(
        config.models,
        config.networks,
        weak_typing=trt is None or trt.weak_typing,
        torch=config.torch_python is not None or importlib.util.find_spec("torch") is not None,
        tests=tests.is_dir() and importlib.util.find_spec("pytest") is not None,
    )


def estimates(todo: Iterable[Step], done: Iterable[StepResult] = ()) -> dict[str, float]:
    """Seconds that each step is expected to take, by name: as those of its kind took before."""
    pace: dict[str, list[float]] = {}
    for step in done:
        if step.seconds is not None and step.state == "done":
            pace.setdefault(step.name.split(" ")[0], []).append(step.seconds)
    return {
        step.name: mean(pace[step.kind]) if step.kind in pace else KINDS[step.kind] for step in todo
    }


def selftest(
    config: SelftestConfig,
    output: Path,
    *,
    progress: Progress = NO_PROGRESS,
    run_step: RunStep | None = None,
) -> SelftestResult:
    """Do all steps that fit into the time; one that fails does not stop the others.

    Args:
        config: of the run.
        output: the JSON file, written whole after each step. One of the same machine, versions and
            settings is resumed: what it has as done, of the same models, is not done again.
        progress: phase "steps", and a message for each.
        run_step: does a step of a name within so many seconds; default: in a process of its own.

    Raises:
        ConfigError: there is no GPU, or ``output`` has other settings.
        DataError: ``output`` is no such result, or of another machine.
        MissingDependencyError, EngineError: TensorRT is not installed, or does not load.
        OutputError: the result cannot be written.
    """
    if current_device() is None:
        raise ConfigError(
            "there is no NVIDIA GPU here, or no driver: `jdetrt doctor` says what is missing, and "
            "--dry-run lists the steps"
        )
    trt = load()
    run_step = run_step or _in_a_process(config.torch_python)
    result = resume(
        output, SelftestResult(benchmark="selftest", settings=config.settings(trt), rows=[])
    )
    config.folder.mkdir(parents=True, exist_ok=True)
    todo, begin = steps_here(config, trt), time.monotonic()
    progress.start("steps", len(todo))
    for number, step in enumerate(todo, start=1):
        left = 60 * config.minutes - (time.monotonic() - begin)
        _take(result, step, config, left, run_step, progress)
        result.checks = checks(result)
        write_result(output, result)
        progress.advance("steps", number)
    progress.finish("steps")
    return result


def _take(
    result: SelftestResult,
    step: Step,
    config: SelftestConfig,
    left: float,
    run_step: RunStep,
    progress: Progress,
) -> None:
    """Do one step, or note why it is not done."""
    key = _key(step, config, result.settings.tensorrt)
    estimate = estimates([step], result.steps)[step.name]
    task = _task(step, config)
    earlier = result.step(step.name)
    known = earlier is not None and (earlier.state, earlier.key) == ("done", key)
    if known and (step.kind != "build" or task.plan.is_file()):
        progress.message(f"{step.name}: done before")
        return
    needed = result.step(step.needs) if step.needs else None
    reason = step.missing
    if not reason and step.needs and (needed is None or needed.state != "done"):
        reason = f"it needs '{step.needs}', which was not done"
    if not reason and estimate > left:
        reason = f"takes some {estimate:.0f} s, of which {max(left, 0):.0f} s are left"
    done = StepResult(name=step.name, key=key, state="skipped", estimate=estimate, reason=reason)
    rows: list[Row] = []
    if not reason:
        progress.message(f"{step.name}: some {estimate:.0f} s")
        begin = time.monotonic()
        outcome = run_step(task, step.name, min(left, max(_LONGEST * estimate, _LEAST)))
        done.seconds = round(time.monotonic() - begin, 3)
        done.state = "done" if outcome.error is None else "failed"
        done.reason, done.facts, rows = outcome.error, outcome.facts, outcome.rows
    if done.state != "done":
        progress.message(f"{step.name}: {done.state}: {done.reason}")
    result.put(done, rows)


def _task(step: Step, config: SelftestConfig) -> Task:
    return Task(
        **step.to_dict(),
        plans=str(config.folder.absolute()),
        source=config.source,
        frames=config.frames,
        warm_up=config.warm_up,
        repeats=config.repeats,
        optimization_level=config.optimization_level,
        tests=str(_ROOT / "tests" / "gpu"),
    )


def _key(step: Step, config: SelftestConfig, tensorrt: str) -> str:
    """Hash of what a step's result depends on, beside the settings that `resume` compares."""
    facts = [step.name, tensorrt, config.optimization_level, *map(_digest, step.files)]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


@cache
def _digest(path: Path) -> str:
    return sha256(path)


def checks(result: SelftestResult) -> list[Check]:
    """The limits of what was measured: pipeline against network, FP16 against torch, agreement."""
    rows = {(row.name, str(row.size), row.precision, row.backend): row for row in result.rows}
    found = []
    for (name, size, precision, backend), row in rows.items():
        network = network_fps(row)
        if precision != "fp16" or backend != "tensorrt" or name != row.body or not network:
            continue
        share = (row.system_fps or 0.0) / network
        found.append(
            Check(
                f"{name} {size}: pipeline at least {SYSTEM_SHARE:.0%} of the network",
                f"{row.system_fps:.0f} of {network:.0f} FPS, {share:.0%}",
                share >= SYSTEM_SHARE,
            )
        )
        torch = rows.get((name, size, "fp32", "torch"))
        eager = None if torch is None else network_fps(torch)
        if eager:
            found.append(
                Check(
                    f"{name} {size}: FP16 at least {TORCH_TIMES:g} times PyTorch's eager float32",
                    f"{network:.0f} and {eager:.0f} FPS, {network / eager:.1f} times",
                    network / eager >= TORCH_TIMES,
                )
            )
    for step in result.in_state("done"):
        if step.name.startswith("verify "):
            faults = step.facts.get("faults", [])
            text = "; ".join(faults) or "within the tolerance"
            found.append(Check(f"{step.name}: agrees with ONNX Runtime", text, not faults))
    return found


def _in_a_process(torch_python: str | None) -> RunStep:
    """Make what does a step in a process of its own, with a limit of time."""

    def run(task: Task, name: str, seconds: float) -> Outcome:
        other = torch_python if task.kind == "torch" else None
        with scratch_folder("selftest") as folder:
            given, taken = Path(folder, "task.json"), Path(folder, "outcome.json")
            given.write_bytes(msgspec.json.encode(task))
            code, words = _call(other, [str(given), str(taken)], seconds)
            Path(task.plans, f"{name.replace(' ', '-')}.log").write_text(words)
            if code == 0 and taken.is_file():
                return msgspec.json.decode(taken.read_bytes(), type=Outcome)
        if code is None:
            return Outcome(error=f"was stopped after {seconds:.0f} s")
        last = words.strip().splitlines()[-1:] or ["it said nothing"]
        ended = f"exit code {code}" if code > 0 else f"signal {-code}"
        return Outcome(error=f"its process ended with {ended}: {last[0]}")

    return run


def _call(python: str | None, arguments: list[str], seconds: float) -> tuple[int | None, str]:
    """Exit code (None for one that was stopped) and output of a step's process."""
    command = [python or sys.executable, "-m", "jdetrt.benchmarks.selftest.work", *arguments]
    child = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=_environment(python),
        start_new_session=True,
    )
    try:
        words, _ = child.communicate(timeout=seconds)
    except BaseException as err:
        # With all that it began: a build has threads, the tests have processes.
        os.killpg(child.pid, signal.SIGKILL)
        words, _ = child.communicate()
        if not isinstance(err, subprocess.TimeoutExpired):
            raise
        return None, words
    return child.returncode, words


def _environment(python: str | None) -> dict[str, str]:
    """Variables of a step's process: in a checkout, it finds this very package."""
    variables = dict(os.environ)
    if python is not None:  # another Python has its own libraries
        for name in ("PYTHONHOME", "PYTHONPATH", "LD_LIBRARY_PATH"):
            variables.pop(name, None)
    if (_ROOT / "pyproject.toml").is_file():
        known = variables.get("PYTHONPATH")
        variables["PYTHONPATH"] = f"{_ROOT}{os.pathsep}{known}" if known else str(_ROOT)
    # NVRTC that came as a wheel is not found by a Python that knows its packages by PYTHONPATH.
    wheels = [found for path in sys.path for found in glob.glob(f"{path}/nvidia/cuda_nvrtc/lib")]
    if wheels and python is None:
        known = variables.get("LD_LIBRARY_PATH")
        variables["LD_LIBRARY_PATH"] = ":".join([wheels[0], *([known] if known else [])])
    return variables
