"""A page of a detector's worst misses and false alarms: one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from importlib.resources import files as resources
from pathlib import Path
from string import Template

from jdetrt import files
from jdetrt.account import counted
from jdetrt.evaluation.mistakes import Kind, Mistake, Mistakes

__all__ = ["write_mistakes"]

_TEMPLATE = "mistakes.html"


def write_mistakes(path: Path, mistakes: Mistakes, title: str) -> None:
    """Write the page, whole or not at all.

    Args:
        path: of the page.
        mistakes: from `jdetrt.evaluation.mistakes.find_mistakes`.
        title: of the page.

    Raises:
        OutputError: the page cannot be written.
    """
    page = resources("jdetrt.evaluation").joinpath(_TEMPLATE).read_text(encoding="utf-8")
    images, people = counted(mistakes.images, "image"), counted(mistakes.people, "person", "people")
    text = Template(page).substitute(
        title=escape(title),
        facts=f"{images}, {people}; a detection counts from a score above "
        f"{mistakes.score_threshold:g} and an IoU of 0.5.",
        misses=_section(
            mistakes.misses,
            f"{counted(mistakes.misses.boxes, 'box', 'boxes')} of people missed, "
            f"{counted(mistakes.misses.separate, 'separate miss', 'separate misses')}",
            _missed,
        ),
        alarms=_section(
            mistakes.false_alarms,
            f"{counted(mistakes.false_alarms.boxes, 'box', 'boxes')} with nobody in them, at "
            f"{counted(mistakes.false_alarms.separate, 'place')}",
            _alarm,
        ),
    )
    files.write_text(path, text)


def _section(kind: Kind, summary: str, caption: Callable[[Mistake], str]) -> str:
    shown = f"; the worst {len(kind.worst)} are shown" if kind.separate > len(kind.worst) else ""
    figures = "\n".join(
        f'<figure><img src="data:image/jpeg;base64,{one.crop}" alt="{escape(one.image)}" '
        f'loading="lazy"><figcaption><b>{caption(one)}</b><br>{escape(one.image)}, '
        f"{counted(one.frames, 'frame')}</figcaption></figure>"
        for one in kind.worst
    )
    return f'<p class="soft">{summary}{shown}.</p>\n<div class="figures">\n{figures}\n</div>'


def _missed(one: Mistake) -> str:
    best = f"best score {one.score:.2f}" if one.score else "no box fits"
    return f"{one.badness:.0f} pixels high, {best}"


def _alarm(one: Mistake) -> str:
    return f"score {one.score:.2f}"
