"""The command line, called in this process."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from typing import NamedTuple

import pytest

from jdetrt.cli import main


class Done(NamedTuple):
    """Output of a command."""

    code: int
    out: str
    err: str


def jdetrt(*arguments: object) -> Done:
    """Run a command line; arguments are turned into text."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    assert isinstance(end.value.code, int)
    return Done(end.value.code, out.getvalue(), err.getvalue())
