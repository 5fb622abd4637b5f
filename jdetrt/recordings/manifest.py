"""Manifest of recordings: a path a line, or JSON lines or CSV with names and ground truth.

========== =====================================================================================
text       one path a line; lines that begin with ``#`` are comments
JSON lines objects with ``source`` and, where wanted, ``name`` and ``truth``
CSV        a first line with these titles (a file that ends in ``.csv``)
========== =====================================================================================

Paths are relative to the folder of the manifest. ``truth`` is a MOT sequence, or its ``gt/gt.txt``.
"""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from jdetrt.account import Account
from jdetrt.config import Section
from jdetrt.documents import convert, decode_json
from jdetrt.errors import DataError
from jdetrt.inputs import read_text
from jdetrt.passwords import without_passwords

__all__ = ["Manifest", "Recording", "read_manifest"]

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|(camera|csi|gst):")
_LONGEST_NAME = 150  # characters, as suffixes and hidden parts are added


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording of a manifest.

    Attributes:
        name: of its results, unique in the manifest and fit for a file name.
        source: a video, a folder or pattern of images, or a MOT sequence; an absolute path.
        truth: folder of a MOT sequence with its ground truth; None where there is none.
        line: of the manifest.
    """

    name: str
    source: str
    truth: Path | None
    line: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """Recordings in their order.

    Attributes:
        path: of the file.
        recordings: without those that are listed twice.
        account: of the rows that were read.
    """

    path: Path
    recordings: tuple[Recording, ...]
    account: Account


class _Row(Section, frozen=True):
    source: str
    name: str | None = None
    truth: str | None = None


def read_manifest(path: str | Path) -> Manifest:
    """Read a list of recordings; whether they exist is seen when they are opened.

    A recording without a name goes by that of its file or folder; where two would be called alike,
    by its path from their common folder.

    Raises:
        DataError: the file cannot be read or lists nothing, a row is wrong, or two recordings are
            given one name; with the line.
    """
    path = Path(path)
    account = Account("recording")
    rows: dict[tuple[str, str | None], tuple[_Row, int]] = {}
    for line, row in _rows(path, read_text(path, DataError)):
        source = _absolute(path, line, row.source)
        if (source, row.name) in rows:
            account.leave_out("listed twice", by_design=True)
            continue
        rows[source, row.name] = row, line
    if not rows:
        raise DataError(f"{path}: lists no recording; write the path of one on each line")
    account.take(len(rows))
    names = _names(path, [(source, name, line) for (source, name), (_, line) in rows.items()])
    recordings = tuple(
        Recording(name, source, _truth(path, source, row), line)
        for name, ((source, _), (row, line)) in zip(names, rows.items(), strict=True)
    )
    return Manifest(path, recordings, account)


def _rows(path: Path, text: str) -> Iterator[tuple[int, _Row]]:
    if path.suffix.lower() == ".csv":
        yield from _csv_rows(path, text)
        return
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1)]
    lines = [(number, line) for number, line in lines if line and not line.startswith("#")]
    as_json = bool(lines) and lines[0][1].startswith("{")
    for number, line in lines:
        yield number, _json_row(path, number, line) if as_json else _Row(source=line)


def _json_row(path: Path, number: int, line: str) -> _Row:
    try:
        return decode_json(line, _Row)
    except ValueError as err:
        raise DataError(
            f'{path}:{number}: expected an object such as {{"source": "gate.mp4"}} ({err})'
        ) from err


def _csv_rows(path: Path, text: str) -> Iterator[tuple[int, _Row]]:
    reader = csv.DictReader(text.splitlines(), skipinitialspace=True, strict=True)
    try:
        titles = [title.strip() for title in reader.fieldnames or ()]
        unknown = sorted(set(titles) - {"source", "name", "truth"})
        if "source" not in titles or unknown or len(set(titles)) < len(titles):
            raise DataError(
                f"{path}: expected the titles source, name and truth in the first line, or some of "
                f"them with source among them; got {', '.join(titles)[:100] or 'none'}"
            )
        reader.fieldnames = titles
        for row in reader:
            if None in row:
                raise DataError(f"{path}:{reader.line_num}: has more cells than there are titles")
            cells = {key: text for key, value in row.items() if (text := (value or "").strip())}
            if cells:
                yield reader.line_num, convert(cells, _Row)
    except (csv.Error, ValueError) as err:
        raise DataError(f"{path}:{reader.line_num}: {err}") from err


def _absolute(path: Path, line: int, text: str) -> str:
    if _URI.match(text):
        raise DataError(
            f"{path}:{line}: {without_passwords(text)}: is a camera or a stream; a manifest lists "
            "recordings, which have an end"
        )
    if not text.strip() or "\0" in text:
        raise DataError(f"{path}:{line}: expected the path of a recording, got {text[:40]!r}")
    return os.path.normpath(path.absolute().parent / text)


def _truth(path: Path, source: str, row: _Row) -> Path | None:
    """The folder of the ground truth; that of a MOT sequence is its own."""
    if row.truth is None:
        return Path(source) if os.path.isfile(os.path.join(source, "gt", "gt.txt")) else None
    truth = Path(os.path.normpath(path.absolute().parent / row.truth))
    return truth.parents[1] if truth.parts[-2:] == ("gt", "gt.txt") else truth


def _names(path: Path, rows: list[tuple[str, str | None, int]]) -> list[str]:
    """A name for each: as it is given, or made of the path."""
    lines: dict[str, int] = {}
    for _, name, line in rows:
        if name is None:
            continue
        if name != _file_name(name) or len(name) > _LONGEST_NAME:
            raise DataError(
                f"{path}:{line}: the name {name[:60]!r} is part of file names: expected letters, "
                f"digits, '_', '-' and '.', not at its ends, and {_LONGEST_NAME} of them at most"
            )
        if name in lines:
            raise DataError(
                f"{path}:{line}: the name {name!r} is also that of line {lines[name]}; give each "
                "recording a name of its own"
            )
        lines[name] = line
    free = [source for source, name, _ in rows if name is None]
    short = [_file_name(_stem(source)) for source in free]
    taken = Counter([*lines, *short])
    alike = {source for source, name in zip(free, short, strict=True) if taken[name] > 1}
    long = _long_names(alike)
    made = {source: long.get(source, name) for source, name in zip(free, short, strict=True)}
    twice = [name for name, count in Counter([*lines, *made.values()]).items() if count > 1]
    if twice:
        sources = [source for source in free if made[source] == twice[0]]
        raise DataError(
            f"{path}: the results of {' and '.join(sources)} would both be called {twice[0]!r}; "
            "give them names (JSON lines or CSV with source and name)"
        )
    return [made[source] if name is None else name for source, name, _ in rows]


def _long_names(sources: Iterable[str]) -> dict[str, str]:
    """Names of the paths from the common folder, with their suffixes where these differ alone."""
    sources = sorted(sources)
    if len(sources) < 2:
        common = os.path.dirname(os.path.dirname(sources[0])) if sources else ""
    else:
        common = os.path.commonpath([os.path.dirname(source) for source in sources])
    relative = {source: os.path.relpath(source, common) for source in sources}
    names = {
        source: _file_name(os.path.join(os.path.dirname(text), _stem(text)))
        for source, text in relative.items()
    }
    taken = Counter(names.values())
    return {
        source: name if taken[name] == 1 else _file_name(relative[source])
        for source, name in names.items()
    }


def _stem(source: str) -> str:
    """The name of a file without its suffix, of a folder as it is."""
    name = os.path.basename(source)
    return name if os.path.isdir(source) else os.path.splitext(name)[0]


def _file_name(text: str) -> str:
    """Text as a part of file names; as `jdetrt.runtime.sinks.outputs.output_path` has it."""
    return re.sub(r"[^\w.-]+", "-", text).strip(".-")[-_LONGEST_NAME:].strip(".-") or "recording"
