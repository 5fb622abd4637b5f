"""Exit codes, messages and lazy loading of the command line, with made-up commands."""

from __future__ import annotations

import importlib
import importlib.abc
import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from jdetrt import __version__
from jdetrt.__main__ import main as start
from jdetrt.cli import COMMANDS, main
from jdetrt.errors import DataError, MissingDependencyError

Stand = Callable[[Callable[..., object]], None]


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Stand:
    """Put a function in the place of the command ``score``."""

    def put(function: Callable[..., object]) -> None:
        module = types.ModuleType("jdetrt.cli.score")
        module.command = click.command()(function)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "jdetrt.cli.score", module)

    return put


def run(*args: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(list(args))
    assert isinstance(stop.value.code, int)
    return stop.value.code


def fail() -> None:
    raise DataError("gt.txt:3: expected a number, got 'x'")


def test_fine_is_0(stand_in: Stand, capsys: pytest.CaptureFixture[str]) -> None:
    stand_in(lambda: click.echo("done"))
    assert run("score") == 0
    assert capsys.readouterr() == ("done\n", "")


def test_a_command_may_give_its_own_exit_code(stand_in: Stand) -> None:
    stand_in(lambda: 1)
    assert run("score") == 1


def test_our_errors_are_1_and_one_message(
    stand_in: Stand, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(fail)
    assert run("score") == 1
    assert capsys.readouterr() == ("", "DataError: gt.txt:3: expected a number, got 'x'\n")


@pytest.mark.parametrize("args", [["-v", "score"], ["score", "-v"], ["--verbose", "score"]])
def test_verbose_shows_the_traceback_wherever_it_stands(
    stand_in: Stand, capsys: pytest.CaptureFixture[str], args: list[str]
) -> None:
    stand_in(fail)
    assert run(*args) == 1
    error = capsys.readouterr().err
    assert error.startswith("Traceback (most recent call last)")
    assert "in fail" in error
    assert error.endswith("DataError: gt.txt:3: expected a number, got 'x'\n")


def test_a_missing_package_says_what_to_install(
    stand_in: Stand, capsys: pytest.CaptureFixture[str]
) -> None:
    def needs() -> None:
        raise MissingDependencyError("trackeval", "bench", "Scoring")

    stand_in(needs)
    assert run("score") == 1
    assert "pip install 'jdetrt[bench]'" in capsys.readouterr().err


def test_our_own_defects_are_not_hidden(stand_in: Stand) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    stand_in(broken)
    with pytest.raises(ZeroDivisionError):
        main(["score"])


def test_an_interrupt_is_130(stand_in: Stand, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    stand_in(interrupted)
    assert run("score") == 130
    assert capsys.readouterr() == ("", "Interrupted.\n")


def test_an_interrupt_of_an_import_is_130(
    stand_in: Stand, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> None:
        raise ImportError("initialization failed") from KeyboardInterrupt()

    stand_in(interrupted)
    assert run("score") == 130
    assert capsys.readouterr() == ("", "Interrupted.\n")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "Out of memory (none left)"),
        (MemoryError("Unable to allocate 9 GiB"), "Out of memory (Unable to allocate 9 GiB)"),
        (OSError(28, "No space left on device", "/tmp/x"), "/tmp/x: No space left on device"),
    ],
)
def test_what_the_machine_refuses_is_one_message(
    stand_in: Stand, capsys: pytest.CaptureFixture[str], error: Exception, message: str
) -> None:
    def refused() -> None:
        raise error

    stand_in(refused)
    assert run("score") == 1
    printed = capsys.readouterr().err
    assert printed.startswith(message)
    assert len(printed.splitlines()) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_behind_the_standard_output_is_one_message() -> None:
    for args in (["--version"], ["doctor"]):
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [sys.executable, "-m", "jdetrt", *args],
                stdout=full,
                stderr=subprocess.PIPE,
                env={k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"},
                text=True,
                check=False,
            )
        assert done.returncode == 1
        assert done.stderr == "standard output, or a file: No space left on device\n"


def test_an_interrupt_while_it_loads_is_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupted(importlib.abc.MetaPathFinder):
        def find_spec(self, name: str, *args: object) -> None:
            if name == "jdetrt.cli":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "jdetrt.cli")
    monkeypatch.setattr(sys, "meta_path", [Interrupted(), *sys.meta_path])
    with pytest.raises(SystemExit) as stop:
        start()
    assert stop.value.code == 130
    assert capsys.readouterr().err == "Interrupted.\n"


@pytest.mark.parametrize("args", [["nonsense"], ["--nonsense"], ["score", "--nonsense"]])
def test_wrong_usage_is_2(
    stand_in: Stand, capsys: pytest.CaptureFixture[str], args: list[str]
) -> None:
    stand_in(lambda: None)
    assert run(*args) == 2
    error = capsys.readouterr().err
    assert "Usage: jdetrt" in error
    assert "nonsense" in error


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    out = capsys.readouterr().out
    for name in COMMANDS:
        assert f"\n  {name} " in out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert __version__ in capsys.readouterr().out


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_is_there_and_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = importlib.import_module(f"jdetrt.cli.{name}").command
    assert isinstance(command, click.Command)
    assert run(name, "--help") == 0
    assert f"Usage: jdetrt {name}" in capsys.readouterr().out
