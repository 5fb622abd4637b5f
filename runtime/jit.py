"""The two ways this package compiles a function with Numba."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

__all__ = ["kernel", "reduction_kernel"]

_F = TypeVar("_F", bound=Callable[..., Any])


def kernel(function: _F) -> _F:
    """Compile ``function`` at its first call; keep the machine code on disk for the next process.

    Plain IEEE arithmetic, one thread, the GIL released, so that the pipeline can decode the next
    frame meanwhile. A kernel takes NumPy arrays and numbers, never objects.
    """
    return cast(_F, numba.njit(cache=True, nogil=True)(function))


def reduction_kernel(function: _F) -> _F:
    """As ``kernel``, but sums may be added up in another order, which lets them use SIMD.

    Not-a-number and infinity keep their meaning.
    """
    return cast(
        _F,
        numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})(function),
    )
