"""Extremes and histograms of a model's tensors, in a file that lets a run be resumed."""

from __future__ import annotations

import io
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any
from zipfile import BadZipFile, ZipFile

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from jdetrt import files, inputs
from jdetrt.calibration.ranges.probe import Extremes
from jdetrt.documents import decode_json
from jdetrt.errors import CalibrationError
from jdetrt.runtime.jit import kernel
from jdetrt.types import Array

__all__ = ["BINS", "Histogram", "Statistics", "bin_edges", "count"]

# From -limit to limit. So 2048 of them are of one sign, as many as NVIDIA's calibration has
# (S. Migacz, 8-bit inference with TensorRT, GTC 2017).
BINS = 4096
_ARRAYS = ("low", "high", "elements", "counts")
_NPY_HEADER = 1024  # bytes; those of ours have 128


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """Histogram of the values of one tensor over all frames.

    Attributes:
        counts: ``(BINS,)`` int64, from ``-limit`` to ``limit``.
        low: the smallest value.
        high: the largest.
    """

    counts: npt.NDArray[np.int64]
    low: float
    high: float

    @property
    def limit(self) -> float:
        """The largest magnitude."""
        return max(-self.low, self.high)

    @property
    def edges(self) -> npt.NDArray[np.float32]:
        """``(BINS + 1,)`` float32, ascending."""
        return bin_edges(self.limit)

    def magnitudes(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """The same without signs: ``(BINS / 2,)`` counts, ``(BINS / 2 + 1,)`` edges from 0 on."""
        half = BINS // 2
        return self.counts[half:] + self.counts[:half][::-1], self.edges[half:]


def bin_edges(limit: float) -> npt.NDArray[np.float32]:
    """Compute the bin edges of ``numpy.histogram`` for float32 from ``-limit`` to ``limit``."""
    bound = np.float32(limit)
    return np.linspace(-bound, bound, BINS + 1, dtype=np.float32)


def count(values: npt.NDArray[np.float32], limit: float, counts: npt.NDArray[np.int64]) -> None:
    """Add values to a histogram, each to the bin that ``numpy.histogram`` puts it into.

    Args:
        values: of any shape, C-contiguous; those beyond the limit go to the outermost bins, NaN
            nowhere.
        limit: above 0.
        counts: ``(BINS,)`` int64, added to in place.
    """
    _count(values.reshape(-1), bin_edges(limit), counts)


@kernel
def _count(values: Any, edges: Any, counts: Any) -> None:
    last = len(counts) - 1
    lowest = edges[0]
    per_value = len(counts) / (np.float64(edges[-1]) - lowest)
    for value in values:
        if np.isnan(value):
            continue
        place = (np.float64(value) - lowest) * per_value
        i = int(min(max(place, 0.0), float(last)))
        # The place is rounded, the edges decide. A bin has its lower edge, the last has both.
        if i > 0 and value < edges[i]:
            i -= 1
        elif i < last and value >= edges[i + 1]:
            i += 1
        counts[i] += 1


class _Head(msgspec.Struct):
    """The part of a state that is JSON: what it is of, and how far it is."""

    of: dict[str, Any]
    passes: Annotated[int, Meta(ge=0, le=2)]
    frames: Annotated[int, Meta(ge=0)]


@dataclass(slots=True, eq=False)
class Statistics:
    """Extremes of all frames, then histograms between these: some 33 kB a tensor, whatever N.

    Attributes:
        tensors: names.
        low: ``(T,)`` float32, the smallest values so far.
        high: ``(T,)`` float32, the largest.
        elements: ``(T,)`` int64, numbers in a tensor of one frame.
        counts: ``(T, BINS)`` int64, see `Histogram`.
        passes: how many passes over all frames are complete; the first is that of the extremes.
        frames: how many frames of the next pass are done.
    """

    tensors: tuple[str, ...]
    low: npt.NDArray[np.float32] = field(init=False)
    high: npt.NDArray[np.float32] = field(init=False)
    elements: npt.NDArray[np.int64] = field(init=False)
    counts: npt.NDArray[np.int64] = field(init=False)
    passes: int = 0
    frames: int = 0

    def __post_init__(self) -> None:
        number = len(self.tensors)
        self.low = np.full(number, np.inf, np.float32)
        self.high = np.full(number, -np.inf, np.float32)
        self.elements = np.zeros(number, np.int64)
        self.counts = np.zeros((number, BINS), np.int64)

    def add_extremes(self, extremes: Extremes) -> None:
        """Add one frame.

        Raises:
            CalibrationError: a tensor holds a number that is not finite.
        """
        finite = np.isfinite(extremes.mean) & np.isfinite(extremes.low) & np.isfinite(extremes.high)
        broken = ~finite
        if broken.any():
            raise CalibrationError(
                f"frame {self.frames + 1} of the list: tensor "
                f"'{self.tensors[int(np.argmax(broken))]}' holds NaN or infinite numbers "
                f"({np.count_nonzero(broken)} tensors do); the model's weights may be damaged"
            )
        np.minimum(self.low, extremes.low, out=self.low)
        np.maximum(self.high, extremes.high, out=self.high)
        self.elements = extremes.elements
        self.frames += 1

    def add_values(self, places: Sequence[int], values: Sequence[Array]) -> None:
        """Add one frame's values of the tensors with these indices in ``tensors``."""
        for place, value in zip(places, values, strict=True):
            limit = float(max(-self.low[place], self.high[place]))
            if limit > 0:
                count(np.ascontiguousarray(value), limit, self.counts[place])
        self.frames += 1

    def histogram(self, tensor: str) -> Histogram:
        """The histogram of one tensor."""
        i = self.tensors.index(tensor)
        return Histogram(self.counts[i], float(self.low[i]), float(self.high[i]))

    def write(self, path: Path, of: Mapping[str, Any]) -> None:
        """Write everything, whole or not at all, with what it is of. Raises OutputError."""
        head = _Head({**of, "tensors": self.tensors}, self.passes, self.frames)
        content = io.BytesIO()
        np.savez(
            content,
            head=np.frombuffer(msgspec.json.encode(head), np.uint8),
            low=self.low,
            high=self.high,
            elements=self.elements,
            counts=self.counts,
        )
        files.write_bytes(path, content.getvalue())

    @classmethod
    def read(cls, path: Path, of: Mapping[str, Any], tensors: Sequence[str]) -> Statistics:
        """Read what `write` wrote; without a file, begin anew.

        Raises:
            CalibrationError: it cannot be read, or is of another model, other frames or tensors.
        """
        statistics = cls(tuple(tensors))
        if not path.exists():
            return statistics
        again = "delete it and start again"
        expected = {**of, "tensors": list(tensors)}
        try:
            with (
                inputs.reading(path, CalibrationError),
                inputs.open_regular(path) as file,
                ZipFile(file) as archive,
            ):
                head = _head(archive)
                if other := [key for key, value in expected.items() if head.of.get(key) != value]:
                    raise CalibrationError(
                        f"{path}: is the state of a calibration with other {other[0]}; name "
                        f"another file, or {again}"
                    )
                for name in _ARRAYS:
                    setattr(statistics, name, _member(archive, name, getattr(statistics, name)))
        except (ValueError, KeyError, EOFError, NotImplementedError, BadZipFile, zlib.error) as err:
            raise CalibrationError(
                f"{path}: is not the state of a calibration, or is damaged ({err}); {again}"
            ) from err
        statistics.passes, statistics.frames = head.passes, head.frames
        if fault := statistics._fault():
            raise CalibrationError(f"{path}: is damaged: {fault}; {again}")
        return statistics

    def _fault(self) -> str | None:
        """Something that no measurement gives, in words."""
        started = self.passes > 0 or self.frames > 0
        if started and not (np.isfinite(self.low).all() and np.isfinite(self.high).all()):
            return "an extreme is not finite"
        if started and (self.low > self.high).any():
            return "a smallest value is above the largest"
        if (self.elements < 0).any() or (self.counts < 0).any():
            return "a count is negative"
        return None


def _head(archive: ZipFile) -> _Head:
    text = _content(archive, "head", inputs.LARGEST_JSON)
    return decode_json(text.tobytes(), _Head)


def _member(archive: ZipFile, name: str, like: Array) -> Array:
    """Read an array of the shape and dtype of another."""
    array = _content(archive, name, like.nbytes)
    if array.dtype != like.dtype or array.shape != like.shape:
        raise ValueError(f"'{name}' is {array.dtype} of shape {array.shape}")
    return array


def _content(archive: ZipFile, name: str, largest: int) -> Array:
    """Read an array of so many bytes at most; what declares more is not unpacked."""
    member = archive.getinfo(f"{name}.npy")
    if member.file_size > largest + _NPY_HEADER:
        raise ValueError(f"'{name}' has {member.file_size:,} bytes")
    with archive.open(member) as part:
        content = io.BytesIO(part.read(largest + _NPY_HEADER))
    if np.lib.format.read_magic(content) != (1, 0):
        raise ValueError(f"'{name}' is of another version")
    try:
        shape, columns_first, dtype = np.lib.format.read_array_header_1_0(content)
    except Exception as err:  # it parses Python, with all the errors of that
        raise ValueError(f"'{name}' has no header") from err
    if columns_first or dtype.hasobject:
        raise ValueError(f"'{name}' is not a plain array")
    array: Array = np.frombuffer(content.read(), dtype).reshape(shape).copy()
    return array
