"""What starts fast and installs small must not load what is slow or large."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from jdetrt.cli import COMMANDS

ROOT = Path(__file__).parents[1]
LARGE = (
    "torch",
    "tensorrt",
    "pycuda",
    "onnx",
    "onnxruntime",
    "cv2",
    "numba",
    "scipy",
    "matplotlib",
)
# Each stands for one of these packages, and is imported only where that is installed.
BEHIND = {"cuda.pycuda", "cuda.cuda_python"}
LAZY = (*LARGE, "rich", "msgspec", "numpy", "lap", "trackeval")


def loaded(code: str) -> list[str]:
    """The modules in memory after ``code`` has run in a Python of its own."""
    tail = "\nimport json, sys; print('\\n' + json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code + tail], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    modules: list[str] = json.loads(done.stdout.splitlines()[-1])
    return modules


def test_importing_jdetrt_loads_next_to_nothing() -> None:
    before, after = loaded(""), loaded("import jdetrt")
    assert not set(LAZY) & set(after)
    assert set(after) - set(before) == {"jdetrt"}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], []])
def test_help_and_version_load_no_library(arguments: list[str]) -> None:
    code = (
        "from jdetrt.cli import main\n"
        f"try: main({arguments!r})\n"
        "except SystemExit as stop: assert stop.code in (0, 2), stop.code"
    )
    modules = loaded(code)
    assert "click" in modules
    assert not set(LAZY) & set(modules)


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_help_of_a_command_loads_no_library(command: str) -> None:
    code = (
        "from jdetrt.cli import main\n"
        f"try: main([{command!r}, '--help'])\n"
        "except SystemExit as stop: assert stop.code == 0, stop.code"
    )
    assert not {*LARGE, "numpy"} & set(loaded(code))


def test_the_tracker_needs_numba_and_no_more() -> None:
    modules = loaded("import jdetrt.runtime.tracking.tracker")
    # Numba loads SciPy where it finds it, and does without where it does not.
    assert not {name for name in LARGE if name not in ("numba", "scipy")} & set(modules)


@pytest.mark.parametrize("part", ["runtime", "engine"])
def test_a_machine_that_only_tracks_needs_no_optional_package(part: str) -> None:
    """Every module of the part imports with all that the base installation lacks shut out."""
    paths = [p.relative_to(ROOT / part) for p in (ROOT / part).rglob("*.py")]
    modules = {".".join(p.with_suffix("").parts) for p in paths if p.stem != "__init__"}
    names = sorted(modules - BEHIND)
    assert names
    shut = [name for name in LARGE if name not in ("numba", "onnxruntime")]
    if part == "runtime":
        shut += ["onnxruntime", "jdetrt.engine"]
    code = f"""
import importlib, sys

class Shut:
    def find_spec(self, name, path=None, target=None):
        if name in {shut!r} or name.split(".")[0] in {shut!r}:
            raise ModuleNotFoundError(f"shut out: {{name}}", name=name)
        return None

sys.meta_path.insert(0, Shut())
for name in {names!r}:
    importlib.import_module("jdetrt.{part}." + name)
"""
    assert f"jdetrt.{part}.{names[0]}" in loaded(code)
