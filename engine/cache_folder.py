"""Where plans and timings are kept between runs, and how two runs keep out of each other's way."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jdetrt.errors import SinkError

__all__ = ["cache_folder", "locked"]


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/jdetrt``, by default ``~/.cache/jdetrt``; it may not exist yet."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG base directory specification: a relative path is to be ignored.
    root = Path(base) if os.path.isabs(base) else Path("~/.cache").expanduser()
    return root / "jdetrt"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes that do the same with this file out; wait for one that is in.

    The lock is a hidden file beside it. The system frees it when its holder ends, however it ends.

    Raises:
        SinkError: the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(f".{path.name}.lock").open("w")
    except OSError as err:
        where = "; name another folder with XDG_CACHE_HOME" * path.is_relative_to(cache_folder())
        raise SinkError(f"{path.parent}: cannot be written ({err.strerror}){where}") from err
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
