"""Results of ``bench sweep`` and ``latency``: written as JSON, read back by report and compare.

Files of earlier versions lack some fields; every field that came later has a default.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from jdetrt.documents import read_json
from jdetrt.errors import ConfigError, DataError
from jdetrt.files import write_text
from jdetrt.machine.manifest import Machine, manifest
from jdetrt.machine.power import Power
from jdetrt.runtime.timing import summary
from jdetrt.types import Size

__all__ = [
    "ACCURACIES",
    "FPS",
    "PERTURBED",
    "Answer",
    "LatencyConfig",
    "LatencySettings",
    "Result",
    "Row",
    "Run",
    "RunConfig",
    "Summary",
    "SweepConfig",
    "SweepSettings",
    "counted",
    "read_result",
    "to_json",
    "write_result",
]

ACCURACIES = ("HOTA", "MOTA", "IDF1", "AP50")
PERTURBED = ("HOTA", "MOTA", "IDF1")  # those that depend on which of two people a track follows
FPS = ("engine_fps", "association_fps", "paper_fps", "system_fps")


_LONGEST_SIDE = 65_536  # pixels
Rate = Annotated[float, Meta(gt=0.0, le=1e7)]  # per second
Amount = Annotated[float, Meta(ge=0.0, le=1e9)]
Score = Annotated[float, Meta(ge=-1e9, le=1e9)]  # MOTA has no lower limit; counts are in it, too
Count = Annotated[int, Meta(ge=0)]


class RunConfig(msgspec.Struct, kw_only=True, frozen=True):
    """Options of one run.

    Attributes:
        frames: timed frames.
        warm_up: frames before them.
        video: draw and encode a video too, not only MOT text.
        preset: of the tracker; by default that of the model.
        rest: seconds of reading the sensors before and after, where there are any.

    Raises:
        ConfigError: fewer than 2 frames, 1 frame to warm up or 1 repeat.
    """

    frames: int = 200
    warm_up: int = 20
    repeats: int = 3
    video: bool = False
    provider: str = "auto"
    cuda_graph: bool | None = None
    preset: str | None = None
    rest: float = 2.0

    def __post_init__(self) -> None:
        for name, least in (("frames", 2), ("warm_up", 1), ("repeats", 1)):
            if getattr(self, name) < least:
                got = getattr(self, name)
                raise ConfigError(f"{name}: expected {least} or more, got {got}")


class LatencyConfig(RunConfig, kw_only=True, frozen=True):
    """Options of ``bench latency``; ``backend`` as in ``open_session``."""

    backend: str = "auto"


class LatencySettings(LatencyConfig, kw_only=True, frozen=True):
    """Options of ``bench latency`` with names and metadata of the model and the source."""

    model: str
    source: str
    metadata: dict[str, str] = {}


class SweepConfig(RunConfig, kw_only=True, frozen=True):
    """Options of ``bench sweep``.

    Attributes:
        cool_down: seconds between two runs, or more while it is warm.
        accuracy: score that the Pareto front goes by, one of ``ACCURACIES``.
        perturbed_runs: number of runs over perturbed boxes whose mean is the accuracy, 2 or more;
            0 for the score of a single run.
        seed: of the run order.
    """

    cool_down: float = 10.0
    accuracy: str = "HOTA"
    perturbed_runs: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.accuracy not in ACCURACIES:
            raise ConfigError(f"accuracy '{self.accuracy}': expected {', '.join(ACCURACIES)}")
        if self.perturbed_runs < 0 or self.perturbed_runs == 1:
            raise ConfigError(
                f"perturbed_runs: expected 0, or 2 or more, got {self.perturbed_runs}"
            )


class SweepSettings(SweepConfig, kw_only=True, frozen=True):
    """Options of ``bench sweep`` with names of models, source and ground truth."""

    model: str
    source: str
    model_sha256: str | None = None
    trained_size: Size | None = None
    top_k: int | None = None
    calibration: list[str] = []
    calibration_frames: int | None = None
    gt: str | None = None


def counted(number: int, noun: str) -> str:
    """Number and noun with its plural.

    >>> counted(1, "run"), counted(3, "run")
    ('1 run', '3 runs')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


