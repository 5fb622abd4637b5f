"""`build --compare`: plans in several precisions, timed on a stand-in, and which one is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fake_cuda import FakeCuda
from fake_tensorrt import VERSIONS, Scenario, read_plan
from fake_trt_runtime import Network
from small_onnx import write_small_onnx

from jdetrt.cli import main
from jdetrt.engine.tensorrt import session as session_module
from jdetrt.engine.tensorrt.device import Device
from jdetrt.engine.tensorrt.plan import Plan
from jdetrt.functions import plan_choice
from jdetrt.functions.plan_choice import int8_faults, time_plans
from jdetrt.inputs import sha256

V8, V10, V11, _ = VERSIONS
REPORT = Path(__file__).parents[2] / "benchmarks" / "results" / "int8-nano.json"


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Time that each precision is told to take, in milliseconds."""
    given = {"fp32": 4.0, "fp16": 2.0, "int8": 1.0}
    monkeypatch.setattr(
        plan_choice, "time_plans", lambda plans: {name: given[name] for name in plans}
    )
    return given


@pytest.fixture
def models(tmp_path: Path, on_orin: Device) -> Path:
    """A float16 model, with an INT8 model beside it."""
    for precision in ("fp16", "int8"):
        write_small_onnx(tmp_path / f"jde.{precision}.onnx", precision=precision)
    return tmp_path / "jde.fp16.onnx"


def write_report(model: Path, **changes: Any) -> Path:
    """The report of a real calibration, as if it were about this model."""
    content = json.loads(REPORT.read_text())
    content["written"][0]["sha256"] = sha256(model)
    path = model.with_name("report.json")
    path.write_text(json.dumps({**content, **changes}))
    return path


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["build", *map(str, arguments)])
    return caught.value.code if isinstance(caught.value.code, int) else 0


def test_the_fastest_that_is_accurate_is_kept(
    install: Any, models: Path, times: dict[str, float], capsys: pytest.CaptureFixture[str]
) -> None:
    install(V10)
    int8, plan = models.with_name("jde.int8.onnx"), models.with_name("jde.plan")
    line = (models, "-o", plan, "--compare", "fp16,int8")
    # Its accuracy is not known.
    assert run(*line) == 0
    assert "kept       fp16: INT8 is faster (int8 1.000 ms, fp16 2.000 ms), but" in (
        capsys.readouterr().out
    )
    assert Plan(plan).sidecar.model.name == models.name
    Plan(plan).check()
    # It is known, and good.
    report = write_report(int8)
    assert int8_faults(int8, report) == []
    assert run(*line, "--calibration-report", report) == 0
    assert "kept       int8: it is the fastest" in capsys.readouterr().out
    assert Plan(plan).sidecar.model.sha256 == sha256(int8)
    # It is slower.
    times["int8"] = 2.5
    assert run(*line, "--calibration-report", report) == 0
    assert "kept       fp16: it is the fastest (fp16 2.000 ms, int8 2.500 ms)" in (
        capsys.readouterr().out
    )


def test_what_counts_against_int8(models: Path) -> None:
    int8 = models.with_name("jde.int8.onnx")
    content = json.loads(REPORT.read_text())
    rows = content["accuracy"]["rows"]
    worse = {**rows["INT8"], "shaken": None, "hota": 30.0}
    accuracy = {**content["accuracy"], "rows": {**rows, "INT8": worse}}
    faults = int8_faults(int8, write_report(int8, accuracy=accuracy))
    assert [fault.split(" ")[0] for fault in faults] == ["HOTA"]
    chosen = {**content["chosen"], "cosine": 0.5}
    [fault] = int8_faults(int8, write_report(int8, chosen=chosen))
    assert fault == "cosine 0.5000, expected 0.99"
    assert int8_faults(int8, write_report(int8, outside=["boxes"])) == ["boxes"]
    [fault] = int8_faults(models, write_report(int8))
    assert fault == "report.json is about another model than jde.fp16.onnx"


def test_weak_typing_needs_one_model(
    install: Any, tmp_path: Path, on_orin: Device, times: dict[str, float]
) -> None:
    scenario = Scenario()
    install(V8, scenario)
    model = write_small_onnx(tmp_path / "jde.onnx", precision="fp32")
    ranges = tmp_path / "ranges"
    ranges.write_bytes(b"TRT-8503-EntropyCalibration2\nimages: 3c010a14\n")
    line = (model, "-o", tmp_path / "jde.plan", "--compare", "fp32,fp16,int8")
    assert run(*line, "--calibration-cache", ranges) == 0
    flags = [set(build["flags"]) & {"FP16", "INT8"} for build in scenario.builds]
    assert flags == [set(), {"FP16"}, {"FP16", "INT8"}]
    assert "INT8" not in read_plan((tmp_path / "jde.plan").read_bytes())["flags"]


@pytest.mark.parametrize(
    ("compare", "more", "code", "words"),
    [
        ("fp16", (), 1, "expected two or three of fp32, fp16, int8"),
        ("fp16,int4", (), 1, "expected two or three"),
        ("fp16,fp32", (), 1, "no jde.fp32.onnx beside it; make it with `jdetrt export"),
        ("fp16,int8", ("--strip",), 2, "--compare needs plans that run here"),
        ("fp16,int8", ("--calibration-report", "absent.json"), 1, "absent.json"),
    ],
)
def test_one_message(
    compare: str,
    more: tuple[str, ...],
    code: int,
    words: str,
    install: Any,
    models: Path,
    times: dict[str, float],
    capsys: pytest.CaptureFixture[str],
) -> None:
    install(V11)
    plan = models.with_name("jde.plan")
    assert run(models, "-o", plan, "--compare", compare, *more) == code
    assert words in capsys.readouterr().err
    assert not plan.exists()


def test_times_are_of_the_gpu_and_in_turn(
    install: Any, model: Path, on_orin: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jdetrt.engine.tensorrt.builder.build import build_plan

    cuda = FakeCuda()
    network = Network(cuda)
    trt = install(V10, network.scenario())
    network.install(trt)
    opened: list[Path] = []

    class Session(session_module.TensorRtSession):
        def __init__(self, plan: Path) -> None:
            opened.append(plan)
            cuda.closed = False
            super().__init__(plan)

    monkeypatch.setattr(session_module, "current_device", lambda: on_orin)
    monkeypatch.setattr(session_module, "open_cuda", lambda: cuda)
    monkeypatch.setattr(session_module, "TensorRtSession", Session)
    monkeypatch.setattr(plan_choice, "_RUNS", 2)
    monkeypatch.setattr(plan_choice, "_WARM_UP", 1)
    plans = {name: model.with_name(f"{name}.plan") for name in ("fp16", "int8")}
    for path in plans.values():
        build_plan(trt, model, path)
    times = time_plans(plans)
    assert opened == [*plans.values()] * 3
    assert set(times) == {"fp16", "int8"}
    assert min(times.values()) > 0
    cuda.check_all_freed()
