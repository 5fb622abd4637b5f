"""Files written whole or not at all."""

from __future__ import annotations

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
