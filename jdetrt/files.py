"""Files: read with one clear message where that fails; written whole or not at all."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from jdetrt.atomic import (
    atomic_folder,
    atomic_path,
    check_writable,
    is_ours,
    remove_leftovers,
    replace_folder,
    scratch_folder,
    to_json,
    write_bytes,
    write_json,
    write_text,
    write_together,
)
from jdetrt.errors import JdetrtError

__all__ = [
    "atomic_folder",
    "atomic_path",
    "check_writable",
    "is_ours",
    "open_regular",
    "read_bytes",
    "reading",
    "remove_leftovers",
    "replace_folder",
    "scratch_folder",
    "sha256",
    "to_json",
    "write_bytes",
    "write_json",
    "write_text",
    "write_together",
]


def open_regular(path: str | Path) -> BinaryIO:
    """Open a file to read; refuse a pipe or a device, which may say nothing, or never end.

    Raises:
        OSError: it is one of these, or cannot be opened.
    """
    path = Path(path)
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return path.open("rb")


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


def read_bytes(path: str | Path, error: type[JdetrtError], advice: str = "") -> bytes:
    """Read a regular file; ``error`` and ``advice`` are as in `reading`."""
    with reading(path, error, advice), open_regular(path) as file:
        return file.read()


def sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file, read in pieces. Raises OSError."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
