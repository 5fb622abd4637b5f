"""Times of layers by the profiler of each TensorRT, and the numbers of a plan, on stand-ins."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_cuda import FakeCuda
from fake_tensorrt import VERSIONS
from fake_trt_runtime import Network, write_plan

from jdetrt.cli import main
from jdetrt.engine.tensorrt import describe as describe_module
from jdetrt.engine.tensorrt import profile as profile_module
from jdetrt.engine.tensorrt.device import Device
from jdetrt.engine.tensorrt.layers import Compiled, Layer
from jdetrt.engine.tensorrt.profile import LayerTimes, profile_plan
from jdetrt.engine.tensorrt.summary import summarise
from jdetrt.errors import SessionError
from jdetrt.types import TensorSpec

ORIN = Device("Orin", "8.7", True, 32 << 30, 16 << 30, "12.6")
NAMES = ("/network/body/conv", "Reformatting CopyNode for Input Tensor 0")


class Bench:
    """A plan on stand-ins whose profiler reports what a test gives."""

    def __init__(self, install: Any, folder: Path, patch: pytest.MonkeyPatch, version: str) -> None:
        self.cuda = FakeCuda()
        self.network = Network(self.cuda)
        scenario = self.network.scenario()
        scenario.layer_ms = lambda: next(self.reports)
        scenario.compiled = [
            {
                "Name": name,
                "LayerType": kind,
                "Inputs": [_tensor("a", (1, 3, 32, 64))],
                "Outputs": [_tensor("b", (1, 8, 32, 64))],
            }
            for name, kind in zip(NAMES, ("CaskConvolution", "Reformat"), strict=True)
        ]
        self.reports: Any = itertools.repeat([(NAMES[0], 0.5), (NAMES[1], 0.1)])
        self.trt = install(version, scenario)
        self.network.install(self.trt)
        self.plan = write_plan(folder / "model.plan", self.trt, ORIN, self.network)
        for module in (profile_module, describe_module):
            patch.setattr(module, "current_device", lambda: ORIN)
        patch.setattr(profile_module, "open_cuda", self._open)

    def _open(self) -> FakeCuda:
        self.cuda.closed = False
        return self.cuda


def _tensor(name: str, shape: tuple[int, ...]) -> dict[str, Any]:
    return {"Name": name, "Dimensions": list(shape), "Format/Datatype": "Half"}


Make = Callable[[str], Bench]


@pytest.fixture
def bench(install: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    return lambda version: Bench(install, tmp_path, monkeypatch, version)


@pytest.mark.parametrize("version", VERSIONS)
def test_medians_after_the_warm_up(version: str, bench: Make) -> None:
    here = bench(version)
    times = [0.5, 0.7, 90.0, 0.6, 0.4]  # one run that something disturbed
    here.reports = iter([[(NAMES[0], ms), (NAMES[1], 0.1)] for ms in times])
    found = profile_plan(here.plan, runs=5, warm_up=2)
    assert found.milliseconds == {NAMES[0]: 0.6, NAMES[1]: 0.1}
    assert found.total == pytest.approx(float(np.median([ms + 0.1 for ms in times])))
    assert found.runs == 5
    assert here.network.runs == 7  # those of the warm-up are not reported
    here.cuda.check_all_freed()


def test_a_layer_that_is_reported_in_parts_counts_whole(bench: Make) -> None:
    here = bench(VERSIONS[1])
    here.reports = itertools.repeat([("a", 0.25), ("a", 0.5)])
    assert profile_plan(here.plan, runs=2, warm_up=1).milliseconds == {"a": 0.75}


def test_a_profiler_that_says_nothing_and_a_run_that_fails(bench: Make) -> None:
    here = bench(VERSIONS[1])
    here.reports = itertools.repeat([])
    with pytest.raises(SessionError, match=r"model\.plan: .*reports no layers"):
        profile_plan(here.plan, runs=1, warm_up=1)
    here.cuda.check_all_freed()
    here.network.refuse_at = here.network.runs + 1
    with pytest.raises(SessionError, match=r"model\.plan: .*out of memory"):
        profile_plan(here.plan, runs=1, warm_up=1)
    here.cuda.check_all_freed()


@pytest.mark.parametrize(
    ("layers", "fused", "unfused", "reformats"),
    [
        # As TensorRT 10 tells it: the nodes of each layer.
        ([("a", "CaskConvolution", ("/b/Conv", "/b/LeakyRelu"))], 1, 0, 0),
        (
            [("a", "CaskConvolution", ("/b/Conv",)), ("c", "PointWise", ("/b/LeakyRelu_3",))],
            0,
            1,
            0,
        ),
        ([("c", "kgen", ("/decode/Sigmoid",))], 0, 0, 0),  # nothing to be fused with
        # As 8.5 does: their names alone.
        ([("/b/Conv + /b/Relu", "CaskConvolution", ())], 1, 0, 0),
        ([("/b/Conv + PWN(/b/LeakyRelu)", "CaskConvolution", ())], 1, 0, 0),
        ([("PWN(/b/LeakyRelu)", "PointWise", ())], 0, 1, 0),
        ([("PWN(PWN(/b/Sigmoid), /b/Mul)", "PointWise", ())], 0, 1, 0),
        ([("Reformatting CopyNode for Output Tensor 0 to /b/Conv", "NoOp", ())], 0, 0, 1),
        ([("x", "Reformat", ())], 0, 0, 1),
    ],
)
def test_what_is_counted(
    layers: list[tuple[str, str, tuple[str, ...]]], fused: int, unfused: int, reformats: int
) -> None:
    made = tuple(Layer(name=name, kind=kind, nodes=nodes) for name, kind, nodes in layers)
    found = summarise(Compiled(made, None, None, "engine inspector", ""))
    assert (found.fused, found.unfused, found.reformats) == (fused, unfused, reformats)
    assert found.launches == len(layers)
    assert found.milliseconds is None


def test_time_of_reformats() -> None:
    layer = Layer(
        name=NAMES[1], kind="Reformat", inputs=(TensorSpec("a", "float16", (1, 8)),), outputs=()
    )
    times = LayerTimes(milliseconds={"other": 1.0, NAMES[1]: 0.25}, total=1.25, runs=3)
    found = summarise(Compiled((layer,), None, None, "engine inspector", ""), times)
    assert (found.milliseconds, found.reformat_ms, found.moved) == (1.25, 0.25, 16)


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["inspect", *map(str, arguments)])
    return caught.value.code if isinstance(caught.value.code, int) else 0


def test_command(bench: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here = bench(VERSIONS[0])
    assert run(here.plan) == 0
    out = capsys.readouterr().out
    assert "0.600 ms, layer after layer; 0.100 ms of it reformats" in out
    [line] = [line for line in out.splitlines() if line.endswith(NAMES[0])]
    assert line.split()[:3] == ["1", "0.500", "float16"]
    (tmp_path / "other").mkdir()
    other = write_plan(tmp_path / "other" / "fp16.plan", here.trt, ORIN, here.network)
    assert run(here.plan, "--beside", other) == 0
    out = capsys.readouterr().out
    assert "has more than" not in out  # they are equal
    slow = itertools.repeat([(NAMES[0], 0.9), (NAMES[1], 0.1)])
    quick = itertools.repeat([(NAMES[0], 0.4), (NAMES[1], 0.1)])
    here.reports = itertools.chain(itertools.islice(slow, profile_module.RUNS), quick)
    assert run(here.plan, "--beside", other, "--json", tmp_path / "out.json") == 0
    assert "model.plan has more than fp16.plan: time." in capsys.readouterr().out
    content = json.loads((tmp_path / "out.json").read_text())
    assert content["summary"]["milliseconds"] == pytest.approx(1.0)
    assert content["beside"]["times"]["milliseconds"][NAMES[0]] == pytest.approx(0.4)
    model = tmp_path / "model.onnx"
    model.write_bytes(b"\x08\x08\x12\x07pytorch" + bytes(4))
    assert run(here.plan, "--beside", tmp_path / "absent.plan") == 1
    assert "absent.plan" in capsys.readouterr().err


def test_without_a_gpu(
    bench: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = bench(VERSIONS[1])
    monkeypatch.setattr(describe_module, "current_device", lambda: None)
    assert run(here.plan) == 0
    assert "layer after layer" not in capsys.readouterr().out
