"""The Dockerfiles, without Docker: files, extras and commands exist, base images have tags.

Whether an image builds, only a build can say.
"""

from __future__ import annotations

import importlib
import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from jdetrt.cli import COMMANDS
from jdetrt.machine.gstreamer import _JETSON, _PACKAGES

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PYPROJECT["project"]["optional-dependencies"]
# What `pip install .` reads: the packages, and what [project] names.
NEEDED = {
    "pyproject.toml",
    PYPROJECT["project"]["readme"],
    *PYPROJECT["project"]["license-files"],
    *(path.partition("/")[0] for path in PYPROJECT["tool"]["setuptools"]["package-dir"].values()),
}
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
NAMES = {"desktop", "jetpack-5.1", "jetpack-6.2", "jetpack-7.2"}
everywhere = pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)


def instructions(path: Path, wanted: str) -> list[str]:
    """The arguments of every ``wanted`` of a Dockerfile, each on one line, without comments."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return re.findall(rf"^{wanted}\s+(.*)$", joined, re.M)


def copied(path: Path) -> set[str]:
    """Sources of COPY that come from the context, not from another image."""
    found: set[str] = set()
    for line in instructions(path, "COPY"):
        if not line.startswith("--from="):
            found.update(line.split()[:-1])
    return found


def calls(path: Path) -> list[list[str]]:
    """The words after jdetrt wherever it is called: in RUN, and by ENTRYPOINT with CMD."""
    shell = " && ".join(instructions(path, "RUN"))
    parts = [part for part in re.split(r"&&|;|\|", shell) if part.split()[:1] == ["jdetrt"]]
    (entry,), (default,) = instructions(path, "ENTRYPOINT"), instructions(path, "CMD")
    assert entry == '["jdetrt"]'
    return [*(shlex.split(part)[1:] for part in parts), json.loads(default)]


def test_there_is_one_for_each_machine() -> None:
    assert {path.stem for path in DOCKERFILES} == NAMES


@everywhere
def test_all_that_pip_reads_is_copied_and_exists(path: Path) -> None:
    assert copied(path) == NEEDED
    assert all((ROOT / name).exists() for name in NEEDED)


def test_the_context_is_what_is_copied() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    assert {line[1:] for line in lines if line.startswith("!")} == NEEDED


@everywhere
def test_base_images_are_pinned_by_tag(path: Path) -> None:
    images = instructions(path, "FROM")
    images += re.findall(r"^COPY --from=(\S+)", path.read_text(), re.M)
    assert images
    for image in images:
        assert re.fullmatch(r"[\w./-]+:[\w.-]*\d[\w.-]*", image), image


@everywhere
def test_extras_exist_and_leave_the_system_its_own(path: Path) -> None:
    (installed,) = re.findall(r"'\.\[([\w,]+)\]'", " ".join(instructions(path, "RUN")))
    chosen = set(installed.split(","))
    assert chosen <= set(EXTRAS)
    if "--system-site-packages" in path.read_text():  # pip's would hide what is seen through it
        names = {re.split(r"[^\w-]", line)[0] for extra in chosen for line in EXTRAS[extra]}
        assert not names & {"opencv-python", "tensorrt"}


@everywhere
def test_the_systems_opencv_comes_with_elements_of_gstreamer(path: Path) -> None:
    """Without recommended packages it comes with the library alone, and no pipeline opens."""
    shell = " ".join(instructions(path, "RUN"))
    if "python3-opencv" not in shell:
        return
    packages = set(shell.split())
    assert {"kmod", "gstreamer1.0-tools"} <= packages
    assert set(_PACKAGES.values()) <= packages
    if not instructions(path, "FROM")[0].startswith("nvcr.io/nvidia/l4t"):
        assert set(_JETSON.values()) <= packages


@everywhere
def test_commands_and_their_options_exist(path: Path) -> None:
    found = calls(path)
    assert len(found) > 1
    for name, *words in found:
        assert name in COMMANDS
        command: click.Command = importlib.import_module(f"jdetrt.cli.{name}").command
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= known


@everywhere
def test_the_head_says_how_to_build_it_and_that_nobody_has(path: Path) -> None:
    head = path.read_text().partition("\nFROM ")[0]
    name = path.relative_to(ROOT)
    assert f"docker build -f {name} -t jdetrt:{path.stem} ." in head
    assert "has not been built" in head


def test_the_guide_names_every_dockerfile_that_there_is() -> None:
    text = (ROOT / "docs" / "guide" / "jetson.md").read_text()
    assert set(re.findall(r"docker/([\w.-]+)\.Dockerfile", text)) == NAMES
    assert "have not been built" in text
