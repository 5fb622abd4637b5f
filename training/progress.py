"""What a training run tells while it goes on, and the tables that it leaves."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jdetrt.errors import SinkError

__all__ = ["Progress", "Table"]


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is.

    Attributes:
        epoch: from 0.
        step: of this epoch, the number of steps done.
        steps: in an epoch.
        rate: the learning rate.
        losses: means since the last report: ``total``, and ``task/stride`` before weighting.
        speed: pictures a second.
        scores: of a validation that has just been made; empty otherwise.
    """

    epoch: int
    step: int
    steps: int
    rate: float
    losses: Mapping[str, float]
    speed: float
    scores: Mapping[str, float]


class Table:
    """A CSV file that grows by a row at a time; columns are those of the first row.

    Rows at or after the point where a run resumes are dropped, so that no step stands there twice.

    Args:
        path: the file.
        resume: keep rows whose ``epoch`` and ``step`` come before this; None starts afresh.

    Raises:
        SinkError: the file cannot be written.
    """

    def __init__(self, path: Path, resume: tuple[int, int] | None) -> None:
        self.path = path
        self.columns: list[str] = []
        rows: list[dict[str, str]] = []
        if resume is not None and path.is_file():
            with path.open(newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file)
                self.columns = list(reader.fieldnames or ())
                rows = [r for r in reader if (int(r["epoch"]), int(r["step"])) <= resume]
        try:
            with path.open("w", newline="", encoding="utf-8") as file:
                if self.columns:
                    writer = csv.DictWriter(file, self.columns)
                    writer.writeheader()
                    writer.writerows(rows)
        except OSError as err:
            raise SinkError(f"{path}: cannot be written ({err.strerror})") from err

    def add(self, row: Mapping[str, float]) -> None:
        """Write a row; unknown columns are refused, missing ones stay empty. Raises SinkError."""
        try:
            with self.path.open("a", newline="", encoding="utf-8") as file:
                first = not self.columns
                self.columns = self.columns or list(row)
                writer = csv.DictWriter(file, self.columns)
                if first:
                    writer.writeheader()
                writer.writerow(
                    {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()}
                )
        except OSError as err:
            raise SinkError(f"{self.path}: cannot be written ({err.strerror})") from err
