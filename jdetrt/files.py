"""Files and folders that appear whole or not at all, also when the process or the power fails.

Each is written under a hidden name beside its place, ``.NAME.jdetrt-XXXXXXXX``, flushed to the disk
and renamed. The writer holds a lock (flock) on the hidden name as long as it lives. One that nobody
holds was left by a process that was killed: the next that writes into its folder removes it.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from jdetrt.errors import OutputError

__all__ = [
    "atomic_folder",
    "atomic_path",
    "check_writable",
    "is_ours",
    "remove_leftovers",
    "replace_folder",
    "scratch_folder",
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

_HIDDEN = re.compile(r"\..*\.jdetrt-[a-z0-9_]{8}(\.[^.]*)?", re.DOTALL)
_IN_WORK = 3600  # seconds, where the file system has no locks
_MARK = ".jdetrt"  # the file that marks a folder as ours, to be replaced
_NEW, _OLD = "new", "old"  # in a hidden folder: the one in work, the one whose place it takes
_AT_CWD, _EXCHANGE = -100, 2  # AT_FDCWD of fcntl.h, RENAME_EXCHANGE of linux/fs.h
_FLUSHED_SINGLY = 1000  # files of a folder; more are flushed with the whole file system


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
    with _beside(path, path.suffix) as temporary:  # OpenCV chooses the container by the suffix
        if path.exists() and not path.is_file():
            kind = "a folder" if path.is_dir() else "no regular file"
            raise OutputError(f"{path}: is {kind}; name a file")
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        _flush(temporary)
        temporary.replace(path)
        _flush_names(path.parent)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder to fill; it takes the place of ``folder`` when the block succeeds.

    Where the system can exchange two names (Linux), the old or the new one stands there at any
    moment; else the next run puts the old one back.

    Raises:
        OutputError: it cannot be written.
    """
    with _beside(folder) as temporary:
        new = temporary / _NEW
        new.mkdir()
        yield new
        _flush_tree(new)
        if not folder.exists():
            new.rename(folder)
        elif not _exchange(new, folder):
            (temporary / _OLD).mkdir()
            folder.rename(temporary / _OLD / folder.name)
            new.rename(folder)
        _flush_names(folder.parent)


@contextmanager
def scratch_folder(name: str) -> Iterator[Path]:
    """Give an empty folder among the system's temporary ones, for as long as the block lasts."""
    place = Path(tempfile.gettempdir(), name)
    remove_leftovers(place)
    with _hidden(place, None) as temporary:
        scratch = temporary / _NEW
        scratch.mkdir()
        yield scratch


@contextmanager
def _beside(path: Path, suffix: str | None = None) -> Iterator[Path]:
    """Hold a hidden file with a suffix, or folder without, beside ``path``; remove it at the end.

    Raises:
        OutputError: for an OSError, of the block too.
    """
    with ExitStack() as cleanup:
        try:
            for parent in reversed([parent for parent in path.parents if not parent.exists()]):
                cleanup.callback(_remove_empty, parent)
            path.parent.mkdir(parents=True, exist_ok=True)
            remove_leftovers(path)
            yield cleanup.enter_context(_hidden(path, suffix))
        except OSError as err:
            raise _refuse(path, err) from err


@contextmanager
def _hidden(path: Path, suffix: str | None) -> Iterator[Path]:
    prefix = f".{path.stem[:40]}.jdetrt-"  # short, as names are limited
    while True:  # another process may take what is not yet locked for a leftover
        if suffix is None:
            temporary = Path(tempfile.mkdtemp(prefix=prefix, dir=path.parent))
            try:
                handle = os.open(temporary, os.O_RDONLY)
            except FileNotFoundError:  # taken
                continue
        else:
            handle, name = tempfile.mkstemp(prefix=prefix, suffix=suffix, dir=path.parent)
            temporary = Path(name)
        if _lock(handle) is not False and temporary.exists():
            break
        os.close(handle)
    try:
        yield temporary
    finally:
        _delete(temporary)
        os.close(handle)


def remove_leftovers(path: str | Path) -> None:
    """Remove the hidden files and folders beside ``path`` that no living process holds."""
    with suppress(OSError):
        for entry in list(os.scandir(Path(path).parent)):
            if _HIDDEN.fullmatch(entry.name):
                with suppress(OSError):
                    _remove_leftover(Path(entry.path))


def _remove_leftover(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        free = _lock(handle)
        if free is None:
            free = time.time() - os.fstat(handle).st_mtime > _IN_WORK
        if free:
            for old in (path / _OLD).glob("*"):  # its place is empty: it was killed in between
                if not os.path.lexists(path.parent / old.name):
                    old.rename(path.parent / old.name)
            _delete(path)
    finally:
        os.close(handle)


def _lock(handle: int) -> bool | None:
    """Lock a file that is open: True if it is ours now, None where the system has no locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):  # something is in it by now
        folder.rmdir()


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step; False where the system or its file system cannot."""
    call = getattr(ctypes.CDLL(None), "renameat2", None)
    if call is None:
        return False
    sys.audit("os.rename", one, other, _AT_CWD, _AT_CWD)  # as Python's own renames do
    return bool(call(_AT_CWD, os.fsencode(one), _AT_CWD, os.fsencode(other), _EXCHANGE) == 0)


def _flush(path: Path) -> None:
    """Wait until the content of a file is on the disk, where the file system can say so."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as err:
        if err.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def _flush_names(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    with suppress(OSError):  # a folder that may be written but not read
        _flush(folder)


def _flush_tree(folder: Path) -> None:
    paths = [path for path in folder.rglob("*") if not path.is_symlink()]
    if len(paths) > _FLUSHED_SINGLY:
        os.sync()
        return
    for path in paths:
        _flush_names(path) if path.is_dir() else _flush(path)
    _flush_names(folder)


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
    with atomic_folder(folder) as new:
        yield new
        note = "While this file is here, another run may replace the folder.\n"
        (new / _MARK).write_text(f"{origin}. {note}")


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
            temporary = written.enter_context(atomic_path(path))
            temporary.write_bytes(data)
            _flush(temporary)  # now: a full disk is to show before the first of them appears


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
