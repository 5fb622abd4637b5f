"""MATLAB files, the form of several data sets' annotations."""

from __future__ import annotations

import io
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jdetrt.errors import DataError, MissingDependencyError
from jdetrt.inputs import read_bytes

# Format of version 5 (MathWorks, MAT-File Format, chapter 1).
_FILE_HEADER = 128  # bytes
_COMPRESSED, _MATRIX = 15, 14  # types of elements
_MOST_SIDES = 4  # of an array here, and more than any has

_LARGEST = 64 << 20  # bytes; the largest annotations of the data sets have 2 MB
_LARGEST_UNPACKED = 128 << 20
_DEEPEST = 32  # cells within cells

__all__ = ["as_boxes", "as_list", "read_mat"]


def read_mat(path: str | Path, *names: str) -> Any:
    """Read one variable of a MATLAB file (version 5 to 7.2).

    Structs become dictionaries, cell and struct arrays flat lists, arrays lose their axes of
    length 1. An array of one value is that value, as in MATLAB: ``as_list`` and ``as_boxes``
    restore the array.

    Args:
        path: the file.
        names: of the variable; the first that exists is read.

    Raises:
        DataError: the file is missing, truncated or no MATLAB file, or has none of the variables.
        MissingDependencyError: SciPy is not installed.
    """
    try:
        from scipy.io import loadmat
    except ModuleNotFoundError as err:
        raise MissingDependencyError("scipy", "train", "Reading MATLAB files") from err
    data = read_bytes(path, DataError, largest=_LARGEST)
    try:
        _check(data)
        variables = loadmat(io.BytesIO(data), squeeze_me=True)
    except Exception as err:  # SciPy raises a dozen types on damaged files
        raise DataError(
            f"{path}: not a MATLAB file of version 5 to 7.2, or damaged; download it again ({err})"
        ) from err
    for name in names:
        if name in variables:
            return _plain(variables[name])
    there = ", ".join(sorted(name for name in variables if not name.startswith("__"))) or "none"
    raise DataError(f"{path}: expected the variable {' or '.join(names)}, it has: {there}")


def _check(data: bytes) -> None:
    """Refuse a file of version 5 that unpacks to too much, or declares more than it holds.

    SciPy makes room for what is declared, and calls itself for every cell within a cell.

    Raises:
        ValueError: it is one.
    """
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    if order is None:  # version 4, or none: SciPy says so
        return
    at, room = _FILE_HEADER, _LARGEST_UNPACKED
    while at + 8 <= len(data):
        kind, length = struct.unpack_from(f"{order}II", data, at)
        at += 8
        if kind == _COMPRESSED:
            part = zlib.decompressobj().decompress(data[at : at + length], room + 1)
            room -= len(part)
            if room < 0:
                raise ValueError(f"it unpacks to more than {_LARGEST_UNPACKED >> 20} MiB")
            _check_elements(part, 0, len(part), order, 0)
        else:
            _check_elements(data, at - 8, min(at + length, len(data)), order, 0)
        at += length


def _check_elements(data: bytes, at: int, end: int, order: str, depth: int) -> None:
    """Compare the declared shape of every array with the bytes that it has."""
    if depth > _DEEPEST:
        raise ValueError(f"cells are nested more than {_DEEPEST} deep")
    while at + 8 <= end:
        kind, length = struct.unpack_from(f"{order}II", data, at)
        if kind >> 16:  # a small element: length, type and 4 bytes of data
            kind, length, start = kind & 0xFFFF, kind >> 16, at + 4
            at += 8
        else:
            start = at + 8
            at = start + (length + 7) // 8 * 8
        if start + length > end:
            raise ValueError("an element is longer than the file")
        if kind == _MATRIX and length >= 32:
            # Flags in 16 bytes, then the dimensions.
            sides = struct.unpack_from(f"{order}I", data, start + 20)[0] // 4
            shape = struct.unpack_from(f"{order}{min(sides, _MOST_SIDES)}i", data, start + 24)
            if min(shape, default=0) < 0 or math.prod(shape) > length:
                raise ValueError(f"an array of {length} bytes declares the shape {shape}")
            _check_elements(data, start, start + length, order, depth + 1)


def _plain(value: Any) -> Any:
    """SciPy's arrays of structs and of objects as dictionaries and lists."""
    if not isinstance(value, (np.ndarray, np.void)):
        return value
    if value.dtype.names and not value.ndim:
        return {name: _plain(value[name]) for name in value.dtype.names}
    if value.dtype.names or value.dtype == object:
        return [_plain(one) for one in value.ravel()] if value.ndim else _plain(value.item())
    return value


def as_list(value: Any) -> list[Any]:
    """List of the structs, cells or texts of an array, also if there is one or none.

    >>> as_list("p1"), as_list({"id": 1}), as_list(np.array([])), as_list([1, 2])
    (['p1'], [{'id': 1}], [], [1, 2])
    """
    return list(value) if isinstance(value, (list, np.ndarray)) else [value]


def as_boxes(value: Any, columns: int = 4) -> npt.NDArray[np.float64]:
    """Table of numbers as ``(n, columns)`` float64, also if it has one row or none.

    Raises:
        ValueError: it has another number of columns, or is not a table of numbers.

    >>> as_boxes([1, 2, 3, 4]).shape, as_boxes([]).shape
    ((1, 4), (0, 4))
    """
    table = np.atleast_2d(np.asarray(value, np.float64))
    if table.size == 0:
        return np.empty((0, columns))
    if table.shape[1] != columns:
        raise ValueError(f"expected {columns} columns, got {table.shape[1]}")
    return table
