"""Record of a calibration: all that its report shows, as JSON without any path."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from jdetrt import __version__, inputs
from jdetrt.calibration.calibrate import Calibration
from jdetrt.calibration.config import Targets
from jdetrt.calibration.damage import Closeness, Comparison
from jdetrt.calibration.frames.frame_list import FrameList, read_versioned
from jdetrt.calibration.quantize.layers import Layers
from jdetrt.calibration.score import Speed
from jdetrt.calibration.search import Attempt
from jdetrt.evaluation.tolerance import LIMITS, few, people_faults

__all__ = ["Accuracy", "CalibrationRecord", "record"]

_FORMAT = 1
_POINTS = 2000  # of a scatter
_DIGITS = 5


class ModelRecord(msgspec.Struct, frozen=True):
    """The float model: name and hash of its file, and what it records about itself."""

    name: str
    sha256: str
    metadata: dict[str, str]


class OutputRecord(msgspec.Struct, frozen=True):
    """A file that was written: ``what`` it is, its name, size and hash."""

    what: str
    name: str
    bytes: int
    sha256: str


class FramesRecord(msgspec.Struct, frozen=True):
    """The frames, as in `FrameList`; ``sources`` has their number by name of the source."""

    count: int
    asked: int
    seed: int
    sha256: str
    network_size: tuple[int, int]
    sources: dict[str, int]
    skipped: int
    notes: tuple[str, ...]


class MethodRecord(Closeness, frozen=True, kw_only=True):
    """A method for the ranges, with all layers quantised."""

    name: str


class PairsRecord(msgspec.Struct, frozen=True):
    """Some of the people of a `Comparison`, rounded."""

    iou: list[float]
    score: list[float]
    score_int8: list[float]
    cosine: list[float]


class ComparisonRecord(Closeness, frozen=True, kw_only=True):
    """A quantised model against the float one."""

    pairs: PairsRecord


class LayerRecord(msgspec.Struct, frozen=True):
    """A layer, the range of its first input, and how close the model is when it alone is in INT8.

    The range is None where it was not measured, ``alone`` without a search.
    """

    name: str
    kind: str
    reads: str
    low: float | None
    high: float | None
    limit: float | None
    left_out: bool
    alone: Closeness | None


class LeftOut(msgspec.Struct, frozen=True):
    """A layer that stays in float, and why."""

    name: str
    why: str


class Accuracy(msgspec.Struct, frozen=True):
    """Scores on a labelled sequence: those of `QuickScore` by model, or why there are none."""

    sequence: str
    rows: dict[str, dict[str, Any]]


class CalibrationRecord(msgspec.Struct, frozen=True, kw_only=True):
    """All results of a calibration; see `Calibration`, which they are taken from.

    ``outside`` lists what is outside of the INT8 tolerance of ``jdetrt verify``, which judges the
    same people; None in a report of an earlier version.
    """

    report: Literal["calibration"] = "calibration"
    format: int = _FORMAT
    jdetrt_version: str
    model: ModelRecord
    written: list[OutputRecord]
    frames: FramesRecord
    compared_frames: int
    confident: bool
    methods: list[MethodRecord]
    method: str
    percent: float | None
    targets: Targets | None
    layers: list[LayerRecord]
    attempts: list[Attempt]
    left_out: list[LeftOut]
    all_layers: ComparisonRecord
    chosen: ComparisonRecord
    accuracy: Accuracy | None
    speed: Speed | None
    machine: dict[str, Any] | None
    outside: list[str] | None = None
    warnings: list[str] = []

    @property
    def quantised(self) -> str:
        """The number of layers in INT8 and where their ranges come from, in words."""
        count = sum(not layer.left_out for layer in self.layers)
        return (
            f"{count} of {len(self.layers)} layers in INT8, ranges by {self.method} from "
            f"{self.frames.count} frame{'s' * (self.frames.count != 1)}"
        )

    @property
    def compared(self) -> str:
        """The number of frames and people that models were compared on, in words."""
        frames, people = self.compared_frames, self.chosen.people
        people_text = "1 person" if people == 1 else f"{people} people"
        return f"{people_text} in {frames} frame{'s' * (frames != 1)}"

    @classmethod
    def read(cls, path: str | Path) -> CalibrationRecord:
        """Read the JSON of a report.

        Raises:
            CalibrationError: it cannot be read, or is another file.
        """
        return read_versioned(path, cls, _FORMAT, "the report of a calibration", "calibrate")


def record(
    result: Calibration,
    *,
    outputs: Mapping[str, Path] | None = None,
    accuracy: Accuracy | None = None,
    speed: Speed | None = None,
    machine: Mapping[str, Any] | None = None,
) -> CalibrationRecord:
    """Record a calibration.

    Args:
        result: of `calibrate`.
        outputs: files that were written, by what they are.
        accuracy: scores on a labelled sequence.
        speed: times of the networks.
        machine: its manifest.
    """
    compared = min(result.config.compare_frames, len(result.frames))
    people = result.chosen.closeness.people
    return CalibrationRecord(
        jdetrt_version=__version__,
        model=ModelRecord(
            name=result.source.path.name,
            sha256=result.source.sha256,
            metadata=result.source.metadata,
        ),
        written=[
            OutputRecord(what, path.name, path.stat().st_size, inputs.sha256(path))
            for what, path in (outputs or {}).items()
        ],
        frames=_frames(result.frames),
        compared_frames=compared,
        confident=result.confident,
        methods=[
            MethodRecord(name=name, **msgspec.structs.asdict(comparison.closeness))
            for name, comparison in result.methods.items()
        ],
        method=result.method,
        percent=result.ranges[result.method].percent,
        targets=result.config.targets,
        layers=_layers(result),
        attempts=list(result.choice.attempts),
        left_out=[LeftOut(name, _reason(name, result)) for name in result.choice.left_out],
        all_layers=_comparison(result.methods[result.method]),
        chosen=_comparison(result.chosen),
        accuracy=accuracy,
        speed=speed,
        machine=None if machine is None else dict(machine),
        outside=_outside(result.chosen),
        warnings=[warning] if (warning := few(people, compared)) is not None else [],
    )


def _outside(comparison: Comparison) -> list[str]:
    pairs = comparison.pairs
    differences = np.abs(pairs.scores[:, 1] - pairs.scores[:, 0]).astype(np.float64)
    cosine = pairs.cosine.astype(np.float64)
    return people_faults(pairs.iou, differences, cosine, LIMITS["int8"])


def _frames(frames: FrameList) -> FramesRecord:
    return FramesRecord(
        count=len(frames),
        asked=frames.asked,
        seed=frames.seed,
        sha256=frames.sha256,
        network_size=frames.network_size,
        sources=dict(Counter(Path(frame.source).name for frame in frames.frames)),
        skipped=len(frames.skipped),
        notes=frames.notes,
    )


def _layers(result: Calibration) -> list[LayerRecord]:
    layers = Layers(result.source.proto)
    ranges = result.ranges[result.method].tensors
    damages = {damage.name: damage.closeness for damage in result.damages}
    rows = []
    for name, node in layers.nodes.items():
        tensor = layers.features(node)[0]
        one = ranges.get(tensor)
        rows.append(
            LayerRecord(
                name=name,
                kind=node.op_type,
                reads=tensor,
                low=None if one is None else one.low,
                high=None if one is None else one.high,
                limit=None if one is None else one.limit,
                left_out=name in result.choice.left_out,
                alone=damages.get(name),
            )
        )
    return rows


def _reason(name: str, result: Calibration) -> str:
    if name in result.always:
        return "asked for"
    (alone,) = (damage.closeness for damage in result.damages if damage.name == name)
    return (
        f"needed for the targets; alone it costs {1 - alone.iou:.4f} of the IoU, {alone.score:.4f} "
        f"of the score and {1 - alone.mean_cosine:.4f} of the cosine, on average"
    )


def _comparison(comparison: Comparison) -> ComparisonRecord:
    pairs = comparison.pairs
    rows = np.linspace(0, len(pairs.iou) - 1, min(_POINTS, len(pairs.iou))).round().astype(int)
    return ComparisonRecord(
        pairs=PairsRecord(
            iou=_rounded(pairs.iou[rows].tolist()),
            score=_rounded(pairs.scores[rows, 0].tolist()),
            score_int8=_rounded(pairs.scores[rows, 1].tolist()),
            cosine=_rounded(pairs.cosine[rows].tolist()),
        ),
        **msgspec.structs.asdict(comparison.closeness),
    )


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(value, _DIGITS) for value in values]
