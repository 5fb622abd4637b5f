"""Text format of protocol buffers, as far as Triton's config.pbtxt needs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["Word", "pbtxt"]

_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n", "\r": r"\r", "\t": r"\t"})


class Word(str):
    """The name of an enumeration's value, which is written without quotes."""


def pbtxt(message: Mapping[str, Any], indent: str = "") -> str:
    r"""Write a message.

    Args:
        message: field to value: text, number, truth value, `Word`, a message, or a list of these
            for a repeated field.
        indent: in front of every line.

    >>> message = {"name": 'a"b', "dims": [3, -1], "input": [{"kind": Word("TYPE_FP32")}]}
    >>> print(pbtxt(message), end="")
    name: "a\"b"
    dims: [3, -1]
    input {
      kind: TYPE_FP32
    }
    """
    lines = []
    for field, value in message.items():
        values = value if isinstance(value, list) else [value]
        if isinstance(value, list) and not any(isinstance(item, Mapping) for item in value):
            lines.append(f"{indent}{field}: [{', '.join(map(_scalar, value))}]\n")
            continue
        for item in values:
            if isinstance(item, Mapping):
                lines.append(f"{indent}{field} {{\n{pbtxt(item, indent + '  ')}{indent}}}\n")
            else:
                lines.append(f"{indent}{field}: {_scalar(item)}\n")
    return "".join(lines)


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Word) or not isinstance(value, str):
        return str(value)
    return f'"{value.translate(_ESCAPES)}"'
