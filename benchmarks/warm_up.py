"""Warm up a GPU by time, until its clock is steady: a number of runs is too few for a fast one."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import NamedTuple

import numpy as np

from jdetrt.engine.tensorrt.session import memory_of
from jdetrt.types import Session

__all__ = ["WarmUp", "until_steady", "warm_up"]

WINDOW = 0.1  # seconds
LONGEST = 5.0  # seconds
_WINDOWS, _WITHIN = 3, 0.02  # so many medians in a row that differ by no more than this share


class WarmUp(NamedTuple):
    """Seconds that it took, and whether the speed was steady at the end."""

    seconds: float
    steady: bool


def warm_up(session: Session) -> WarmUp | None:
    """Run the network alone until it is steady; None where no plan runs on a GPU."""
    if memory_of(session) is None:
        return None
    spec = session.inputs[0]
    shape = tuple(1 if size == -1 else size for size in spec.shape)
    feeds = {spec.name: np.random.default_rng(0).random(shape, np.float32).astype(spec.dtype)}

    def run() -> float:
        session.infer(feeds)
        return session.last_run_seconds or 0.0

    return until_steady(run)


def until_steady(run: Callable[[], float]) -> WarmUp:
    """Call ``run``, which gives its seconds, until the medians of windows of time agree.

    >>> until_steady(lambda: 1.0).steady
    True
    """
    begin = now = time.monotonic()
    medians: list[float] = []
    while now - begin < LONGEST:
        times, end = [run()], now + WINDOW
        while time.monotonic() < end:
            times.append(run())
        medians.append(median(times))
        last = medians[-_WINDOWS:]
        now = time.monotonic()
        if len(last) == _WINDOWS and max(last) <= (1 + _WITHIN) * min(last):
            return WarmUp(now - begin, True)
    return WarmUp(now - begin, False)
