"""Compile functions with Numba, in one of two ways."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

__all__ = ["compilations", "kernel", "reduction_kernel"]

_F = TypeVar("_F", bound=Callable[..., Any])
_log = logging.getLogger(__name__)
_kernels: list[Any] = []


def kernel(function: _F) -> _F:
    """Compile ``function`` at its first call; keep the machine code on disk for the next process.

    Plain IEEE arithmetic, one thread, the GIL released, so that the pipeline can decode the next
    frame meanwhile. A division by zero gives infinity or not-a-number as in NumPy, which lets loops
    with divisions use SIMD. A kernel takes NumPy arrays and numbers, never objects.
    """
    return _compile(function, nogil=True)


def reduction_kernel(function: _F) -> _F:
    """As ``kernel``, but sums may be added up in another order, which lets them use SIMD.

    Not-a-number and infinity keep their meaning.
    """
    return _compile(function, nogil=True, fastmath={"reassoc", "contract"})


def compilations() -> int:
    """Number of times a kernel has been compiled, or loaded from disk, in this process."""
    return sum(len(compiled.signatures) for compiled in _kernels)


def _compile(function: _F, **options: Any) -> _F:
    options["error_model"] = "numpy"
    try:
        compiled = numba.njit(cache=True, **options)(function)
    except RuntimeError as err:  # Numba found no folder that it may write its cache to
        if not _kernels:
            _log.warning(
                "Compiled kernels cannot be kept (%s): every start will take some seconds more. "
                "Set NUMBA_CACHE_DIR to a folder that can be written.",
                err,
            )
        compiled = numba.njit(**options)(function)
    _kernels.append(compiled)
    return cast(_F, compiled)
