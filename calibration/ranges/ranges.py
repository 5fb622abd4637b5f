"""Ranges: the largest magnitude that INT8 holds of each tensor, by one of four methods.

================  ==========================================================================
``"min-max"``     the largest magnitude that occurs; nothing is clipped
``"percentile"``  the magnitude that 99.999 % of the values do not exceed
``"entropy"``     least Kullback-Leibler divergence, in the details of ONNX Runtime
``"mse"``         least squared error of rounding and clipping together
================  ==========================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from jdetrt import __version__, files
from jdetrt.calibration.config import METHODS, CalibrationConfig, Method
from jdetrt.calibration.frames.frame_list import read_versioned
from jdetrt.calibration.quantize.layers import FloatModel
from jdetrt.calibration.ranges.measure import BUDGET, Frames, measure
from jdetrt.calibration.ranges.statistics import Histogram, Statistics
from jdetrt.calibration.ranges.thresholds import LEVELS, entropy, least_error, percentile
from jdetrt.errors import CalibrationError
from jdetrt.progress import NO_PROGRESS, Progress

__all__ = ["METHODS", "Method", "Range", "Ranges", "measure_ranges"]

_FORMAT = 1
# A tensor that is 0 in all frames stays 0 with any scale but 0, which TensorRT 8.5 cannot take.
_SCALE_OF_ZEROS = 1.0 / LEVELS
_LARGEST_FLOAT = 3.4028234663852886e38  # of float32
_LEAST_LIMIT = 1e-30  # so that scales stay normal numbers in float32


class Range(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The range of one tensor.

    Attributes:
        low: its smallest value in all frames.
        high: its largest.
        limit: the largest magnitude that INT8 holds; 0 for a tensor that is 0 throughout.

    Raises:
        ValueError: the values are out of order, or beyond float32.
    """

    low: float
    high: float
    limit: Annotated[float, Meta(ge=0.0, le=_LARGEST_FLOAT)]

    def __post_init__(self) -> None:
        if not -_LARGEST_FLOAT <= self.low <= self.high <= _LARGEST_FLOAT:
            raise ValueError(f"low {self.low} and high {self.high} are not a range in float32")


class Ranges(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The ranges of a model's tensors, and where they come from.

    Attributes:
        format: of the file; 1.
        jdetrt_version: that measured them.
        method: one of `METHODS`.
        percent: of the method "percentile", else None.
        model_sha256: of the FP32 model.
        frames_sha256: of the frames, as `FrameList.sha256`.
        frames: how many.
        tensors: the ranges by name.
    """

    format: int = _FORMAT
    jdetrt_version: str = __version__
    method: Method
    percent: Annotated[float, Meta(gt=0.0, le=100.0)] | None = None
    model_sha256: str
    frames_sha256: str
    frames: Annotated[int, Meta(ge=1)]
    tensors: dict[str, Range]

    def scale(self, tensor: str) -> float:
        """Scale of symmetric INT8, above 0: the limit / 127.

        Raises:
            CalibrationError: the tensor was not measured.
        """
        if tensor not in self.tensors:
            raise CalibrationError(
                f"the range of '{tensor}' was not measured; measure the ranges of this model"
            )
        limit = self.tensors[tensor].limit
        return limit / LEVELS if limit > _LEAST_LIMIT else _SCALE_OF_ZEROS

    def scales(self) -> dict[str, float]:
        """The scales of all tensors."""
        return {tensor: self.scale(tensor) for tensor in self.tensors}

    @property
    def zeros(self) -> tuple[str, ...]:
        """Tensors that are 0 in all frames: dead, or only ever used by what no frame shows."""
        return tuple(n for n, one in self.tensors.items() if not one.limit > _LEAST_LIMIT)

    @classmethod
    def read(cls, path: str | Path) -> Ranges:
        """Read ranges that `write` wrote.

        Raises:
            CalibrationError: the file cannot be read, or holds no ranges.
        """
        return read_versioned(path, cls, _FORMAT, "a file of calibration ranges", "measure them")

    def write(self, path: str | Path) -> None:
        """Write them as JSON, whole or not at all. Raises OutputError."""
        files.write_json(path, self)


def measure_ranges(
    model: FloatModel | str | Path,
    frames: Frames,
    tensors: Sequence[str],
    method: Method = "entropy",
    *,
    percent: float = CalibrationConfig.percentile,
    state: str | Path | None = None,
    keep_every: int = 25,
    budget: int = BUDGET,
    threads: int | None = None,
    progress: Progress = NO_PROGRESS,
) -> Ranges:
    """Run frames through a model and derive the ranges of its tensors.

    The histograms do not depend on the method: with the same ``state``, ranges by another method
    come from it without running a frame.

    Args:
        model: an ONNX model in float32 with one input, or its file.
        frames: to run through it, such as a `FrameList`.
        tensors: names of tensors in it.
        method: one of `METHODS`.
        percent: of the method "percentile", above 0, to 100.
        state: a file that keeps what is done, see `measure`.
        keep_every: frames after which it is written.
        budget: bytes of tensors that may be kept at a time.
        threads: CPU threads of one operator; None for one a physical core.
        progress: as in `measure`.

    Raises:
        CalibrationError: no such method or percent; or as `measure`.
        OutputError: the state cannot be written.
    """
    if method not in METHODS:
        raise CalibrationError(f"method '{method}': expected one of {', '.join(METHODS)}")
    if not 0 < percent <= 100:
        raise CalibrationError(f"percentile {percent}: expected a number above 0 and up to 100")
    source = model if isinstance(model, FloatModel) else FloatModel(model)
    statistics = measure(
        source,
        frames,
        tensors,
        histograms=method != "min-max",
        state=state,
        keep_every=keep_every,
        budget=budget,
        threads=threads,
        progress=progress,
    )
    return Ranges(
        method=method,
        percent=percent if method == "percentile" else None,
        model_sha256=source.sha256,
        frames_sha256=frames.sha256,
        frames=len(frames),
        tensors={name: _range(statistics, name, method, percent) for name in tensors},
    )


def _range(statistics: Statistics, tensor: str, method: Method, percent: float) -> Range:
    histogram = statistics.histogram(tensor)
    return Range(histogram.low, histogram.high, _limit(histogram, method, percent))


def _limit(histogram: Histogram, method: Method, percent: float) -> float:
    if method == "min-max" or not histogram.limit > _LEAST_LIMIT:
        return histogram.limit
    if method == "percentile":
        return percentile(histogram, percent)
    return entropy(histogram) if method == "entropy" else least_error(histogram)
