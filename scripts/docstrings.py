"""Docstrings as Markdown, for the site: code, examples and tables in fences."""

from __future__ import annotations

import re
import textwrap
from typing import Any

import griffe

_ROLE = re.compile(r":\w+:(?=`)")
_LITERAL = re.compile(r"^([ ]*)(.*)::\n\n((?:\1[ ]{4}.*\n?|\n)+)", re.MULTILINE)
_EXAMPLE = re.compile(r"(?:^[ ]*>>> .*\n(?:^[ ]*\S.*\n?)*)", re.MULTILINE)
_TABLE = re.compile(r"^=+ +=+\n(?:.+\n)+?=+ +=+$", re.MULTILINE)


def markdown(text: str) -> str:
    """Rewrite a docstring."""
    text = _ROLE.sub("", text)
    text = _LITERAL.sub(_fenced, text)
    text = _TABLE.sub(lambda match: f"```text\n{match[0]}\n```", text)
    return _EXAMPLE.sub(lambda match: f"```pycon\n{match[0].rstrip()}\n```\n", text)


def _fenced(match: re.Match[str]) -> str:
    code = textwrap.indent(textwrap.dedent(match[3]).rstrip(), match[1])
    lead = f"{match[1]}{match[2]}:\n\n" if match[2] else ""
    language = "python" if "(" in code else "text"
    return f"{lead}{match[1]}```{language}\n{code}\n{match[1]}```\n\n"


class Docstrings(griffe.Extension):
    """Rewrites every docstring that is read."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite one."""
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value)
