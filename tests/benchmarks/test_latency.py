"""The comparison of network and whole line: what it runs, and what it makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from jdetrt.benchmarks import latency
from jdetrt.benchmarks.result import FPS, LatencyConfig, Row, Run, RunConfig, Summary
from jdetrt.benchmarks.stages import STAGES, time_stages
from jdetrt.engine.tensorrt.session import MemoryUse
from jdetrt.errors import ConfigError, SourceError
from jdetrt.machine.power import Power
from jdetrt.machine.sensors.base import Sensors
from jdetrt.runtime.pipeline import Pipeline
from jdetrt.runtime.sinks.text import MotSink
from jdetrt.runtime.sources.open import open_source
from jdetrt.runtime.tracking.tracker import Tracker
from jdetrt.synthetic.clip import SyntheticClip, write_sequence
from jdetrt.testing import FakeSession
from jdetrt.types import Array, Detections, Size


def one_person(feeds: Mapping[str, Array]) -> dict[str, Array]:
    return {
        "boxes": np.array([[[20, 10, 40, 60]]], np.float32),
        "scores": np.array([[0.9]], np.float32),
    }


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> FakeSession:
    fake = FakeSession(one_person, size=(128, 64), seconds=0.002)
    monkeypatch.setattr(latency, "open_session", lambda model, **_: fake)
    return fake


@pytest.fixture
def clip(tmp_path: Path) -> str:
    return str(write_sequence(tmp_path / "clip", SyntheticClip(frames=6, size=(160, 90), people=2)))


@pytest.mark.parametrize("video", [False, True])
def test_it_runs_both_on_the_same_number_of_frames(
    session: FakeSession, clip: str, video: bool
) -> None:
    result = latency.measure_system("m.onnx", clip, LatencyConfig(frames=5, repeats=2, video=video))
    assert session.runs == latency.WARM_UP + 2 * (5 + 5)
    assert len(result.rows) == 2
    for row in result.rows:
        assert row.share == pytest.approx(row.system_fps / row.network_fps)
        assert set(row.stages_ms) >= {"read", "network", "associate", "write"}
    assert result.share == pytest.approx(np.median([row.share for row in result.rows]))
    assert result.settings.size == (128, 64)


def test_latency_has_all_stages_and_rates(
    session: FakeSession, clip: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency, "open_sensors", lambda: Sensors([], {"RAPL": "no counters"}))
    result = latency.measure_latency(
        "m.onnx", clip, LatencyConfig(frames=4, warm_up=2, repeats=2, rest=0)
    )
    assert session.runs == 2 * (6 + 4)
    [row] = result.rows
    assert row.size == (128, 64)
    assert row.gpu_memory is None
    assert len(row.runs) == 2
    for run in row.runs:
        stages = run.stages
        assert [name for name, one in stages.items() if one is None] == ["upload", "download"]
        mean = {name: one.mean for name, one in stages.items() if one is not None}
        assert run.engine_fps == pytest.approx(1e3 / mean["network"])
        assert run.association_fps == pytest.approx(1e3 / mean["association"])
        timed = ("network", "decode", "nms", "association")
        assert run.paper_fps == pytest.approx(1e3 / sum(mean[name] for name in timed))
        assert run.left_out_ms == pytest.approx(
            mean["read"] + mean["preprocess"] + mean["draw"] + mean["write"]
        )
        # Stages and what lies between them are the frame.
        assert run.frame_ms.mean == pytest.approx(sum(mean.values()) + (run.overhead_ms or 0))
        assert (run.overhead_ms or 0) > 0
        assert mean["network"] >= 2.0  # what a run of the fake takes
        assert run.power.absent == {"RAPL": "no counters"}
    assert (row.watts, row.joules_per_frame) == (None, None)
    runs = [run.system_fps for run in row.runs]
    assert row.system_fps == pytest.approx(np.mean(runs))


def test_the_memory_that_a_plan_takes_is_kept(
    session: FakeSession, clip: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = MemoryUse(activations=1, buffers=2, used=5, peak=7, free=10, total=20)
    monkeypatch.setattr(latency, "memory_of", {session: used}.get)
    result = latency.measure_latency(
        "m.plan", clip, LatencyConfig(frames=2, warm_up=1, repeats=1, rest=0)
    )
    assert result.rows[0].gpu_memory == asdict(used)


def test_a_session_that_times_its_copies_has_them_as_stages(clip: str, tmp_path: Path) -> None:
    class Gpu(FakeSession):
        last_stage_seconds: ClassVar = {"upload": 0.0005, "download": 0.00025}

    with Gpu(one_person, size=(128, 64), seconds=0.002) as gpu, open_source(clip) as source:
        times = time_stages(
            gpu, source, Tracker("iou"), tmp_path, RunConfig(frames=3, warm_up=1, video=True)
        )
    assert set(times.milliseconds) == set(STAGES)
    assert times.milliseconds["upload"] == pytest.approx([0.5] * 3)
    assert times.milliseconds["download"] == pytest.approx([0.25] * 3)
    assert times.milliseconds["network"] == pytest.approx([2.0] * 3)  # as the session says
    assert (tmp_path / "stages.mp4").stat().st_size > 0


def test_the_tracks_of_the_stages_are_those_of_the_pipeline(clip: str, tmp_path: Path) -> None:
    truth = [
        Detections(
            np.array([[10 * k + i, 5, 10 * k + i + 8, 60] for k in range(3)], np.float32),
            np.array([0.9, 0.8, 0.7], np.float32),
        )
        for i in range(6)
    ]
    with FakeSession.from_detections(truth, size=(128, 64)) as fake, open_source(clip) as source:
        time_stages(fake, source, Tracker("iou"), tmp_path, RunConfig(frames=5, warm_up=1))
    with FakeSession.from_detections(truth, size=(128, 64)) as fake, open_source(clip) as source:
        Pipeline(source, fake, Tracker("iou"), [MotSink(tmp_path / "tracks.txt")]).run()
    assert (tmp_path / "stages.txt").read_text() == (tmp_path / "tracks.txt").read_text() != ""


def test_power_is_that_of_all_runs() -> None:
    rates: Any = dict.fromkeys(FPS, 10.0)
    row = Row(size=Size(128, 64))
    for power in (
        Power(watts=5.0, joules_per_frame=0.5, scope="module"),
        Power(watts=7.0, joules_per_frame=0.7, scope="module"),
        Power(),
    ):
        row.add(Run(**rates, stages={}, frame_ms=Summary.of([1.0]), power=power))
    assert (row.watts, row.power_of) == (6.0, "module")
    assert row.joules_per_frame == pytest.approx(0.6)


def test_what_makes_no_measurement_is_named(session: FakeSession, clip: str) -> None:
    for wrong in ({"frames": 1}, {"warm_up": 0}, {"repeats": 0}):
        [(name, value)] = wrong.items()
        with pytest.raises(ConfigError, match=f"{name}: expected . or more, got {value}"):
            LatencyConfig(**wrong)  # type: ignore[arg-type]
    with pytest.raises(SourceError, match=r"none\.mp4"):
        latency.measure_system("m.onnx", "none.mp4", LatencyConfig(frames=2))


def test_a_source_with_too_few_frames(session: FakeSession, clip: str) -> None:
    with pytest.raises(ConfigError, match="has 6 frames, expected 9"):
        latency.measure_latency("m.onnx", clip, LatencyConfig(frames=9, warm_up=1, rest=0))


def test_a_live_source_is_refused(session: FakeSession, clip: str, tmp_path: Path) -> None:
    with open_source(clip) as source:
        source.live = True
        with pytest.raises(ConfigError, match="live source"):
            time_stages(session, source, Tracker("iou"), tmp_path, RunConfig(frames=2, warm_up=1))
