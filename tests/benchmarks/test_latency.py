"""The comparison of network and whole line: what it runs, and what it makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from jdetrt.benchmarks import latency
from jdetrt.errors import ConfigError, SourceError
from jdetrt.testing import FakeSession
from jdetrt.training.synthetic import SyntheticClip, write_sequence
from jdetrt.types import Array


def one_person(feeds: Mapping[str, Array]) -> dict[str, Array]:
    return {
        "boxes": np.array([[[20, 10, 40, 60]]], np.float32),
        "scores": np.array([[0.9]], np.float32),
    }


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> FakeSession:
    fake = FakeSession(one_person, size=(128, 64), seconds=0.002)
    monkeypatch.setattr(latency, "open_session", lambda model, provider: fake)
    return fake


@pytest.fixture
def clip(tmp_path: Path) -> str:
    return str(write_sequence(tmp_path / "clip", SyntheticClip(frames=6, size=(160, 90), people=2)))


@pytest.mark.parametrize("video", [False, True])
def test_it_runs_both_on_the_same_number_of_frames(
    session: FakeSession, clip: str, video: bool
) -> None:
    result = latency.measure_system("m.onnx", clip, frames=5, repeats=2, video=video)
    assert session.runs == latency.WARM_UP + 2 * (5 + 5)
    assert len(result["rows"]) == 2
    for row in result["rows"]:
        assert row["share"] == pytest.approx(row["system_fps"] / row["network_fps"])
        assert set(row["stages_ms"]) >= {"read", "network", "associate", "write"}
    assert result["share"] == pytest.approx(np.median([row["share"] for row in result["rows"]]))
    assert result["settings"]["size"] == [128, 64]


def test_what_makes_no_measurement_is_named(session: FakeSession, clip: str) -> None:
    with pytest.raises(ConfigError, match="2 frames"):
        latency.measure_system("m.onnx", clip, frames=1)
    with pytest.raises(SourceError, match=r"none\.mp4"):
        latency.measure_system("m.onnx", "none.mp4", frames=2)
