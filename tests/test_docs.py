"""The site builds without a warning, has every page, and needs nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from chromium import run_in_page

import jdetrt

pytest.importorskip("mkdocs", reason="needs mkdocs: pip install 'jdetrt[docs]'")
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_document_is_a_page(site: Path) -> None:
    pages = {path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")}
    missing = [page for page in pages if not (site / page.with_suffix(".html")).is_file()]
    assert not missing
    for name in ("index", "changelog", "contributing", "model-card"):
        assert (site / f"{name}.html").is_file()


def test_the_guide_names_every_guide_in_order(site: Path) -> None:
    text = (ROOT / "docs" / "guide" / "index.md").read_text()
    guides = {path.name for path in (ROOT / "docs" / "guide").glob("*.md")} - {"index.md"}
    assert guides <= set(re.findall(r"\(([\w-]+\.md)\)", text))


def test_the_reference_has_the_whole_face(site: Path) -> None:
    text = "".join(path.read_text() for path in (site / "reference").glob("*.html"))
    anchors = set(re.findall(r'id="jdetrt\.[\w.]*?(\w+)"', text))
    assert set(jdetrt.__all__) - {"__version__"} <= anchors


DOCUMENTS = [ROOT / "README.md", *(ROOT / "docs" / "guide").glob("*.md")]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_no_document_begins_with_a_package_index(path: Path) -> None:
    """In steps to follow, jdetrt comes from a clone or a wheel: no index has it."""
    lines = re.findall(r"^ {4}.*pip install .*$", path.read_text(), re.M)
    assert not [line for line in lines if re.search(r"[ ']jdetrt(\[|'| |$)", line)]


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    for path in site.rglob("*.html"):
        text = path.read_text()
        assert not re.findall(r"<(?:script|img|iframe)[^>]*src=\"(?:https?:)?//", text), path
        assert not re.findall(r"<link[^>]*rel=\"?stylesheet[^>]*href=\"(?:https?:)?//", text), path


def test_examples_and_literals_of_docstrings_are_code(site: Path) -> None:
    for path in (site / "reference").glob("*.html"):
        prose = re.sub(r"<(pre|code)\b.*?</\1>", "", path.read_text(), flags=re.DOTALL)
        assert "&gt;&gt;&gt;" not in prose, path
        assert not re.search(r"::</p>", prose), path


def test_a_page_shows_in_a_browser(site: Path) -> None:
    script = "return [document.title, document.querySelectorAll('h2').length]"
    title, headings = run_in_page(site / "reference" / "index.html", script, width=1200)
    assert "jdetrt" in title
    assert headings >= 8
