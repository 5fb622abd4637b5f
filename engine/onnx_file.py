"""ONNX files, read without the package onnx.

A model is one protobuf message (onnx.proto, ``ModelProto``). Fields that nobody asks for, and with
them all weights, are stepped over and not read.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from jdetrt import inputs
from jdetrt.errors import JdetrtError, SessionError

__all__ = [
    "OnnxFile",
    "check_texts",
    "fingerprint",
    "input_shape",
    "metadata",
    "model_files",
]

# The entry "location" of a tensor whose values are in another file (onnx.proto, external_data):
# the key, then the tag of the value, a text; its length follows.
_EXTERNAL = re.compile(rb"\x0a\x08location\x12")
# Fields of onnx.proto.
_GRAPH, _METADATA_PROPS = 7, 14  # of ModelProto
_KEY, _VALUE = 1, 2  # of StringStringEntryProto
_INITIALIZER, _INPUT = 5, 11  # of GraphProto
_TENSOR_NAME, _VALUE_NAME = 8, 1  # of TensorProto and ValueInfoProto
# From ValueInfoProto to its dimensions: type, tensor_type, shape, dim.
_TO_DIMENSIONS = (2, 1, 2, 1)
_DIM_VALUE = 1
_LONGEST_VARINT = 10  # bytes
_MOST_FIELDS = 200_000  # of one message; a large network has some thousand nodes and tensors
_LARGEST_SIDE = 2**31 - 1
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types of protobuf


class OnnxFile:
    """An ONNX model; each attribute is read when it is first asked for, and then kept.

    Args:
        path: the file.
        error: raised where it cannot be read, is no ONNX model, or is cut short.

    Attributes:
        path: the file.
    """

    def __init__(self, path: str | Path, error: type[JdetrtError] = SessionError) -> None:
        self.path = Path(path)
        self._error = error

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """The file, and those beside it that hold its weights."""
        return tuple(model_files(self.path))

    @cached_property
    def bytes(self) -> int:
        """Size of all its files."""
        return sum(file.stat().st_size for file in self.files if file.is_file())

    @cached_property
    def sha256(self) -> str:
        """Hexadecimal SHA-256; with weights in other files, over all of them (`fingerprint`)."""
        return fingerprint(self.path, self._error)

    @cached_property
    def metadata(self) -> dict[str, str]:
        """Metadata of the model."""
        return metadata(self.path, self._error)

    @cached_property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of its first input, -1 for a free dimension; empty without inputs."""
        return input_shape(self.path, self._error)


def model_files(path: Path) -> Iterator[Path]:
    """An ONNX model, and the files beside it that hold its weights if it does not itself."""
    yield path
    with suppress(OSError, ValueError, IndexError), inputs.open_regular(path) as file:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            names = set()
            for match in _EXTERNAL.finditer(data):
                length, start = _varint(data, match.end())
                names.add(data[start : start + length])
        yield from (path.parent / os.fsdecode(name) for name in sorted(names))


def fingerprint(path: Path, error: type[JdetrtError] = SessionError) -> str:
    """SHA-256 of a model; where its weights are in other files, of all these files' hashes.

    Raises:
        JdetrtError: of the type ``error``; a file is missing or cannot be read.
    """
    hashes = []
    for file in model_files(path):
        if ".." in file.parts or not file.is_relative_to(path.parent) or "\n" in file.name:
            raise error(
                f"{path}: has its weights in {str(file)[-80:]!r}, no file of its own folder; "
                "export it again"
            )
        with inputs.reading(file, error):
            hashes.append(inputs.sha256(file))
    if len(hashes) == 1:
        return hashes[0]
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def metadata(path: Path, error: type[JdetrtError] = SessionError) -> dict[str, str]:
    """Metadata of a model (``metadata_props``).

    Raises:
        JdetrtError: of the type ``error``; the file cannot be read, is no ONNX model, or is cut
            short.
    """
    entries: dict[str, str] = {}
    with _mapped(path, error) as data:
        for start, end in _each(data, 0, len(data), _METADATA_PROPS):
            entry = {n: data[a:b].decode() for n, a, b in _fields(data, start, end)}
            entries[entry.get(_KEY, "")] = entry.get(_VALUE, "")
    return entries


def input_shape(path: Path, error: type[JdetrtError] = SessionError) -> tuple[int, ...]:
    """Shape of a model's first input, -1 for a free dimension; empty for a model without inputs.

    Raises:
        JdetrtError: as `metadata`.
    """
    with _mapped(path, error) as data:
        for graph in _each(data, 0, len(data), _GRAPH):
            # Old models list their weights among the inputs.
            weights = {
                data[a:b]
                for start, end in _each(data, *graph, _INITIALIZER)
                for a, b in _each(data, start, end, _TENSOR_NAME)
            }
            for value in _each(data, *graph, _INPUT):
                if all(data[a:b] not in weights for a, b in _each(data, *value, _VALUE_NAME)):
                    return tuple(_dimensions(data, *value))
    return ()


def check_texts(model: Any, path: str | Path, error: type[JdetrtError]) -> None:
    """Refuse an ``onnx.ModelProto`` with a name or a note that is not UTF-8.

    Protobuf gives such a text as bytes, or raises where it is asked for.

    Raises:
        JdetrtError: of the type ``error``; there is one.
    """
    try:
        whole = all(isinstance(text, str) for text in _texts(model))
    except UnicodeDecodeError:
        whole = False
    if not whole:
        raise error(
            f"{path}: a name or a note in it is not text: it is damaged; copy or export it again"
        )


def _texts(model: Any) -> Iterator[object]:
    yield from (model.producer_name, model.producer_version)
    yield from (text for entry in model.metadata_props for text in (entry.key, entry.value))
    yield from (opset.domain for opset in model.opset_import)
    graph = model.graph
    for value in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
        yield value.name
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)


def _dimensions(data: mmap.mmap, start: int, end: int) -> Iterator[int]:
    spans = [(start, end)]
    for number in _TO_DIMENSIONS:
        spans = [inner for span in spans for inner in _each(data, *span, number)]
    for span in spans:
        values = [_varint(data, at)[0] for at, _ in _each(data, *span, _DIM_VALUE)]
        if values and not 0 <= values[0] <= _LARGEST_SIDE:
            raise ValueError(f"a side of {values[0]}")
        yield values[0] if values else -1


@contextmanager
def _mapped(path: Path, error: type[JdetrtError]) -> Iterator[mmap.mmap]:
    try:
        with (
            inputs.reading(path, error),
            inputs.open_regular(path) as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            yield data
    except (ValueError, IndexError) as err:  # ValueError: also an empty file, and no UTF-8
        raise error(
            f"{path}: is not an ONNX model, or is cut short ({path.stat().st_size} bytes); "
            "copy or export it again"
        ) from err


def _each(data: mmap.mmap, start: int, end: int, number: int) -> Iterator[tuple[int, int]]:
    """Start and end of each field of one number."""
    return ((a, b) for n, a, b in _fields(data, start, end) if n == number)


def _fields(data: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, start and end of the value of each field of a message."""
    for _ in range(_MOST_FIELDS):
        if at >= end:
            return
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            length = _varint(data, at)[1] - at
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
    raise ValueError("more fields than a model has")


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 7 * _LONGEST_VARINT, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number without an end")
