"""Shared options: sizes, JSON to a file or the standard output, old spellings, completion."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from jdetrt.cli import options as opt
from jdetrt.cli.results import plural, write_json
from jdetrt.cli.track import command as track


@click.command(
    cls=opt.Command,
    renamed={
        "--frames": "--source",
        "--old": lambda value: "--max-frames" if value.isdecimal() else "--source",
    },
)
@click.option("--source", multiple=True, help="Somewhere.")
@opt.max_frames("Some number.")
@opt.JSON
def sample(source: tuple[str, ...], max_frames: int | None, json_path: Path | None) -> None:
    """Print what was given."""
    click.echo("words")
    write_json({"source": source, "max_frames": max_frames}, json_path)


def given(*args: str) -> tuple[dict[str, Any], str]:
    result = CliRunner().invoke(sample, [*args, "--json", "-"])
    assert result.exit_code == 0
    return json.loads(result.stdout), result.stderr


@pytest.mark.parametrize(
    ("args", "expected", "new"),
    [
        (["--frames", "a", "--frames=b"], {"source": ["a", "b"], "max_frames": None}, "--source"),
        (["--old", "12"], {"source": [], "max_frames": 12}, "--max-frames"),
        (["--old=12"], {"source": [], "max_frames": 12}, "--max-frames"),
        (["--old", "x/12"], {"source": ["x/12"], "max_frames": None}, "--source"),
    ],
)
def test_old_spellings_work_with_a_note(
    args: list[str], expected: dict[str, Any], new: str
) -> None:
    result, stderr = given(*args)
    assert result == expected
    assert f"{args[0].partition('=')[0]} is now {new};" in stderr


def test_new_spellings_have_no_note() -> None:
    assert given("--source", "a", "--max-frames", "3") == (
        {"source": ["a"], "max_frames": 3},
        "words\n",
    )


def test_nothing_is_replaced_after_two_dashes() -> None:
    result = CliRunner().invoke(sample, ["--", "--frames", "a"])
    assert result.exit_code == 2
    assert "is now" not in result.stderr


def test_json_to_a_file_and_without_a_value_to_stdout(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    result = CliRunner().invoke(sample, ["--json", str(path)])
    assert result.stdout == f"words\nWritten: {path}\n"
    assert json.loads(path.read_text())["source"] == []
    result = CliRunner().invoke(sample, ["--json"])
    assert json.loads(result.stdout) == {"source": [], "max_frames": None}
    assert result.stderr == "words\n"


def test_a_bare_number_is_no_folder_of_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`track clip --frames 5` once wrote images into a folder 5."""
    monkeypatch.chdir(tmp_path)
    for value, option in (("5", "--max-frames"), ("out/5", "--images")):
        result = CliRunner().invoke(track, ["clip", "--frames", value])
        assert result.exit_code == 1
        assert f"--frames is now {option};" in result.stderr
        assert not any(tmp_path.iterdir())


def test_a_size_that_is_higher_than_wide_is_questioned(capsys: pytest.CaptureFixture[str]) -> None:
    assert opt.parse_sizes("320x576,576x320,64x64") == [(320, 576), (576, 320), (64, 64)]
    assert capsys.readouterr().err == (
        "Is 320x576 right? It is 320 pixels wide and 576 high; for wide frames the size is 576x320 "
        "(width first).\n"
    )


@pytest.mark.parametrize("text", ["1088", "0x608", "1088x608x3", "wide", "-1x5"])
def test_a_size_has_two_sides(text: str) -> None:
    with pytest.raises(click.BadParameter, match="WIDTHxHEIGHT"):
        opt.parse_size(text)


def test_counts_have_a_plural() -> None:
    assert [plural(n, "track") for n in (0, 1, 2)] == ["0 tracks", "1 track", "2 tracks"]
    assert plural(2, "person", "people") == "2 people"


def complete(line: str) -> list[str]:
    """Completions that bash offers at the end of a line."""
    words = line.split(" ")
    done = subprocess.run(
        [sys.executable, "-m", "jdetrt"],
        env={
            **os.environ,
            "_JDETRT_COMPLETE": "bash_complete",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def test_bash_completes_commands_options_values_and_files() -> None:
    source = subprocess.run(
        [sys.executable, "-m", "jdetrt"],
        env={**os.environ, "_JDETRT_COMPLETE": "bash_source"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "complete -o nosort -F" in source.stdout
    assert source.stdout.rstrip().endswith(" jdetrt;") or " jdetrt" in source.stdout
    assert complete("jdetrt tr") == ["plain,track", "plain,train"]
    assert complete("jdetrt track --max-fr") == ["plain,--max-frames"]
    assert complete("jdetrt track clip --preset i") == ["plain,iou"]
    assert complete("jdetrt track cli") == ["file,cli"]
    assert "plain,nano" in complete("jdetrt track clip --model na")