class Summary(msgspec.Struct):
    """Mean, standard deviation of a sample, and percentiles."""

    mean: Amount
    std: Amount
    p50: Amount
    p90: Amount
    p95: Amount
    p99: Amount

    @classmethod
    def of(cls, values: Sequence[float] | npt.NDArray[np.float64]) -> Summary:
        """Summarise at least one value."""
        return cls(**summary(values))


class Run(msgspec.Struct, kw_only=True):
    """One run of one configuration.

    Attributes:
        stages: milliseconds of each stage; None for one that does not exist apart.
        frame_ms: milliseconds of a whole frame, one stage after the other.
        left_out_ms: mean milliseconds of a frame that the paper's timer leaves out.
        overhead_ms: mean milliseconds of a frame that belong to no stage: the cost of timing.
        frames: processed in the timing of the whole pipeline.
        tracks: different people in them.
        commit: of the code.
        warm_up_seconds: that a GPU ran before; None where no plan ran.
        steady: whether its speed was steady then.
    """

    engine_fps: Rate
    association_fps: Rate
    paper_fps: Rate
    system_fps: Rate
    stages: dict[str, Summary | None]
    frame_ms: Summary
    power: Power
    left_out_ms: float | None = None
    overhead_ms: float | None = None
    frames: Count | None = None
    tracks: Count | None = None
    commit: str | None = None
    warm_up_seconds: Amount | None = None
    steady: bool | None = None


class Row(msgspec.Struct, kw_only=True):
    """One configuration: medians of its runs; None where it was not measured.

    Attributes:
        size: width and height of the network.
        body: of the network.
        name: of the row, in place of precision and backend.
        model: file name.
        deploy: command that tracks with this configuration.
        error: why it was not measured.
        accuracy: scores in percent and counts of a single run, by name.
        perturbed: HOTA, MOTA and IDF1 in percent of each run over perturbed boxes
            (`jdetrt.evaluation.perturbed`).
        pareto: whether it is on the Pareto front.
        power_of: scope of the power.
        gpu_memory: bytes by use, where a plan runs.
    """

    size: Size
    precision: str | None = None
    backend: str | None = None
    name: str | None = None
    body: str | None = None
    model: str | None = None
    deploy: str | None = None
    error: str | None = None
    accuracy: dict[str, Score | None] | None = None
    perturbed: dict[str, list[Score]] | None = None
    pareto: bool | None = None
    engine_fps: Rate | None = None
    association_fps: Rate | None = None
    paper_fps: Rate | None = None
    system_fps: Rate | None = None
    watts: Amount | None = None
    joules_per_frame: Amount | None = None
    power_of: str | None = None
    gpu_memory: dict[str, Count | None] | None = None
    runs: list[Run] = []

    @property
    def series(self) -> str:
        """Precision and backend: what rows of different sizes have in common."""
        parts = (self.name, self.precision, self.backend)
        return " ".join(part for part in parts if part) or "runs"

    def __str__(self) -> str:
        return f"{self.size} {self.series}"

    @property
    def fps(self) -> float:
        """System FPS of a row that was measured."""
        return self.system_fps or 0.0

    @property
    def slowest(self) -> float:
        """Lowest system FPS of the runs."""
        return min(run.system_fps for run in self.runs)

    @property
    def fastest(self) -> float:
        """Highest system FPS of the runs."""
        return max(run.system_fps for run in self.runs)

    @property
    def pixels(self) -> int:
        """Pixels of the network's input."""
        return self.size[0] * self.size[1]

    @property
    def highest_watts(self) -> float | None:
        """Highest power of the runs, None where none was read."""
        values = [run.power.watts for run in self.runs if run.power.watts is not None]
        return max(values, default=None)

    def score(self, name: str) -> float | None:
        """Accuracy by one score: the mean over perturbed boxes, or else that of a single run."""
        values = (self.perturbed or {}).get(name)
        return float(np.mean(values)) if values else (self.accuracy or {}).get(name)

    def require(self, name: str) -> float:
        """Accuracy by a score that was measured."""
        value = self.score(name)
        assert value is not None
        return value

    def deviation(self, name: str) -> float | None:
        """Standard deviation of a score over perturbed boxes, None where there are none."""
        values = (self.perturbed or {}).get(name, ())
        return float(np.std(values, ddof=1)) if len(values) > 1 else None

    def add(self, run: Run) -> None:
        """Append a run and take the medians again."""
        self.runs.append(run)
        for name in FPS:
            setattr(self, name, float(np.median([getattr(one, name) for one in self.runs])))
        for name in ("watts", "joules_per_frame"):
            values = [getattr(one.power, name) for one in self.runs]
            values = [value for value in values if value is not None]
            setattr(self, name, float(np.median(values)) if values else None)
        self.power_of = self.runs[0].power.scope


