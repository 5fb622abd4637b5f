"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from jdetrt.errors import SinkError

__all__ = ["atomic_path", "open_regular", "sha256", "write_bytes", "write_json", "write_text"]


_REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space, or ask for a larger quota",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f), or write to another disk",
}


def _refuse(path: Path, err: OSError) -> SinkError:
    hint = _REMEDIES.get(err.errno or 0, "check the folder and its permissions")
    return SinkError(f"{path}: cannot be written ({err.strerror or err}); {hint}")


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; rename it to ``path`` when the block succeeds.

    The folder is made if it is missing. When the block raises, the temporary file is deleted, the
    folder too if it was made here, and whatever stood at ``path`` before stands there still.

    Raises:
        SinkError: the folder or the file cannot be written (no space, no permission).
    """
    path = Path(path)
    made = not path.parent.exists()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            kind = "a folder" if path.is_dir() else "no regular file"
            raise SinkError(f"{path}: is {kind}; name a file")
        # The suffix is kept: OpenCV chooses the container format by it.
        handle, name = tempfile.mkstemp(
            prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent
        )
        os.close(handle)
    except OSError as err:
        raise _refuse(path, err) from err
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except OSError as err:
        raise _refuse(path, err) from err
    finally:
        temporary.unlink(missing_ok=True)
        if made and not path.exists():
            with suppress(OSError):  # something else is in it by now
                path.parent.rmdir()


def open_regular(path: str | Path) -> BinaryIO:
    """Open a file to read; refuse a pipe or a device, which may say nothing, or never end.

    Raises:
        OSError: it is one of these, or cannot be opened.
    """
    path = Path(path)
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return path.open("rb")


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write ``data`` to ``path``, whole or not at all. Raises SinkError."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: str | Path, value: object, *, indent: int = 2) -> None:
    """Write what msgspec knows as JSON for people, whole or not at all. Raises SinkError."""
    import msgspec  # not for those who only write results

    write_bytes(path, msgspec.json.format(msgspec.json.encode(value), indent=indent) + b"\n")


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` as UTF-8 to ``path``, whole or not at all. Raises SinkError."""
    write_bytes(path, text.encode())


def sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file, read in pieces. Raises OSError."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
