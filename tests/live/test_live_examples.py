"""The site, the unit and the container among the examples name what exists."""

from __future__ import annotations

import configparser
import re
import shlex
from pathlib import Path

import pytest

from jdetrt.cli.track import command
from jdetrt.cli.track.site import read_site

EXAMPLES = Path(__file__).parents[2] / "examples"
GUIDE = EXAMPLES.parent / "docs" / "guide" / "live.md"


def test_the_site() -> None:
    site = read_site(EXAMPLES / "site.toml")
    assert site is not None
    assert list(site.stream) == ["door", "yard"]
    assert site.stream["door"].jsonl == str(EXAMPLES / "results/{name}.jsonl")


def test_the_site_of_the_guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOOR_PASSWORD", "s3cret")
    match = re.search(r"```toml\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert match is not None
    (tmp_path / "site.toml").write_text(match[1])
    site = read_site(tmp_path / "site.toml")
    assert site is not None
    assert site.stream["door"].source == "rtsp://viewer:s3cret@10.0.0.7/stream"


def test_the_unit_starts_a_command_that_exists() -> None:
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[method-assign, assignment]
    unit.read(EXAMPLES / "jdetrt.service")
    program, name, *options = shlex.split(unit["Service"]["ExecStart"])
    assert (Path(program).name, name) == ("jdetrt", "track")
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in options if word.startswith("-")} <= known
    assert unit["Service"]["SuccessExitStatus"] == "130"


def test_the_container_does() -> None:
    text = (EXAMPLES / "compose.yaml").read_text()
    match = re.search(r"command: \[track, (.*)\]", text)
    assert match is not None
    assert match[1].split(", ") == ["--config", "/data/site.toml"]
