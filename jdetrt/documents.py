"""JSON and TOML, decoded to a type: bounded in depth, faults with their place.

A parser calls itself for every bracket, so a few hundred bytes of ``[`` end it. The depth is
looked at before. Numbers are finite and integers have 64 bits: JSON has no others, in TOML they are
refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import msgspec.toml

from jdetrt.errors import JdetrtError
from jdetrt.inputs import LARGEST_JSON, LARGEST_SETTINGS, read_bytes

__all__ = ["DEEPEST", "convert", "decode_json", "decode_toml", "read_json", "read_toml"]

DEEPEST = 64  # brackets within brackets, and parts of a dotted key

_LARGEST_INTEGER = 2**63 - 1
_LONGEST = 300  # characters of a fault, which may quote what it does not know
_T = TypeVar("_T")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
# A string that is not closed reaches to the end, so that no text is looked at twice.
_JSON_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_TOML_STRING = re.compile(
    rb'"""(?:[^"\\]|\\.|"(?!""))*(?:""")?'
    rb"|'''(?:[^']|'(?!''))*(?:''')?"
    rb'|"(?:[^"\\\n]|\\.)*"?'
    rb"|'[^'\n]*'?"
    rb"|#[^\n]*",
    re.DOTALL,
)
_DOTTED = re.compile(rb"(?<![\w-])(?:[\w-]+[ \t]*\.[ \t]*){%d}" % DEEPEST)
_PLACE = re.compile(r"(.*) - at `(?:key in )?\$(.*)`", re.DOTALL)


def decode_json(data: bytes | str, kind: type[_T]) -> _T:
    """Decode JSON to a type.

    Raises:
        ValueError: it is no JSON, nested too deeply, or not of this type; in one line, the place
            first (``rows[3].fps: Expected `float`, got `str```).
    """
    data = data.encode() if isinstance(data, str) else data
    _check_depth(_JSON_STRING.sub(b"", data))
    return _placed(lambda: msgspec.json.decode(data, type=kind))


def decode_toml(data: bytes, kind: type[_T]) -> _T:
    """Decode TOML to a type. Raises ValueError as `decode_json`, also for ``inf`` and ``nan``."""
    bare = _TOML_STRING.sub(b"''", data)
    _check_depth(bare)
    if _DOTTED.search(bare):
        raise ValueError(f"a key has more than {DEEPEST} parts")
    content = _placed(lambda: msgspec.toml.decode(data))
    for place, value in _numbers(content, ""):
        if isinstance(value, int):
            if not -_LARGEST_INTEGER <= value <= _LARGEST_INTEGER:
                raise ValueError(_cut(f"{place}: expected a number of 64 bits"))
        elif not math.isfinite(value):
            raise ValueError(_cut(f"{place}: expected a finite number, got {value}"))
    return convert(content, kind)


def convert(content: object, kind: type[_T]) -> _T:
    """Convert decoded JSON or TOML to a type. Raises ValueError as `decode_json`."""
    return _placed(lambda: msgspec.convert(content, kind, str_keys=True))


def read_json(
    path: str | Path,
    kind: type[_T],
    error: type[JdetrtError],
    content: str,
    remedy: str = "",
) -> _T:
    """Read a JSON file.

    Args:
        path: the file.
        kind: of its content.
        error: its type.
        content: the file in words, such as ``"a list of calibration frames"``.
        remedy: how to mend it, the end of the message.

    Raises:
        JdetrtError: of the type ``error``; it cannot be read, or is another file.
    """
    end = remedy and f"; {remedy}"
    try:
        return decode_json(read_bytes(path, error, remedy, largest=LARGEST_JSON), kind)
    except ValueError as err:
        raise error(f"{path}: is not {content} ({err}){end}") from err


def read_toml(path: str | Path, kind: type[_T], error: type[JdetrtError]) -> _T:
    """Read a TOML file; errors as of `read_json`."""
    try:
        return decode_toml(read_bytes(path, error, largest=LARGEST_SETTINGS), kind)
    except ValueError as err:
        raise error(f"{path}: {err}") from err


def _check_depth(bare: bytes) -> None:
    """Refuse brackets that are nested too deeply; ``bare`` has no strings."""
    brackets = bare.translate(None, _NOT_BRACKETS)
    steps = (1 if bracket in b"[{" else -1 for bracket in brackets)
    if len(brackets) > DEEPEST and max(accumulate(steps)) > DEEPEST:
        raise ValueError(f"brackets are nested more than {DEEPEST} deep")


def _numbers(value: Any, place: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, (float, int)):
        yield place, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _numbers(inner, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _numbers(inner, f"{place}[{index}]")


def _placed(decode: Callable[[], _T]) -> _T:
    """Call a decoder of msgspec; its errors become ValueErrors of one line, the place first."""
    try:
        return decode()
    except (ValueError, JdetrtError, RecursionError) as err:
        text = " ".join(str(err).split())
        if match := _PLACE.fullmatch(text):
            text = f"{match[2].lstrip('.') or 'the whole'}: {match[1]}"
        raise ValueError(_cut(text)) from err


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
