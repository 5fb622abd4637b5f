"""The list of parts stands twice, as package-dir and as links; a wheel has all of the tree."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

import jdetrt
from jdetrt.errors import MissingDependencyError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUPTOOLS = PYPROJECT["tool"]["setuptools"]
PARTS = {
    name.removeprefix("jdetrt."): folder
    for name, folder in SETUPTOOLS["package-dir"].items()
    if not folder.startswith("jdetrt")
}
JUNK = shutil.ignore_patterns("__pycache__", "*.nbi", "*.nbc")


def tree() -> set[str]:
    """Every module of the checkout, as a wheel names it."""
    found = set()
    for part, folder in {"": "jdetrt", **PARTS}.items():
        for path in modules(ROOT / folder):
            found.add(str(Path("jdetrt", part, path.relative_to(ROOT / folder))))
    return found


def modules(folder: Path) -> list[Path]:
    """The modules under a folder; links, which lead to the other parts, are not followed."""
    return [
        Path(top, name) for top, _, names in os.walk(folder) for name in names if name[-3:] == ".py"
    ]


def data() -> set[str]:
    """Other files of a wheel: recipes, pages, templates, the shipped models and their card."""
    templates = (ROOT / "jdetrt" / "deploy" / "templates").iterdir()
    page = (ROOT / "benchmarks" / "report" / "static").iterdir()
    recipes = (ROOT / "training" / "recipes").glob("*.toml")
    models = (ROOT / "jdetrt" / "models").iterdir()
    return {
        "jdetrt/py.typed",
        *(f"jdetrt/benchmarks/report/static/{path.name}" for path in page),
        *(f"jdetrt/training/recipes/{path.name}" for path in recipes),
        *(f"jdetrt/deploy/templates/{path.name}" for path in templates),
        "jdetrt/benchmarks/selftest/static/selftest.html",
        "jdetrt/runtime/live/static/live.html",
        "jdetrt/calibration/report.html",
        "jdetrt/evaluation/mistakes.html",
        "jdetrt/training/curves.html",
        *(f"jdetrt/models/{path.name}" for path in models),
    }


def test_every_part_is_mapped_and_linked() -> None:
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"jdetrt"}
    links = {
        path.name: path.readlink() for path in (ROOT / "jdetrt").iterdir() if path.is_symlink()
    }
    assert set(PARTS) == folders
    assert links == {name: Path("..") / name for name in folders}
    assert set(SETUPTOOLS["package-dir"]) < set(SETUPTOOLS["packages"])


def test_the_other_lists_of_the_parts_agree() -> None:
    tools = PYPROJECT["tool"]
    banned = tools["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"]
    assert set(banned) == set(PARTS)
    assert set(tools["coverage"]["run"]["source"]) == {"jdetrt", *PARTS}
    layers = " | ".join(tools["importlinter"]["contracts"][0]["layers"]).split(" | ")
    assert {f"jdetrt.{part}" for part in PARTS} < set(layers)


def test_every_package_is_listed_and_has_an_init() -> None:
    """One that is not listed works from a checkout and is missing from the wheel."""
    packages = {str(Path(name).parent).replace("/", ".") for name in tree()}
    assert packages == set(SETUPTOOLS["packages"])
    assert {
        name for name in packages if f"{name.replace('.', '/')}/__init__.py" not in tree()
    } == set()


@pytest.mark.parametrize("links", [True, False], ids=["links", "no-links"])
def test_the_wheel_has_every_module(tmp_path: Path, links: bool) -> None:
    # From a copy: setuptools leaves build/ behind, and what lies there gets into the next wheel.
    copy = tmp_path / "copy"
    for folder in ("jdetrt", *PARTS):
        shutil.copytree(ROOT / folder, copy / folder, symlinks=True, ignore=JUNK)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    if not links:
        for path in (copy / "jdetrt").iterdir():
            if path.is_symlink():
                path.unlink()
    build = f"from setuptools import build_meta; build_meta.build_wheel({str(tmp_path)!r})"
    done = subprocess.run(
        [sys.executable, "-c", build], cwd=copy, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        [metadata] = [name for name in archive.namelist() if name.endswith("/METADATA")]
        text = archive.read(metadata).decode()
    assert "jdetrt/models/README.md" in names
    assert names == tree() | data()
    assert f"\nVersion: {jdetrt.__version__}\n" in text


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of `make release`, built from the working tree as if it were committed."""
    if shutil.which("git") is None:
        pytest.skip("a release is built from git")
    copy = tmp_path_factory.mktemp("release") / "copy"
    copy.mkdir()
    for folder in ("jdetrt", "scripts", "examples", *PARTS):
        shutil.copytree(ROOT / folder, copy / folder, symlinks=True, ignore=JUNK)
    for path in [*ROOT.glob("*.md"), *ROOT.glob("*.toml"), *ROOT.glob("*.in"), ROOT / "LICENSE"]:
        shutil.copy(path, copy / path.name)
    (copy / ".gitignore").write_text("dist/\n")
    name = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    for words in (["init", "-q"], ["add", "-A"], [*name, "commit", "-q", "-m", "all"]):
        subprocess.run(["git", *words], cwd=copy, check=True)
    succeed("sh", "scripts/release.sh", sys.executable, cwd=copy)
    return copy / "dist"


