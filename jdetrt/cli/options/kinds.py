"""Kinds of options, declared in a line or two: a file, a number, a share, a choice, a flag.

Each takes its spelling and its help, and ``to``, the name of its parameter where that is not the
spelling. A default is shown in the help.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from jdetrt.cli.options.values import FILE, FRACTION, complete_file

__all__ = ["choice", "file", "flag", "number", "option", "output", "share", "source"]

Decorator = Callable[[Any], Any]


def option(spelling: str, help: str, *, to: str | None = None, **settings: Any) -> Decorator:
    """An option of any kind; ``settings`` are those of `click.option`."""
    settings.setdefault("show_default", settings.get("default") is not None)
    names = (spelling,) if to is None else (spelling, to)
    return click.option(*names, help=help, **settings)


def flag(spelling: str, help: str, *, to: str | None = None) -> Decorator:
    """An option without a value."""
    return option(spelling, help, to=to, is_flag=True)


def file(spelling: str, help: str, *, metavar: str = "FILE", **settings: Any) -> Decorator:
    """A path of a file or folder."""
    return option(spelling, help, type=FILE, metavar=metavar, **settings)


def output(help: str, *, metavar: str = "FILE", required: bool = True) -> Decorator:
    """``-o``, the one output of a command."""
    return click.option("-o", "--output", type=FILE, metavar=metavar, required=required, help=help)


def source(spelling: str, help: str, *, metavar: str = "SOURCE", **settings: Any) -> Decorator:
    """Images of any kind, as text: a video, a folder, a pattern, a sequence, a camera."""
    return option(spelling, help, metavar=metavar, shell_complete=complete_file, **settings)


def number(
    spelling: str,
    help: str,
    *,
    least: int = 1,
    most: int | None = None,
    metavar: str = "N",
    **settings: Any,
) -> Decorator:
    """A whole number from ``least`` to ``most``."""
    return option(spelling, help, type=click.IntRange(least, most), metavar=metavar, **settings)


def share(spelling: str, help: str, *, metavar: str, **settings: Any) -> Decorator:
    """A number from 0 to 1."""
    return option(spelling, help, type=FRACTION, metavar=metavar, **settings)


def choice(spelling: str, help: str, values: Sequence[str], **settings: Any) -> Decorator:
    """One of several words."""
    return option(spelling, help, type=click.Choice(values), **settings)
