"""Record of a recording that was tracked: from what its results come, by which a new run knows."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from jdetrt.documents import read_json
from jdetrt.errors import DataError, JdetrtError, SourceError
from jdetrt.files import write_json
from jdetrt.inputs import open_regular, sha256
from jdetrt.runtime.sources.open import image_paths

__all__ = [
    "Record",
    "Result",
    "changes",
    "outputs_digest",
    "read_record",
    "source_facts",
    "write_record",
]


class Result(msgspec.Struct, kw_only=True):
    """Result of a recording that was tracked to its end.

    Attributes:
        frames, detections, tracks: numbers of the run.
        seconds: that the run took.
        fps: frames a second, end to end.
        counts: more of the run's counts, where they are not 0: boxes of tracks left out, gaps,
            restarts and repeats of the timestamps.
        read: account of the frames.
        short: whether more of them are missing than may be.
        notes: on what was assumed.
        host: machine that did the work.
        date: of the end.
    """

    frames: int
    detections: int
    tracks: int
    seconds: float
    fps: float
    counts: dict[str, int] = {}
    read: dict[str, Any] = {}
    short: bool = False
    notes: list[str] = []
    host: str = ""
    date: str = ""

    @property
    def left_out(self) -> int:
        """Number of frames that could not be read."""
        return sum(self.read.get("left_out", {}).values())


class Record(msgspec.Struct, kw_only=True):
    """Record of a recording whose results are complete, written after them.

    Attributes:
        origin: facts that the results follow from, by name: size and time of the recording, model,
            settings.
        outputs: digest by path: SHA-256 of a file, number of files of a folder.
        result: of the run.
    """

    origin: dict[str, Any]
    outputs: dict[str, str]
    result: Result


def read_record(path: Path) -> Record | None:
    """Read a record; None where there is none that can be read, so that the work is done again."""
    if not path.exists():
        return None
    try:
        return read_json(path, Record, DataError, "the record of a recording")
    except DataError:
        return None


def write_record(path: Path, record: Record) -> None:
    """Write a record, whole or not at all. Raises OutputError."""
    write_json(path, record)


def changes(record: Record, origin: Mapping[str, Any]) -> list[str]:
    """Name what is no longer as it was: facts of the origin, and results on the disk."""
    now = msgspec.json.decode(msgspec.json.encode(origin))  # as it comes back from a file
    names = [name for name in {**record.origin, **now} if record.origin.get(name) != now.get(name)]
    if any(outputs_digest(path) != digest for path, digest in record.outputs.items()):
        names.append("results")
    return names


def outputs_digest(path: str | Path) -> str | None:
    """SHA-256 of a file, or number of files in a folder; None where it is not there."""
    try:
        return f"{len(os.listdir(path))} files" if os.path.isdir(path) else sha256(path)
    except OSError:
        return None


def source_facts(source: str) -> str:
    """Number, bytes and newest change of the files of a recording, which none of them is read for.

    Raises:
        SourceError: there is no such file, or it cannot be read.
    """
    try:
        if os.path.isfile(source):
            with open_regular(source):
                pass
            files: tuple[Path, ...] = (Path(source),)
        else:
            files = image_paths(source)
        facts = [os.stat(file) for file in files]
    except OSError as err:
        raise SourceError(f"{source}: cannot be read ({err.strerror or err})") from err
    except JdetrtError as err:
        raise SourceError(str(err)) from err
    if not facts:
        kind = "has no images" if os.path.isdir(source) else "no such file or folder"
        raise SourceError(f"{source}: {kind}")
    size, newest = sum(fact.st_size for fact in facts), max(fact.st_mtime_ns for fact in facts)
    return f"{len(facts)} files, {size} bytes, changed at {newest} ns"
