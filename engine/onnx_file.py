"""What the engine must know of an ONNX file, read without the package onnx.

A model is one protobuf message (onnx.proto, ``ModelProto``). Its own notes are a field of the
outermost level, so that the graph, and with it all weights, is stepped over and not read.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from jdetrt import files
from jdetrt.errors import SessionError

__all__ = ["fingerprint", "metadata", "model_files"]

# The entry "location" of a tensor whose values are in another file (onnx.proto, external_data):
# the key, then the tag of the value, a text; its length follows.
_EXTERNAL = re.compile(rb"\x0a\x08location\x12")
_METADATA_PROPS = 14  # onnx.proto: ModelProto.metadata_props, of StringStringEntryProto
_KEY, _VALUE = 1, 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types of protobuf


def model_files(path: Path) -> Iterator[Path]:
    """An ONNX model, and the files beside it that hold its weights if it does not itself."""
    yield path
    with suppress(OSError, ValueError, IndexError), files.open_regular(path) as file:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            found = set()
            for match in _EXTERNAL.finditer(data):
                length, start = _varint(data, match.end())
                found.add(data[start : start + length])
        yield from (path.parent / os.fsdecode(name) for name in sorted(found))


def fingerprint(path: Path) -> str:
    """SHA-256 of a model; where its weights are in other files, of all these files' hashes.

    Raises:
        SessionError: a file is missing or cannot be read.
    """
    try:
        hashes = [files.sha256(file) for file in model_files(path)]
    except OSError as err:
        raise SessionError(f"{err.filename}: cannot be read ({err.strerror})") from err
    if len(hashes) == 1:
        return hashes[0]
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def metadata(path: Path) -> dict[str, str]:
    """The notes of a model (``metadata_props``).

    Raises:
        SessionError: the file cannot be read, or is no ONNX model or is cut short.
    """
    notes: dict[str, str] = {}
    try:
        with (
            files.open_regular(path) as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            for number, start, end in _fields(data, 0, len(data)):
                if number == _METADATA_PROPS:
                    entry = {n: data[a:b].decode() for n, a, b in _fields(data, start, end)}
                    notes[entry.get(_KEY, "")] = entry.get(_VALUE, "")
    except OSError as err:
        raise SessionError(f"{path}: cannot be read ({err.strerror})") from err
    except (ValueError, IndexError) as err:  # ValueError: also an empty file, and no UTF-8
        raise SessionError(
            f"{path}: is not an ONNX model, or is cut short ({path.stat().st_size} bytes); "
            "copy or export it again"
        ) from err
    return notes


def _fields(data: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, start and end of each field of a message; only those of bytes have a content."""
    while at < end:
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        length = 0
        if kind == _VARINT:
            _, at = _varint(data, at)
        elif kind == _BYTES:
            length, at = _varint(data, at)
        elif kind in (_FIXED32, _FIXED64):
            length = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {kind}")
        if at + length > end or number == 0:
            raise ValueError("a field is longer than the message")
        yield number, at, at + length
        at += length


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