class Answer(msgspec.Struct, kw_only=True):
    """Configuration that a sweep recommends, with the question (`jdetrt.benchmarks.decide`).

    Attributes:
        accuracy: the score that it goes by.
        min_fps: limit of the slowest run, or None.
        max_watts: limit of the highest run, or None.
        configuration: size, precision and backend; None where none meets the limits.
        deploy: command that tracks with it.
        why: the reason, in words.
        equals: other configurations within the limits that are as accurate within noise.
    """

    accuracy: str
    min_fps: float | None = None
    max_watts: float | None = None
    configuration: str | None = None
    deploy: str | None = None
    why: str
    equals: list[str] = []


S = TypeVar("S", bound=RunConfig)


class Result(msgspec.Struct, Generic[S], kw_only=True):
    """Result of a benchmark whose rows have runs."""

    benchmark: str
    machine: Machine = msgspec.field(default_factory=manifest)
    settings: S
    answer: Answer | None = None
    rows: list[Row]

    @property
    def measured(self) -> list[Row]:
        """Rows that have runs."""
        return [row for row in self.rows if row.runs]


class _Head(msgspec.Struct):
    benchmark: str


_KINDS: dict[str, Any] = {
    "sweep": Result[SweepSettings],
    "latency": Result[LatencySettings],
    "repeatability": Result[LatencySettings],  # of earlier versions
    "selftest": Result[LatencySettings],
}


def read_result(path: str | Path) -> Result[Any]:
    """Read a result of ``bench sweep``, ``bench latency`` or ``selftest gpu``.

    Raises:
        DataError: the file cannot be read or is no such result; it names the place of the fault.
    """
    content = "a result of jdetrt bench"
    benchmark = read_json(path, _Head, DataError, content).benchmark
    if benchmark not in _KINDS:
        raise DataError(
            f"{path}: is a result of bench {benchmark[:40]}, expected one of bench sweep, "
            "bench latency or selftest gpu"
        )
    result: Result[Any] = read_json(path, _KINDS[benchmark], DataError, content)
    for number, row in enumerate(result.rows):
        if not 1 <= min(row.size) <= max(row.size) <= _LONGEST_SIDE:
            fault = f"size: {row.size} is that of no network"
        elif row.runs and any(getattr(row, name) is None for name in FPS):
            fault = f"there are runs, and not all of {', '.join(FPS)}"
        else:
            continue
        raise DataError(f"{path}: is not {content} (rows[{number}].{fault})")
    return result


def to_json(value: Any) -> str:
    """Structs, dataclasses and dicts as indented JSON text."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n"


def write_result(path: str | Path, result: Any) -> None:
    """Write a result as JSON, whole or not at all. Raises OutputError."""
    write_text(path, to_json(result))
