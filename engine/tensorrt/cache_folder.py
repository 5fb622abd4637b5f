"""Cache folder of plans and kernel timings, with a lock between runs that write.

Own code, not platformdirs and filelock: a relative ``XDG_CACHE_HOME`` has to be ignored, and a
waiting process wakes at once with ``flock``; the tests hold both, and file systems without locks.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from jdetrt.errors import OutputError

__all__ = ["cache_folder", "lock_path", "locked"]


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/jdetrt``, by default ``~/.cache/jdetrt``; it may not exist yet."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG base directory specification: a relative path is to be ignored.
    root = Path(base) if os.path.isabs(base) else Path("~/.cache").expanduser()
    return root / "jdetrt"


def lock_path(path: Path) -> Path:
    """The hidden file that `locked` makes beside ``path``, and leaves there."""
    return path.with_name(f".{path.name}.lock")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes that do the same with this file out; wait for one that is in.

    The system frees the lock when its holder ends, however it ends.

    Raises:
        OutputError: the folder cannot be written, or its file system has no locks.
    """
    with ExitStack() as opened:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = opened.enter_context(lock_path(path).open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as err:
            where = "; name another folder with XDG_CACHE_HOME"
            where *= path.is_relative_to(cache_folder())
            raise OutputError(f"{path.parent}: cannot be written ({err.strerror}){where}") from err
        yield
