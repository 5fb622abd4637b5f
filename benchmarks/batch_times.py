"""Times of the network by the number of images in a run, read from results of ``bench``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from jdetrt.benchmarks.result import Row, read_result
from jdetrt.documents import read_json
from jdetrt.errors import DataError
from jdetrt.types import Size

__all__ = ["BatchTimes", "read_batch_times"]


@dataclass(frozen=True, slots=True)
class BatchTimes:
    """Times of a run of the network.

    Attributes:
        origin: the file and what was measured.
        milliseconds: of a run, by its number of images; of 1 alone where no batches were measured.
    """

    origin: str
    milliseconds: dict[int, float]


class _Kind(msgspec.Struct):
    benchmark: str


class _Settings(msgspec.Struct):
    model: str
    size: Size


class _StreamsRow(msgspec.Struct):
    fps: float
    batch: float


class _Streams(msgspec.Struct):
    """Part of the result of ``bench streams``."""

    settings: _Settings
    rows: list[_StreamsRow]


def read_batch_times(path: Path, size: Size, *, plan: bool, name: str = "") -> BatchTimes:
    """Read how long the network takes.

    Args:
        path: a result of ``bench streams`` has batches: their time is that of the whole pipeline
            with so many streams. One of ``bench sweep`` or ``bench latency`` has runs with one
            image.
        size: of the network.
        plan: whether a TensorRT plan is meant, or an ONNX model in ONNX Runtime.
        name: of the model's file, which tells several runs of one size apart.

    Raises:
        DataError: it cannot be read, is another result, or has nothing of this size, or several
            and none of this name.
    """
    if read_json(path, _Kind, DataError, "a result of jdetrt bench").benchmark == "streams":
        result = read_json(path, _Streams, DataError, "a result of jdetrt bench streams")
        if tuple(result.settings.size) != tuple(size):
            raise DataError(f"{path}: is of a network of {result.settings.size}, not of {size}")
        times = {round(row.batch): 1e3 * row.batch / row.fps for row in result.rows if row.fps > 0}
        if 1 not in times:
            raise DataError(f"{path}: has no run with one stream; measure with: --streams 1,2,4,8")
        return BatchTimes(f"{path}: {result.settings.model}", times)
    rows = [
        row
        for row in read_result(path).measured
        if tuple(row.size) == tuple(size) and _is_plan(row) in (None, plan) and row.engine_fps
    ]
    if not rows:
        kind = "a plan" if plan else "an ONNX model"
        raise DataError(f"{path}: has no run of {kind} of {size}; measure with: jdetrt bench")
    rows = [row for row in rows if row.model == name] or rows
    if len(rows) > 1:
        raise DataError(
            f"{path}: has {', '.join(map(str, rows))}, and none of a model called {name}; name the "
            "model by the file that was measured, or a result of bench latency"
        )
    rate = rows[0].engine_fps
    assert rate is not None  # as of all of these
    return BatchTimes(f"{path}: {rows[0]}", {1: 1e3 / rate})


def _is_plan(row: Row) -> bool | None:
    """Tell whether a plan ran; None where the result does not say."""
    return None if row.backend is None else row.backend.startswith("tensorrt")
