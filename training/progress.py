"""Reports of a training run, and the tables that it writes."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jdetrt import files
from jdetrt.errors import DataError, OutputError
from jdetrt.inputs import read_text

__all__ = ["Means", "Report", "Table", "read_table"]


@dataclass(frozen=True, slots=True)
class Report:
    """Position, losses and scores of a run.

    Attributes:
        epoch: from 1.
        epochs: of the run.
        step: steps done in this epoch; 0 after a validation.
        steps: in an epoch.
        rate: the learning rate.
        losses: means since the last report: ``total``, and ``task/stride`` before weighting.
        speed: images a second.
        scores: of a validation that has just ended; empty otherwise.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    rate: float
    losses: Mapping[str, float]
    speed: float
    scores: Mapping[str, float]


@dataclass(slots=True)
class Means:
    """Means of named numbers, each over the times that it was added.

    Attributes:
        values: added since the means were last taken.
    """

    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, values: Mapping[str, float]) -> None:
        """Add a number to each mean."""
        for name, value in values.items():
            self.values.setdefault(name, []).append(value)

    def take(self) -> dict[str, float]:
        """Give the means and start again."""
        means = {name: sum(values) / len(values) for name, values in self.values.items()}
        self.values = {}
        return means


class Table:
    """A CSV file that grows row by row; each row has ``epoch``, from 1, and may have ``step``.

    Rows after the point where a run resumes are dropped, as they are written again; so is a last
    row that was cut short.

    Args:
        path: the file.
        columns: default: those of the first row.
        resume: keep rows up to this ``epoch`` and ``step``; None starts afresh.

    Raises:
        OutputError: the file cannot be written.
        DataError: the rows of the former run cannot be read.
    """

    def __init__(
        self, path: Path, columns: Sequence[str] = (), resume: tuple[int, int] | None = None
    ) -> None:
        self.path = path
        self.columns = list(columns)
        rows: list[dict[str, str]] = []
        if resume is not None and path.is_file():
            head, whole = read_table(path)
            self.columns = head or self.columns
            rows = [row for row in whole if _position(row) <= resume]
        text = io.StringIO(newline="")
        if self.columns:
            writer = csv.DictWriter(text, self.columns)
            writer.writeheader()
            writer.writerows(rows)
        files.write_text(path, text.getvalue())

    def add(self, row: Mapping[str, float]) -> None:
        """Append a row; missing columns stay empty. Raises OutputError; ValueError if unknown."""
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
            raise OutputError(f"{self.path}: cannot be written ({err.strerror})") from err


def read_table(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Read what a `Table` has written: its columns, and its rows that are not cut short.

    Raises:
        DataError: the file cannot be read, or a row is not of a training run.
    """
    reader = csv.DictReader(io.StringIO(read_text(path, DataError), newline=""))
    rows = []
    try:
        columns = list(reader.fieldnames or [])
        for row in reader:
            if None not in row and None not in row.values():
                _position(row)
                _ = [float(value) for value in row.values() if value]  # each is a number
                rows.append(row)
    except (KeyError, ValueError, csv.Error) as err:
        raise DataError(
            f"{path}:{reader.line_num}: not a row of a training run ({str(err)[:80]}); mend it, or "
            "move the file away"
        ) from err
    return columns, rows


def _position(row: Mapping[str, str]) -> tuple[int, int]:
    return int(row["epoch"] or 0), int(row.get("step") or 0)
