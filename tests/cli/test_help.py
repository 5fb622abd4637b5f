"""Help of all commands: every option and argument has a sentence, and one word means one thing."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator

import click
import pytest

from jdetrt.cli import COMMANDS, root
from jdetrt.cli.options import Command


def walk(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    """A command, and those within it."""
    yield name, command
    if isinstance(command, click.Group):
        for inner, one in command.commands.items():
            yield from walk(f"{name} {inner}", one)


def everything() -> Iterator[tuple[str, click.Command]]:
    for name in COMMANDS:
        yield from walk(name, importlib.import_module(f"jdetrt.cli.{name}").command)


ALL = dict(everything())
PARAMETERS = [
    pytest.param(parameter, id=f"{name}: {parameter.name}")
    for name, command in (("jdetrt", root), *ALL.items())
    for parameter in command.params
]
# A sentence that leaves out what it is about.
FRAGMENT = re.compile(r"(Of|That|These|Those|This|What|Who|Whose|Such|So|As|By|With|Least|Most) ")
FOREIGN = re.compile(r"\b(pictures?|footage|the whole line|looks|made up|shaken|19 of 20)\b")


@pytest.mark.parametrize("parameter", PARAMETERS)
def test_every_parameter_has_a_sentence(parameter: click.Option | click.Argument) -> None:
    text = parameter.help
    assert text
    assert text[0].isupper() or text.split()[0].strip(":;,").islower()
    assert text.endswith(".")
    assert len(text.split()) > 2
    assert not FRAGMENT.match(text)
    assert not FOREIGN.search(text)


@pytest.mark.parametrize("name", sorted(ALL))
def test_every_command_says_what_it_does_in_one_sentence(name: str) -> None:
    text = ALL[name].help or ""
    first = " ".join(text.split("\n\n")[0].split())
    assert re.fullmatch(r"[A-Z][^.]*\.?[^.]*\.", first), first
    assert not FRAGMENT.match(first)
    assert not FOREIGN.search(text)


@pytest.mark.parametrize("name", ["", *sorted(ALL)])
@pytest.mark.parametrize("columns", [80, 110])
def test_help_fits_and_fills_the_terminal(
    name: str, columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    root.main([*name.split(), "--help"], prog_name="jdetrt", standalone_mode=False)
    text = capsys.readouterr().out
    assert not re.search("x[<>]", text)  # ranges are in words
    lines = text.splitlines()
    assert max(map(len, lines)) <= columns
    described = [line for line in lines if line.startswith("  -")]
    # The help begins on the left, so that most of the width is its own.
    assert all(len(line.split("  ")[1]) < 70 for line in described)


@pytest.mark.parametrize("name", sorted(ALL))
def test_an_option_means_the_same_everywhere(name: str) -> None:
    command = ALL[name]
    options = {
        spelling: option
        for option in command.params
        if isinstance(option, click.Option)
        for spelling in option.opts
    }
    assert not {"--frames", "--limit", "--count", "--cache", "--pictures"} & set(options)
    for spelling, metavar in (
        ("--json", "FILE|-"),
        ("--source", "SOURCE"),
        ("--max-frames", "N"),
        ("--size", "WxH"),
        ("--seed", "N"),
        ("--threads", "N"),
    ):
        if spelling in options:
            assert options[spelling].metavar == metavar
    if not isinstance(command, click.Group):
        assert isinstance(command, Command)
        # An old spelling leads to one that exists, and is not listed.
        new = {new for new in command.renamed.values() if isinstance(new, str)}
        assert new <= set(options)
        assert not set(command.renamed) & set(options)


def test_exit_codes_and_completion_are_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    root.main(["--help"], prog_name="jdetrt", standalone_mode=False)
    text = capsys.readouterr().out
    assert all(f"\n    {code} " in text for code in (0, 1, 2, 3, 130))
    assert "_JDETRT_COMPLETE=bash_source" in text
