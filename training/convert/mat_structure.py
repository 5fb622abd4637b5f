"""Structure of a MATLAB file, checked before SciPy reads it.

SciPy makes room for what a file declares, calls itself for every cell within a cell, and looks up
types without asking whether they exist, which ends the process. Here every element is compared with
the bytes that it has (MathWorks, MAT-File Format, version 5).
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["check_structure"]

_FILE_HEADER = 128  # bytes
_LARGEST_UNPACKED = 128 << 20  # bytes of one file
_DEEPEST = 32  # cells within cells
_MOST_SIDES = 4  # of an array here, and more than any has
_LONGEST_NAME = 64  # of a field of a struct

# Types of elements.
_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED = 1, 5, 6, 14, 15
_NUMBERS = (1, 2, 3, 4, 5, 6, 7, 9, 12, 13, 16, 17, 18)
# Classes of arrays.
_CELL, _STRUCT, _CHAR = 1, 2, 4
_NUMERIC = range(6, 16)


class _Element(NamedTuple):
    kind: int
    start: int
    length: int


def check_structure(data: bytes) -> None:
    """Refuse a file that unpacks to too much, or declares what it does not hold.

    Files of other versions than 5 pass: SciPy refuses them, or reads plain arrays.

    Raises:
        ValueError: it is one.
    """
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    if order is None:
        return
    room = _LARGEST_UNPACKED
    for element in _elements(data, _FILE_HEADER, len(data), order):
        if element.kind == _COMPRESSED:
            packed = data[element.start : element.start + element.length]
            part = zlib.decompressobj().decompress(packed, room + 1)
            room -= len(part)
            if room < 0:
                raise ValueError(f"it unpacks to more than {_LARGEST_UNPACKED >> 20} MiB")
            for inner in _elements(part, 0, len(part), order):
                _check_array(part, inner, order, 0)
        else:
            _check_array(data, element, order, 0)


def _elements(data: bytes, at: int, end: int, order: str) -> Iterator[_Element]:
    while at < end:
        if at + 8 > end:
            raise ValueError("it is cut short")
        kind, length = struct.unpack_from(f"{order}II", data, at)
        if kind >> 16:  # a small one: length, type and up to 4 bytes of content
            kind, length, start = kind & 0xFFFF, kind >> 16, at + 4
            if length > 4:
                raise ValueError("an element is longer than its place")
            at += 8
        else:
            start = at + 8
            # Compressed elements alone are not filled up to 8 bytes.
            at = start + (length if kind == _COMPRESSED else -(-length // 8) * 8)
        if start + length > end:
            raise ValueError("an element is longer than the file")
        yield _Element(kind, start, length)


def _check_array(data: bytes, array: _Element, order: str, depth: int) -> None:
    if array.kind != _MATRIX:
        raise ValueError(f"an element of type {array.kind} where an array is expected")
    if depth > _DEEPEST:
        raise ValueError(f"cells are nested more than {_DEEPEST} deep")
    if not array.length:
        return  # an empty cell
    parts = list(_elements(data, array.start, array.start + array.length, order))
    if [part.kind for part in parts[:3]] != [_UINT32, _INT32, _INT8] or parts[0].length != 8:
        raise ValueError("an array without flags, shape or name")
    flags, shape, _, *content = parts
    sides = shape.length // 4
    if shape.length % 4 or not 2 <= sides <= _MOST_SIDES:
        raise ValueError(f"a shape of {shape.length} bytes")
    lengths = struct.unpack_from(f"{order}{sides}i", data, shape.start)
    count = math.prod(lengths)
    if min(lengths) < 0 or count > array.length:
        raise ValueError(f"an array of {array.length} bytes declares the shape {lengths}")
    (word,) = struct.unpack_from(f"{order}I", data, flags.start)
    kind = word & 0xFF
    if kind == _STRUCT:
        count *= _fields(data, content[:2], order)
        content = content[2:]
    if kind in (_CELL, _STRUCT):
        if len(content) != count:
            raise ValueError(f"{len(content)} cells or fields, {count} are declared")
        for inner in content:
            _check_array(data, inner, order, depth + 1)
    elif kind == _CHAR or kind in _NUMERIC:
        if not 1 <= len(content) <= 2 or any(part.kind not in _NUMBERS for part in content):
            raise ValueError("an array of numbers without numbers")
    else:
        raise ValueError(f"an array of class {kind}")


def _fields(data: bytes, parts: list[_Element], order: str) -> int:
    """Number of fields of a struct."""
    if [part.kind for part in parts] != [_INT32, _INT8] or parts[0].length != 4:
        raise ValueError("a struct without names of fields")
    width: int = struct.unpack_from(f"{order}i", data, parts[0].start)[0]
    if not 1 <= width <= _LONGEST_NAME or parts[1].length % width:
        raise ValueError(f"names of fields of {width} bytes")
    return parts[1].length // width
