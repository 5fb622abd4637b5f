"""Metrics, asked for over HTTP and read by Prometheus's own parser."""

from __future__ import annotations

import socket
import urllib.request

import numpy as np
import pytest

from jdetrt.errors import ConfigError
from jdetrt.runtime.sinks.base import FrameResult
from jdetrt.runtime.sinks.metrics import Metrics, parse_address
from jdetrt.runtime.sources.status import SourceStatus
from jdetrt.runtime.timing import RunReport, StageTime
from jdetrt.types import Frame, Tracks

LABELS = ("stream", "stage", "quantile")

parser = pytest.importorskip("prometheus_client.parser")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _report(frames: int, source: SourceStatus | None) -> RunReport:
    time = StageTime(2.0, 1.5, 4.0)
    age = None if source is None else StageTime(80.0, 75.0, 120.0)
    return RunReport(frames, frames + 5, 5, 3, 9.0, 30.0, 1.0, 1.0, {"read": time}, age, source)


def test_what_prometheus_gets() -> None:
    port = _free_port()
    with Metrics(str(port)) as metrics:
        lost = SourceStatus(connected=False, outages=2, away_seconds=61.5)
        metrics.reports = lambda: {'do"or': _report(100, lost), "film": _report(7, None)}
        metrics.counters["mqtt_dropped"] = "Messages that found the queue full.", lambda: 4.0
        frame = Frame(np.zeros((2, 2, 3), np.uint8), 1)
        tracks = Tracks([1, 2], np.zeros((2, 4)), [0.5, 0.5])
        metrics(FrameResult("film", frame, tracks, None, {}))
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
            text = answer.read().decode()
    values = {  # by name and labels
        (
            sample.name,
            tuple(sample.labels[key] for key in LABELS if key in sample.labels),
        ): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert values == {
        ("jdetrt_frames_total", ('do"or',)): 100,
        ("jdetrt_frames_total", ("film",)): 7,
        ("jdetrt_dropped_frames_total", ('do"or',)): 5,
        ("jdetrt_dropped_frames_total", ("film",)): 5,
        ("jdetrt_people_total", ('do"or',)): 3,
        ("jdetrt_people_total", ("film",)): 3,
        ("jdetrt_source_up", ('do"or',)): 0,
        ("jdetrt_source_outages_total", ('do"or',)): 2,
        ("jdetrt_source_away_seconds_total", ('do"or',)): 61.5,
        ("jdetrt_people_present", ("film",)): 2,
        ("jdetrt_age_seconds", ('do"or', "0.5")): 0.075,
        ("jdetrt_age_seconds", ('do"or', "0.99")): 0.12,
        ("jdetrt_stage_seconds", ('do"or', "read", "0.5")): 0.0015,
        ("jdetrt_stage_seconds", ('do"or', "read", "0.99")): 0.004,
        ("jdetrt_stage_seconds", ("film", "read", "0.5")): 0.0015,
        ("jdetrt_stage_seconds", ("film", "read", "0.99")): 0.004,
        ("jdetrt_mqtt_dropped_total", ()): 4,
    }


def test_a_port_that_is_taken() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"{port}: cannot be served"):
            Metrics(f"127.0.0.1:{port}")


@pytest.mark.parametrize("text", ["", "host", "0", "70000", "host:", "9100/metrics"])
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="expected PORT or HOST:PORT"):
        parse_address(text)
