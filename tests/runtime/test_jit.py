"""Kernels compile also where nothing can be kept."""

from __future__ import annotations

import logging
from typing import Any

import numba
import numpy as np
import pytest

from jdetrt.runtime import jit


def test_without_a_folder_for_the_cache_kernels_still_work(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real: Any = numba.njit

    def njit(*args: Any, **options: Any) -> Any:
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return real(*args, **options)

    monkeypatch.setattr(numba, "njit", njit)
    monkeypatch.setattr(jit, "_kernels", [])
    with caplog.at_level(logging.WARNING):

        @jit.kernel
        def double(values: np.ndarray) -> np.ndarray:
            return 2 * values

        @jit.reduction_kernel
        def total(values: np.ndarray) -> float:
            return float(values.sum())

    assert double(np.ones(3)).tolist() == [2, 2, 2]
    assert total(np.ones(3)) == 3
    assert jit.compilations() == 2
    (said,) = [m for m in caplog.messages if "NUMBA_CACHE_DIR" in m]
    assert "no locator available" in said
