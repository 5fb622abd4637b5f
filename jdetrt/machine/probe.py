"""Probe: where facts about a machine are read from, so that a Jetson's answers can be replayed."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

__all__ = ["Output", "Probe", "run_program"]


class Output(NamedTuple):
    """Exit status, standard output and standard error of a program."""

    code: int
    out: str
    err: str


def run_program(command: Sequence[str]) -> Output | None:
    """Run a program for at most 60 s; None where it is not installed or does not end."""
    environment = os.environ | {"LC_ALL": "C", "PYTHONWARNINGS": "ignore"}
    try:
        done = subprocess.run(
            list(command),
            capture_output=True,
            check=False,
            encoding="utf-8",
            errors="replace",
            env=environment,
            stdin=subprocess.DEVNULL,
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return Output(done.returncode, done.stdout, done.stderr)


def package_version(name: str) -> str | None:
    """The installed version of a Python package, without importing it; None where there is none."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


@dataclass(frozen=True, slots=True)
class Probe:
    """Where facts are read from; the default is this machine.

    Attributes:
        root: the folder that stands for ``/``.
        run: runs a program (``run_program``).
        version: gives the version of a Python package (``package_version``).
    """

    root: Path = Path("/")
    run: Callable[[Sequence[str]], Output | None] = run_program
    version: Callable[[str], str | None] = package_version

    def text(self, path: str) -> str | None:
        """A file's text without NULs and spaces around it; None where there is no such file."""
        try:
            return (self.root / path).read_text(errors="replace").replace("\0", "\n").strip()
        except OSError:
            return None

    def output(self, *command: str) -> str | None:
        """Text that a program prints; None where it is missing, fails or prints nothing."""
        done = self.run(command)
        return (done.out.strip() or None) if done is not None and done.code == 0 else None
