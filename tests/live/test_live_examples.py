"""The site, the unit and the container among the examples name what exists."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
import sys
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


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("systemd-analyze is not installed")
    text = (EXAMPLES / "jdetrt.service").read_text()
    unit = tmp_path / "jdetrt.service"

    def said_of(text: str) -> str:
        unit.write_text(text.replace("/opt/jdetrt/bin/jdetrt", sys.executable))
        done = subprocess.run([verify, "verify", "--man=no", unit], capture_output=True, text=True)
        assert done.returncode in (0, 1), done.stderr  # 1: the unit has a fault
        return "".join(line for line in done.stderr.splitlines(True) if "jdetrt.service" in line)

    assert said_of(text) == ""
    assert "RestartSecs" in said_of(text.replace("RestartSec=", "RestartSecs="))


def test_the_container_does() -> None:
    yaml = pytest.importorskip("yaml")
    project = yaml.safe_load((EXAMPLES / "compose.yaml").read_text())
    services = project["services"]
    service = services["jdetrt"]
    name, *options = service["command"]
    assert (name, options) == ("track", ["--config", "/data/site.toml"])
    assert set(service["depends_on"]) <= set(services)
    mounts = [volume.split(":")[0] for volume in service["volumes"]]
    assert {mount for mount in mounts if "/" not in mount} <= set(project["volumes"])
    targets = [volume.split(":")[1] for volume in service["volumes"]]
    assert "/data/site.toml" in targets
    assert all(re.fullmatch(r"\$\{\w+:-\}", value) for value in service["environment"].values())
