"""Files that every hand-over writes: templates and copies."""

from __future__ import annotations

import shutil
from importlib.resources import files as package_files
from pathlib import Path

from jdetrt.errors import ConfigError
from jdetrt.files import atomic_path
from jdetrt.inputs import reading

__all__ = ["copy_file", "template"]


def template(name: str) -> str:
    """Text of a template of this package."""
    return package_files("jdetrt.deploy").joinpath("templates").joinpath(name).read_text("utf-8")


def copy_file(source: Path, target: Path) -> None:
    """Copy a file; the copy appears whole or not at all. Raises ConfigError, OutputError."""
    with reading(source, ConfigError), atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)
