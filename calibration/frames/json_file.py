"""Frame lists and ranges from their JSON files."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from jdetrt import files
from jdetrt.errors import CalibrationError

__all__ = ["read_json"]


class _Versioned(Protocol):
    @property
    def format(self) -> int: ...


_T = TypeVar("_T", bound=_Versioned)


def read_json(
    path: str | Path, kind: type[_T], version: int, *, foreign: str, older: str, again: str
) -> _T:
    """Read a file that `jdetrt.files.write_json` wrote.

    Args:
        path: the file.
        kind: what it holds.
        version: the format that this jdetrt reads.
        foreign: what is said of another file, ``"is no list"``.
        older: what is said before the number of another format, ``"is a list of format"``.
        again: what to do then.

    Raises:
        CalibrationError: it cannot be read, is another file or of another format.
    """
    try:
        with files.open_regular(path) as file:
            found = msgspec.json.decode(file.read(), type=kind)
    except OSError as err:
        raise CalibrationError(f"{path}: cannot be read ({err.strerror or err})") from err
    except (msgspec.DecodeError, UnicodeDecodeError) as err:
        raise CalibrationError(f"{path}: {foreign} ({err})") from err
    if found.format != version:
        raise CalibrationError(
            f"{path}: {older} {found.format}, this jdetrt reads {version}; {again}"
        )
    return found
