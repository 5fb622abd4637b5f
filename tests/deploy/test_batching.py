"""Queue delay and preferred batches of a server by measured times."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import jdetrt

from jdetrt.benchmarks.batch_times import read_batch_times
from jdetrt.deploy.batching import preferred_sizes, queue_delay_us
from jdetrt.errors import DataError
from jdetrt.shipped import resolve
from jdetrt.types import Size

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
SIZE = Size(576, 320)


def test_batches_that_gain_are_preferred() -> None:
    assert preferred_sizes({1: 10.0, 2: 15.0, 4: 29.0, 8: 56.0}) == (2, 8)
    assert preferred_sizes({1: 10.0, 2: 20.0, 4: 40.0}) == ()
    assert queue_delay_us({1: 10.0, 2: 15.0}) == 5000
    assert queue_delay_us({1: 10.0, 2: 20.0}) == 0  # nothing to wait for
    assert queue_delay_us({1: 10.0}) == 5000


def test_times_of_streams_latency_and_sweep() -> None:
    streams = read_batch_times(RESULTS / "streams-epyc-2core.json", SIZE, plan=False)
    assert sorted(streams.milliseconds) == [1, 2, 4, 8]
    assert streams.milliseconds[1] == pytest.approx(1e3 / 34.532872377978514)
    latency = read_batch_times(RESULTS / "latency-nano-epyc-2core.json", SIZE, plan=False)
    assert latency.milliseconds == {1: pytest.approx(1e3 / 36.55442297552169)}
    name = "nano-92f67338-576x320-k1024-fp32.onnx"
    path = RESULTS / "sweep-nano-epyc-2core.json"
    sweep = read_batch_times(path, SIZE, plan=False, name=name)
    assert "fp32 onnxruntime" in sweep.origin
    assert sweep.milliseconds == {1: pytest.approx(1e3 / 42.07634569495016)}


@pytest.mark.parametrize(
    ("name", "size", "plan", "words"),
    [
        ("streams-epyc-2core.json", Size(864, 480), False, "576x320, not of 864x480"),
        ("sweep-nano-epyc-2core.json", Size(640, 480), False, "no run of an ONNX model of 640x480"),
        ("sweep-nano-epyc-2core.json", SIZE, True, "no run of a plan"),
        ("sweep-nano-epyc-2core.json", SIZE, False, "fp32 .*int8 .*none of a model called"),
        ("fuzz-epyc-2core.json", SIZE, False, "result of"),
        ("none.json", SIZE, False, "none.json"),
    ],
)
def test_results_that_do_not_fit(name: str, size: Size, plan: bool, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_batch_times(RESULTS / name, size, plan=plan)


def test_command_line(tmp_path: Path, model: Path) -> None:
    sweep = tmp_path / "streams.json"
    text = (RESULTS / "streams-epyc-2core.json").read_text()
    sweep.write_text(text.replace("576", "192").replace("320", "128"))
    done = jdetrt("deploy", "triton", model, "-o", tmp_path / "models", "--sweep", sweep)
    assert done.code == 0, done.err
    assert "Queue delay: 14479 us" in done.out
    config = (tmp_path / "models" / "jde" / "config.pbtxt").read_text()
    assert "max_queue_delay_microseconds: 14479" in config
    assert "preferred_batch_size: [4]" in config
    arguments = ("--sweep", sweep, "--queue-delay", 7, "-q")
    assert jdetrt("deploy", "triton", model, "-o", tmp_path / "models", *arguments).code == 0
    config = (tmp_path / "models" / "jde" / "config.pbtxt").read_text()
    assert "max_queue_delay_microseconds: 7" in config


def test_without_measured_times(tmp_path: Path) -> None:
    assert jdetrt("deploy", "triton", resolve("nano"), "-o", tmp_path / "models").code == 0
