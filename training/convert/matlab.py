"""MATLAB files, the form of several data sets' annotations."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jdetrt.errors import DataError, MissingDependencyError
from jdetrt.inputs import read_bytes
from jdetrt.training.convert.mat_structure import check_structure
from jdetrt.training.convert.names import one_line

_LARGEST = 64 << 20  # bytes; the largest annotations of the data sets have 2 MB
_FARTHEST = 1e7

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
        check_structure(data)
        variables = loadmat(io.BytesIO(data), squeeze_me=True)
    except Exception as err:  # SciPy raises a dozen types on damaged files
        raise DataError(
            f"{path}: not a MATLAB file of version 5 to 7.2, or damaged ({one_line(err)}); "
            "download it again"
        ) from err
    for name in names:
        if name in variables:
            return _plain(variables[name])
    there = ", ".join(sorted(name for name in variables if not name.startswith("__")))
    there = one_line(there) or "none"
    raise DataError(f"{path}: expected the variable {' or '.join(names)}, it has: {there}")


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
        ValueError: it has another number of columns, or is not a table of numbers that pixels,
            classes and identities can be.

    >>> as_boxes([1, 2, 3, 4]).shape, as_boxes([]).shape
    ((1, 4), (0, 4))
    """
    table = np.atleast_2d(np.asarray(value, np.float64))
    if table.size == 0:
        return np.empty((0, columns))
    if table.ndim != 2 or table.shape[1] != columns:
        raise ValueError(f"expected {columns} columns, got {table.shape[-1]}")
    if not (np.abs(table) <= _FARTHEST).all():
        raise ValueError(f"expected finite numbers up to {_FARTHEST:g}")
    return table