@pytest.fixture(scope="module")
def installed(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a virtual environment with the wheel; libraries are those of the tests."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    succeed(sys.executable, "-m", "venv", folder)
    [packages] = folder.glob("lib/python3*/site-packages")
    libraries = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (packages / "libraries.pth").write_text("\n".join(sorted(libraries)) + "\n")
    [wheel] = release.glob("*.whl")
    # --ignore-installed: else pip would take the jdetrt of the tests for this one.
    pip = ("-m", "pip", "install", "--no-index", "--no-deps", "--ignore-installed")
    succeed(folder / "bin" / "python", *pip, wheel)
    return folder / "bin"


def succeed(*command: str | Path, cwd: Path | None = None) -> str:
    """What a program prints that does not fail; it sees no checkout."""
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


def test_a_release_has_sdist_wheel_and_notes(release: Path) -> None:
    version = jdetrt.__version__
    sdist = f"jdetrt-{version}.tar.gz"
    notes = f"jdetrt-{version}-notes.md"
    assert {path.name for path in release.iterdir()} == {
        sdist,
        notes,
        f"jdetrt-{version}-py3-none-any.whl",
    }
    text = (release / notes).read_text()
    assert text.startswith(f"# jdetrt {version}\n")
    section = (ROOT / "CHANGELOG.md").read_text().split("\n## ")[1].partition("\n")[2]
    assert section.strip() in text
    with tarfile.open(release / sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    sources = {str(path.relative_to(ROOT)) for part in PARTS for path in modules(ROOT / part)}
    assert sources | {"pyproject.toml", "CHANGELOG.md", "jdetrt/api.py"} <= names


def test_a_wheel_built_from_the_sdist_has_every_module(release: Path) -> None:
    [wheel] = release.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == tree() | data()


def test_a_release_is_of_what_is_committed(release: Path) -> None:
    (release.parent / "more").touch()
    done = subprocess.run(
        ["sh", "scripts/release.sh", sys.executable],
        cwd=release.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    (release.parent / "more").unlink()
    assert done.returncode == 1
    assert "Commit" in done.stderr


def test_the_installed_wheel_runs_without_the_checkout(installed: Path, tmp_path: Path) -> None:
    code = "import jdetrt; print(jdetrt.__file__)"
    assert succeed(installed / "python", "-c", code, cwd=tmp_path).startswith(str(installed.parent))
    assert jdetrt.__version__ in succeed(installed / "jdetrt", "--version", cwd=tmp_path)
    succeed(installed / "jdetrt", "demo", "--max-frames", "4", "--output", "demo", cwd=tmp_path)
    assert (tmp_path / "demo" / "tracks" / "clip.txt").stat().st_size > 0


def test_the_command_of_a_missing_extra_needs_no_published_package(
    installed: Path, tmp_path: Path
) -> None:
    """pip takes the jdetrt that is installed and asks an index for the extra's packages alone."""
    code = "import jdetrt.errors as e; print(e.MissingDependencyError('cv2', 'video', 'Drawing'))"
    message = succeed(installed / "python", "-c", code, cwd=tmp_path)
    [requirement] = re.findall(r"pip install '(.*)'", message)
    assert requirement == "jdetrt[video]"
    pip = ("-m", "pip", "install", "--no-index", "--no-deps", requirement)
    assert "already satisfied: jdetrt" in succeed(installed / "python", *pip, cwd=tmp_path)


def test_without_an_installation_the_command_names_the_checkout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def absent(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", absent)
    message = str(MissingDependencyError("cv2", "video", "Drawing"))
    [checkout] = re.findall(r"pip install '(.*)\[video\]'", message)
    assert (Path(checkout) / "pyproject.toml").samefile(ROOT / "pyproject.toml")


@pytest.mark.slow
def test_a_wheel_installs_with_all_that_it_needs(release: Path, tmp_path: Path) -> None:
    """From the package index: what is declared is enough to track."""
    succeed(sys.executable, "-m", "venv", tmp_path / "venv")
    programs = tmp_path / "venv" / "bin"
    [wheel] = release.glob("*.whl")
    succeed(programs / "python", "-m", "pip", "install", f"{wheel}[video]", cwd=tmp_path)
    succeed(programs / "jdetrt", "demo", "--max-frames", "4", "--output", "demo", cwd=tmp_path)
    assert (tmp_path / "demo" / "tracks" / "clip.txt").stat().st_size > 0


def test_the_runtime_installs_without_torch_opencv_or_tensorrt() -> None:
    names = {re.split(r"[^\w-]", line)[0] for line in PYPROJECT["project"]["dependencies"]}
    assert {"numpy", "numba", "onnxruntime", "click"} <= names
    heavy = ("torch", "opencv", "tensorrt", "pycuda", "onnx", "matplotlib", "scipy")
    assert not [name for name in names if name != "onnxruntime" and name.startswith(heavy)]
    extras = PYPROJECT["project"]["optional-dependencies"]
    [line] = [one for one in PYPROJECT["project"]["dependencies"] if one.startswith("onnxruntime")]
    marker = Requirement(line).marker
    assert marker is not None
    for system, machine, drawn in (
        ("linux", "x86_64", True),
        ("linux", "aarch64", False),  # a Jetson runs plans
        ("darwin", "arm64", True),
        ("win32", "AMD64", True),
    ):
        assert marker.evaluate({"sys_platform": system, "platform_machine": machine}) == drawn
    for extra, wanted in (("video", "opencv-python"), ("export", "torch"), ("tensorrt", "pycuda")):
        assert any(line.startswith(wanted) for line in extras[extra])


def test_versions_agree() -> None:
    version = PYPROJECT["project"]["version"]
    assert jdetrt.__version__ == version
    heading = re.search(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert heading is not None
    assert version in heading[1] or "unreleased" in heading[1].lower()


def test_constraints_are_exact_versions_without_build_names() -> None:
    lines = (ROOT / ".ci" / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert any(line.startswith("torch==") and "+" not in line for line in pins)
    assert all(
        re.match(r"[\w.-]+==[\w.]+(; python_version >= \"3\.\d+\")?$", line) for line in pins
    )
