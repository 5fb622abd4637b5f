"""The one way this package compiles a function with Numba."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

__all__ = ["kernel"]

_F = TypeVar("_F", bound=Callable[..., Any])


def kernel(function: _F) -> _F:
    """Compile ``function`` at its first call and keep the machine code on disk for the next process.

    Plain IEEE arithmetic (no ``fastmath``), one thread, the GIL released, so that the pipeline can
    decode the next frame meanwhile. A kernel takes NumPy arrays and numbers, never objects.
    """
    return cast(_F, numba.njit(cache=True, nogil=True)(function))
