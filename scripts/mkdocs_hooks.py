"""Pages of the site that are not in docs/: README, CONTRIBUTING and so on, with their links."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "jdetrt/models/README.md": "model-card.md",
}
IMAGES = "benchmarks/results/*.png"
_LINK = re.compile(r"(\]\()([^)#\s]+)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the decisions to the navigation, in their order."""
    decisions = sorted((ROOT / "docs" / "adr").glob("*.md"))
    config.nav.append({"Decisions": [f"adr/{path.name}" for path in decisions]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and images from outside of docs/."""
    images = {str(path.relative_to(ROOT)): f"results/{path.name}" for path in ROOT.glob(IMAGES)}
    for source, name in {**PAGES, **images}.items():
        files.append(File.generated(config, name, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links between pages."""
    places = {f"docs/{file.src_uri}": file.src_uri for file in files.documentation_pages()}
    places |= PAGES
    places |= {f"benchmarks/{uri}": uri for uri in files.src_uris if uri.startswith("results/")}
    own = page.file.src_uri
    sources = {name: source for source, name in places.items()}
    folder = posixpath.dirname(sources.get(own, own))

    def rewrite(match: re.Match[str]) -> str:
        place = places.get(posixpath.normpath(posixpath.join(folder, match[2])))
        if "://" in match[2] or place is None:
            return match[0]
        return match[1] + posixpath.relpath(place, posixpath.dirname(own) or ".")

    return _LINK.sub(rewrite, markdown)
