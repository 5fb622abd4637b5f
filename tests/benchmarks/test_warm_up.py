"""The warm-up ends when the times are even, and gives up when they never are."""

from __future__ import annotations

import itertools

import pytest

from jdetrt.benchmarks import warm_up
from jdetrt.benchmarks.warm_up import until_steady


class Clock:
    """Time that passes only while something runs."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        patch.setattr("jdetrt.benchmarks.warm_up.time.monotonic", lambda: self.now)

    def run(self, seconds: float) -> float:
        self.now += seconds
        return seconds


def test_a_clock_that_rises_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    # Half a second of ever faster runs, then an even speed.
    found = until_steady(lambda: clock.run(max(0.02 - 0.02 * clock.now, 0.01)))
    assert found.steady
    assert 0.5 + 2 * warm_up.WINDOW < found.seconds < 0.5 + 5 * warm_up.WINDOW


def test_one_that_is_never_even_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    speeds = itertools.cycle([0.06, 0.06, 0.03, 0.03, 0.03, 0.03])
    found = until_steady(lambda: clock.run(next(speeds)))
    assert not found.steady
    assert warm_up.LONGEST <= found.seconds < warm_up.LONGEST + 2 * warm_up.WINDOW


def test_slow_runs_are_a_window_each(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    found = until_steady(lambda: clock.run(1.0))
    assert found.steady
    assert found.seconds == pytest.approx(3.0)
