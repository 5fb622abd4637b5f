"""The benchmark measured: the same twice is no difference, a slower network is slower."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jdetrt.benchmarks.compare import compare
from jdetrt.benchmarks.latency import measure_run
from jdetrt.benchmarks.result import LatencySettings, Result, Row, RunConfig
from jdetrt.synthetic.clip import SyntheticClip, write_sequence
from jdetrt.testing import FakeSession
from jdetrt.types import Size

PERSON = {
    "boxes": np.array([[[20, 10, 40, 60]]], np.float32),
    "scores": np.array([[0.9]], np.float32),
}


@pytest.mark.slow
def test_one_thing_twice_is_the_same_and_a_slower_one_is_slower(tmp_path: Path) -> None:
    clip = write_sequence(tmp_path / "clip", SyntheticClip(frames=16, size=(96, 64), people=2))
    seconds = {"first": 0.02, "again": 0.02, "slowed": 0.024}
    config = RunConfig(frames=12, warm_up=3, rest=0)
    results = {
        name: Result(
            benchmark="latency",
            settings=LatencySettings(model="m", source="clip"),
            rows=[Row(size=Size(64, 64))],
        )
        for name in seconds
    }
    for _ in range(5):
        for name, result in results.items():
            with FakeSession(lambda _: PERSON, size=(64, 64), seconds=seconds[name]) as session:
                result.rows[0].add(measure_run(session, str(clip), config))
    for name in ("again", "slowed"):
        [row] = compare(results["first"], results[name], least=0.1).rows
        verdict = "no difference" if name == "again" else "slower"
        assert row.metrics["engine_fps"].verdict == verdict
        assert row.metrics["system_fps"].verdict == verdict
