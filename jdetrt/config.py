"""Every setting and every number taken from the paper or its reference code, once.

Sections are frozen and typed; a TOML file that names an unknown key, or gives a value of the wrong
type, is refused with the path of the key. "Section 3.9" and the like mean the numbered facts in
docs/reference.md; "paper" is *Towards Real-Time Multi-Object Tracking* (arXiv 1909.12605).
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from jdetrt.errors import ConfigError

__all__ = ["load"]

_T = TypeVar("_T", bound=msgspec.Struct)


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all sections."""


def load(path: str | Path, section: type[_T]) -> _T:
    """Read a TOML file into a section.

    Raises:
        ConfigError: the file is missing, is not TOML, or has an unknown or wrong key.
    """
    path = Path(path)
    try:
        return msgspec.toml.decode(path.read_bytes(), type=section)
    except OSError as err:
        raise ConfigError(f"{path}: cannot be read ({err.strerror})") from err
    except (msgspec.DecodeError, UnicodeDecodeError) as err:
        raise ConfigError(f"{path}: {err}") from err
