"""What is known of a model's tensors so far: kept in a file, so that a run can go on later."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jdetrt import files
from jdetrt.calibration.ranges.histogram import BINS, Histogram, count
from jdetrt.calibration.ranges.probe import Extremes
from jdetrt.errors import CalibrationError
from jdetrt.types import Array

__all__ = ["Statistics"]


@dataclass(slots=True, eq=False)
class Statistics:
    """Extremes of all frames, then histograms between these: some 33 kB a tensor, whatever N.

    Attributes:
        tensors: names.
        low: ``(T,)`` float32, the least values so far.
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

    def add_extremes(self, found: Extremes) -> None:
        """Take in one frame.

        Raises:
            CalibrationError: a tensor holds a number that is not finite.
        """
        broken = ~(np.isfinite(found.mean) & np.isfinite(found.low) & np.isfinite(found.high))
        if broken.any():
            raise CalibrationError(
                f"frame {self.frames + 1} of the list: tensor "
                f"'{self.tensors[int(np.argmax(broken))]}' holds NaN or infinite numbers "
                f"({np.count_nonzero(broken)} tensors do); the model's weights may be damaged"
            )
        np.minimum(self.low, found.low, out=self.low)
        np.maximum(self.high, found.high, out=self.high)
        self.elements = found.elements
        self.frames += 1

    def add_values(self, places: Sequence[int], values: Sequence[Array]) -> None:
        """Take in one frame's values of the tensors at these places of ``tensors``."""
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
        head = {
            "of": {**of, "tensors": self.tensors},
            "passes": self.passes,
            "frames": self.frames,
        }
        content = io.BytesIO()
        np.savez(
            content,
            head=np.frombuffer(json.dumps(head).encode(), np.uint8),
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
        found = cls(tuple(tensors))
        if not path.exists():
            return found
        try:
            with files.open_regular(path) as file, np.load(file, allow_pickle=False) as saved:
                head = json.loads(saved["head"].tobytes())
                arrays = {name: saved[name] for name in ("low", "high", "elements", "counts")}
            before, passes, frames = head["of"], int(head["passes"]), int(head["frames"])
        except OSError as err:
            raise CalibrationError(f"{path}: cannot be read ({err.strerror or err})") from err
        except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as err:
            raise CalibrationError(
                f"{path}: is no state of a calibration, or a damaged one; delete it and begin anew"
            ) from err
        for name, wanted in {**of, "tensors": list(tensors)}.items():
            if before.get(name) != wanted:
                raise CalibrationError(
                    f"{path}: is the state of a calibration with other {name}; name another file, "
                    "or delete it and begin anew"
                )
        for name, array in arrays.items():
            setattr(found, name, array)
        found.passes, found.frames = passes, frames
        return found
