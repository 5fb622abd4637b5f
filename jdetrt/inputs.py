"""Files that are read: regular ones of a bounded size.

A pipe or a device may say nothing or never end, and a file of another kind may fill the memory.
Every reader opens here, and states the most bytes that a file of its format has.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from jdetrt.errors import JdetrtError

__all__ = [
    "LARGEST_JSON",
    "LARGEST_SETTINGS",
    "LARGEST_TABLE",
    "LARGEST_TEXT",
    "check_regular",
    "open_regular",
    "read_bytes",
    "read_text",
    "reading",
    "sha256",
]

# The most bytes of a file, by format.
LARGEST_SETTINGS = 1 << 20  # TOML
LARGEST_TEXT = 16 << 20  # lists and labels; the longest published list has 3 MB
LARGEST_JSON = 32 << 20  # of ours, and of annotations of one image
LARGEST_TABLE = 256 << 20  # MOT text, MATLAB, annotations and frames of whole videos

_KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def open_regular(path: str | Path, largest: int | None = None) -> BinaryIO:
    """Open a regular file to read, at once and whatever it becomes in the meantime.

    Args:
        path: the file.
        largest: refuse a file of more bytes; None for any size.

    Raises:
        OSError: it is a folder, a pipe, a device or a socket, is too large, or cannot be opened.
    """
    try:
        _refuse_others(os.stat(path))  # some devices act when they are opened
        # Without O_NONBLOCK a pipe that took its place would wait for a writer.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | os.O_CLOEXEC)
    except ValueError as err:
        raise OSError(errno.EINVAL, f"the name has a character that none can have: {err}") from err
    try:
        facts = os.fstat(handle)
        _refuse_others(facts)
        if largest is not None and facts.st_size > largest:
            raise OSError(
                errno.EFBIG,
                f"{facts.st_size:,} bytes; no such file is larger than {largest >> 20} MiB",
            )
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def _refuse_others(facts: os.stat_result) -> None:
    if stat.S_ISDIR(facts.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    for is_kind, name in _KINDS:
        if is_kind(facts.st_mode):
            raise OSError(errno.EINVAL, f"not a regular file but {name}")


def check_regular(path: str | Path, error: type[JdetrtError], largest: int | None = None) -> None:
    """Refuse what `open_regular` refuses, for a library that opens the file itself."""
    with reading(path, error), open_regular(path, largest):
        pass


@contextmanager
def reading(path: str | Path, error: type[JdetrtError], advice: str = "") -> Iterator[None]:
    """Turn an OSError of the block into ``error``, which names the file and the reason.

    Args:
        path: the file that the block reads.
        error: its type.
        advice: how to mend it, the end of the message.
    """
    try:
        yield
    except OSError as err:
        end = advice and f"; {advice}"
        raise error(f"{path}: cannot be read ({err.strerror or err}){end}") from err


def read_bytes(
    path: str | Path,
    error: type[JdetrtError],
    advice: str = "",
    *,
    largest: int | None = LARGEST_TABLE,
) -> bytes:
    """Read a regular file of at most ``largest`` bytes; the rest is as in `reading`."""
    with reading(path, error, advice), open_regular(path, largest) as file:
        return file.read() if largest is None else file.read(largest)


def read_text(path: str | Path, error: type[JdetrtError], *, largest: int = LARGEST_TEXT) -> str:
    """Read a regular file of UTF-8 text, with or without a byte order mark.

    Raises:
        JdetrtError: of the type ``error``; it cannot be read, is too large or no text.
    """
    try:
        return read_bytes(path, error, largest=largest).decode("utf-8-sig")
    except UnicodeDecodeError as err:
        raise error(f"{path}: not a text file (byte {err.start} is not UTF-8)") from err


def sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file, read in pieces. Raises OSError."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
