"""Targets of text: a file that appears at the end, a file that grows, standard output."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import BinaryIO, Protocol, TextIO

from jdetrt.errors import OutputError
from jdetrt.files import check_writable
from jdetrt.runtime.sinks.base import PendingFile
from jdetrt.runtime.sinks.rotation import Rotation, set_aside

__all__ = ["STDOUT", "Target", "open_target"]

STDOUT = Path("-")


class Target(Protocol):
    """Takes text in pieces that belong together.

    Attributes:
        name: for messages.
    """

    name: str

    @property
    def closed(self) -> bool:
        """True if it takes no more."""

    def write(self, data: bytes) -> None:
        """Write a piece; raises OSError, and then ``close`` leaves nothing of it."""

    def close(self) -> None:
        """Complete it. Raises OutputError."""

    def discard(self) -> None:
        """Leave nothing."""


def open_target(path: str | Path | TextIO, live: Rotation | None) -> Target:
    """Open a target.

    Args:
        path: of the file, whose folder is made; ``-`` for standard output; or a stream that is
            open.
        live: the file grows under its own name, and gives way to a new one as this says; by
            default it gets its name when it is complete.

    Raises:
        OutputError: the file cannot be made.
    """
    if not isinstance(path, (str, Path)):
        return _Stream(path)
    if Path(path) == STDOUT:
        return _Stream(sys.stdout)
    return _WholeFile(Path(path)) if live is None else _LiveFile(Path(path), live)


def _write_all(file: BinaryIO, data: bytes) -> None:
    """Write to an unbuffered file until nothing is left. Raises OSError."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


class _WholeFile:
    """A file that gets its name when it is complete.

    Unbuffered: an error belongs to the piece that caused it, and nothing is lost by a crash.

    Raises:
        OutputError: the file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._pending = PendingFile(path)
        self._file: BinaryIO = self._pending.temporary.open("wb", buffering=0)
        self._end = 0  # of the last piece that is there in full

    @property
    def closed(self) -> bool:
        return self._file.closed

    def write(self, data: bytes) -> None:
        _write_all(self._file, data)
        self._end = self._file.tell()

    def close(self) -> None:
        try:
            self._file.truncate(self._end)
            os.fsync(self._file.fileno())  # some file systems report a full disk only here
        except OSError as err:
            self.discard()
            raise OutputError(
                f"{self.name}: cannot be completed ({err.strerror}); it is discarded"
            ) from err
        self._file.close()
        self._pending.commit()

    def discard(self) -> None:
        if not self._file.closed:
            self._file.close()
            self._pending.drop()


class _LiveFile:
    """A file that grows under its own name, and gives way to a new one.

    A file that stands there already, of a run before, is set aside and not lost.

    Args:
        path: of the file; its folder is made.
        rotation: when a new one begins.

    Raises:
        OutputError: the file cannot be made.
    """

    def __init__(self, path: Path, rotation: Rotation) -> None:
        self.name = str(path)
        self._path = path
        self._rotation = rotation
        self._file = self._open()

    @property
    def closed(self) -> bool:
        return self._file.closed

    def write(self, data: bytes) -> None:
        if self._end and self._rotation.due(self._end, self._opened):
            self._finish()
            self._file = self._open()
        _write_all(self._file, data)
        self._end += len(data)

    def close(self) -> None:
        if self._file.closed:
            return
        try:
            self._finish()
        except OSError as err:
            raise OutputError(f"{self.name}: cannot be completed ({err.strerror})") from err

    def discard(self) -> None:
        if not self._file.closed:
            self._file.close()
            self._path.unlink(missing_ok=True)

    def _open(self) -> BinaryIO:
        check_writable(self._path)
        set_aside(self._path, self._rotation.keep)
        self._end, self._opened = 0, time.monotonic()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            return self._path.open("wb", buffering=0)
        except OSError as err:
            raise OutputError(f"{self.name}: cannot be written ({err.strerror or err})") from err

    def _finish(self) -> None:
        try:
            self._file.truncate(self._end)
            os.fsync(self._file.fileno())
        finally:
            self._file.close()


class _Stream:
    """Standard output, or another stream that is open; each piece is flushed."""

    def __init__(self, stream: TextIO) -> None:
        self.name = "standard output"
        self.closed = False
        self._stream = stream

    def write(self, data: bytes) -> None:
        self._stream.write(data.decode())
        self._stream.flush()

    def close(self) -> None:
        self.closed = True

    def discard(self) -> None:
        self.closed = True
