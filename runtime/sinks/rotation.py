"""Rotation: a file that grows for months gives way to a new one, by size or by time."""

from __future__ import annotations

import glob
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from jdetrt.errors import DataError, OutputError

__all__ = ["NO_ROTATION", "Rotation", "set_aside"]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_BYTES = {"KB": 10**3, "MB": 10**6, "GB": 10**9}
_STAMP = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True)
class Rotation:
    """When a live file gives way to a new one, and how many old ones stay.

    Attributes:
        size: bytes from which on a new file begins; None for any.
        seconds: age of a file from which on a new one begins; None for any.
        keep: old files that stay; None for all.
    """

    size: int | None = None
    seconds: float | None = None
    keep: int | None = None

    @classmethod
    def parse(cls, text: str, keep: int | None = None) -> Rotation:
        """Read a size or a time: ``100MB``, ``2GB``, ``30m``, ``1h``, ``1d``.

        Raises:
            DataError: the text is neither.

        >>> Rotation.parse("100MB").size, Rotation.parse("1h").seconds
        (100000000, 3600.0)
        """
        match = re.fullmatch(r"([1-9]\d{0,5})\s*([a-zA-Z]{1,2})", text.strip())
        if match is not None and match[2].upper() in _BYTES:
            return cls(size=int(match[1]) * _BYTES[match[2].upper()], keep=keep)
        if match is not None and match[2].lower() in _UNITS:
            return cls(seconds=float(match[1]) * _UNITS[match[2].lower()], keep=keep)
        raise DataError(
            f"{text!r}: expected a size such as 100MB or 2GB, or a time such as 30m, 1h or 1d"
        )

    def due(self, size: int, opened: float) -> bool:
        """Tell whether a file of so many bytes, opened at this ``time.monotonic()``, is full."""
        return (self.size is not None and size >= self.size) or (
            self.seconds is not None and time.monotonic() - opened >= self.seconds
        )


NO_ROTATION = Rotation()


def set_aside(path: Path, keep: int | None = None) -> None:
    """Give a file that is there the time of its last change as a part of its name (UTC).

    ``tracks.jsonl`` becomes ``tracks-20261130T094500Z.jsonl``. An empty file is left as it is.

    Args:
        path: of the file.
        keep: delete the oldest of those with such a name until so many are left; None for none.

    Raises:
        OutputError: it cannot be renamed.
    """
    try:
        if not path.exists() or not path.stat().st_size:
            return
        stem = f"{path.stem}-{time.strftime(_STAMP, time.gmtime(path.stat().st_mtime))}"
        other, number = path.with_name(stem + path.suffix), 1
        while other.exists():
            number += 1
            other = path.with_name(f"{stem}-{number}{path.suffix}")
        path.rename(other)
    except OSError as err:
        raise OutputError(f"{path}: cannot be renamed ({err.strerror or err})") from err
    if keep is None:
        return
    digits = "[0-9]" * 8 + "T" + "[0-9]" * 6 + "Z"
    pattern = f"{glob.escape(path.stem)}-{digits}*{glob.escape(path.suffix)}"
    old = sorted(path.parent.glob(pattern), key=_order)
    for file in old[: max(0, len(old) - keep)]:
        with suppress(OSError):  # somebody else was faster
            file.unlink()


def _order(path: Path) -> tuple[str, int]:
    """By time, then by the number behind it."""
    stamp, _, number = path.stem.rpartition("Z")
    return stamp, int(number[1:] or 1) if re.fullmatch(r"(-\d+)?", number) else 0
