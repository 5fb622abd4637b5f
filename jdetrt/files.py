"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from jdetrt.errors import JdetrtError, OutputError

__all__ = [
    "atomic_path",
    "check_writable",
    "is_ours",
    "open_regular",
    "read_bytes",
    "reading",
    "remove_leftovers",
    "replace_folder",
    "sha256",
    "to_json",
    "write_bytes",
    "write_json",
    "write_text",
    "write_together",
]

_REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space, or ask for a larger quota",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f), or write to another disk",
    errno.ENAMETOOLONG: "give it a shorter name",
}

_IN_WORK = 3600  # seconds
_MARK = ".jdetrt"  # the file that marks a folder as ours, to be replaced


def _refuse(path: Path, err: OSError) -> OutputError:
    hint = _REMEDIES.get(err.errno or 0, "check the folder and its permissions")
    return OutputError(f"{path}: cannot be written ({err.strerror or err}); {hint}")


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; rename it to ``path`` when the block succeeds.

    The folder is made if it is missing. When the block raises, the temporary file is deleted, the
    folder too if it was made here, and whatever stood at ``path`` before stands there still.

    Raises:
        OutputError: the folder or the file cannot be written (no space, no permission).
    """
    path = Path(path)
    made = not path.parent.exists()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            kind = "a folder" if path.is_dir() else "no regular file"
            raise OutputError(f"{path}: is {kind}; name a file")
        # The suffix is kept: OpenCV chooses the container format by it.
        handle, name = tempfile.mkstemp(prefix=_prefix(path), suffix=path.suffix, dir=path.parent)
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


def _prefix(path: Path) -> str:
    """Prefix of the names of temporary files of ``path``; short, as names are limited."""
    return f".{path.stem[:40]}.jdetrt-"


def remove_leftovers(path: str | Path) -> None:
    """Remove what a process that was killed while it wrote ``path`` left beside it.

    A file that was written to within the last hour may be in work, and stays.
    """
    path = Path(path)
    pattern = f"{glob.escape(_prefix(path))}????????{glob.escape(path.suffix)}"
    for left in path.parent.glob(pattern):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _IN_WORK:
                left.unlink()


def is_ours(folder: Path, contents: Collection[str]) -> bool:
    """Tell whether `replace_folder` wrote a folder and it holds nothing beside ``contents``."""
    if folder.is_symlink() or not (folder / _MARK).is_file():
        return False
    return {path.name for path in folder.iterdir()} <= {*contents, _MARK}


@contextmanager
def replace_folder(folder: Path, contents: Collection[str], origin: str) -> Iterator[Path]:
    """Give an empty folder to fill; it takes the place of ``folder`` when the block succeeds.

    Args:
        folder: absent, or written by a former call.
        contents: names that may be in it.
        origin: the start of the note in it, such as ``"Written by X"``.

    Raises:
        OutputError: it exists and is not ours (`is_ours`), or it cannot be written.
    """
    if os.path.lexists(folder) and not is_ours(folder, contents):
        raise OutputError(
            f"{folder}: exists already and has other files than those of an earlier run; "
            f"name another folder or delete it"
        )
    parents = [parent for parent in folder.parents if not parent.exists()]
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            new = temporary / "new"
            new.mkdir()
            yield new
            note = "While this file is here, another run may replace the folder.\n"
            (new / _MARK).write_text(f"{origin}. {note}")
            if folder.exists():
                folder.rename(temporary / "old")
            new.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as err:
        raise _refuse(folder, err) from err
    finally:
        for parent in parents:
            with suppress(OSError):  # it is not empty
                parent.rmdir()


def check_writable(path: str | Path) -> None:
    """See to it before long work that a file can be written there.

    Raises:
        OutputError: it is a folder, its name is too long, or its folder takes no files.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            raise OutputError(
                f"{path}: is {'a folder' if path.is_dir() else 'no file'}; name a file"
            )
        folder = next((p for p in path.absolute().parents if p.exists()), Path("/"))
    except OSError as err:
        raise _refuse(path, err) from err
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise OutputError(f"{path}: cannot be written: {folder} is not a writable folder")


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


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write ``data`` to ``path``, whole or not at all. Raises OutputError."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_together(contents: Mapping[Path, bytes]) -> None:
    """Write files that belong together, all of them or none; the first appears last.

    Raises:
        OutputError: one cannot be written; what stood at any of the paths still stands there,
            unless the system refuses to rename a file that it let be written.
    """
    with ExitStack() as written:
        for path, data in contents.items():
            written.enter_context(atomic_path(path)).write_bytes(data)


def to_json(value: object, *, indent: int = 2) -> bytes:
    """Encode a value that msgspec knows as indented JSON."""
    import msgspec  # not for those who only write results

    return msgspec.json.format(msgspec.json.encode(value), indent=indent) + b"\n"


def write_json(path: str | Path, value: object, *, indent: int = 2) -> None:
    """Write what msgspec knows as JSON for people, whole or not at all. Raises OutputError."""
    write_bytes(path, to_json(value, indent=indent))


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` as UTF-8 to ``path``, whole or not at all. Raises OutputError."""
    write_bytes(path, text.encode())


def sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file, read in pieces. Raises OSError."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
