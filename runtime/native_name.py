"""Names as libraries written in C++ take them."""

from __future__ import annotations

import os
from pathlib import Path

from jdetrt.errors import JdetrtError

__all__ = ["native_name"]


def native_name(name: str | Path, error: type[JdetrtError]) -> str:
    """A file name or URI that OpenCV and ONNX Runtime may be given.

    Both hand names on to the system as UTF-8. A name with other bytes has none (Python shows such
    bytes as lone surrogates), and OpenCV crashes on it.

    Raises:
        JdetrtError: of the type ``error``; the name is no UTF-8.

    >>> native_name("walk é.mp4", JdetrtError)
    'walk é.mp4'
    """
    try:
        # By way of its bytes: in the locale C, Python itself does not know that they are UTF-8.
        return os.fsencode(name).decode("utf-8")
    except UnicodeError as err:
        raise error(
            f"{name}: OpenCV and ONNX Runtime take only names in UTF-8, this one has other bytes; "
            "rename it"
        ) from err
