"""Plans without weights, and the weights that are put in, with the TensorRT of each version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fake_tensorrt import VERSIONS, Scenario, read_plan
from small_onnx import write_small_onnx

from jdetrt.cli import main
from jdetrt.engine.tensorrt import refit
from jdetrt.engine.tensorrt.build_options import BuildOptions
from jdetrt.engine.tensorrt.builder.build import build_plan
from jdetrt.engine.tensorrt.compat import Log
from jdetrt.engine.tensorrt.device import Device
from jdetrt.engine.tensorrt.plan import Plan
from jdetrt.engine.tensorrt.refit import refit_plan
from jdetrt.errors import BuildError, SessionError
from jdetrt.inputs import sha256

V8, V10, V11, _ = VERSIONS
STRIPPED = BuildOptions(strip=True)


@pytest.fixture(autouse=True)
def here(on_orin: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refit, "current_device", lambda: on_orin)


@pytest.mark.parametrize("version", [V10, V11])
def test_weights_come_from_the_model(version: str, install: Any, model: Path) -> None:
    trt = install(version)
    bare, full = model.with_name("bare.plan"), model.with_name("full.plan")
    made = build_plan(trt, model, bare, STRIPPED)
    assert {"STRIP_PLAN", "REFIT"} <= set(read_plan(bare.read_bytes())["flags"])
    assert "--strip" in made.command(bare)
    with pytest.raises(SessionError, match=r"bare\.plan: has no weights .*jdetrt refit"):
        Plan(bare).deserialize(trt, Log(trt))
    other = write_small_onnx(model.with_name("other.onnx"), body="nano", top_k="7")
    found = refit_plan(trt, bare, other, full)
    assert read_plan(full.read_bytes())["weights"] == sha256(other)
    assert (found.model.name, found.metadata["top_k"]) == ("other.onnx", "7")
    assert not found.options.strip
    Plan(full).check()
    Plan(full).deserialize(trt, Log(trt))
    # And once more, in place.
    refit_plan(trt, full, model, full)
    assert read_plan(full.read_bytes())["weights"] == sha256(model)


def test_plans_are_built_with_their_weights_as_ever(install: Any, model: Path) -> None:
    plan = model.with_name("model.plan")
    build_plan(install(V10), model, plan)
    assert not {"STRIP_PLAN", "REFIT"} & set(read_plan(plan.read_bytes())["flags"])
    with pytest.raises(BuildError, match=r"model\.plan: its weights are fixed"):
        refit_plan(install(V10), plan, model, model.with_name("full.plan"))


def test_tensorrt_8_cannot(install: Any, model: Path) -> None:
    trt, plan = install(V8), model.with_name("model.plan")
    with pytest.raises(BuildError, match=r"8\.5\.3\.1 cannot leave the weights out of a plan"):
        build_plan(trt, model, plan, STRIPPED)
    with pytest.raises(BuildError, match=r"8\.5\.3\.1 cannot put the weights"):
        refit_plan(trt, plan, model, plan)


def test_another_network_or_graph(install: Any, model: Path) -> None:
    scenario = Scenario()
    trt = install(V10, scenario)
    bare, full = model.with_name("bare.plan"), model.with_name("full.plan")
    build_plan(trt, model, bare, STRIPPED)
    other = write_small_onnx(model.with_name("other.onnx"), body="darknet53", top_k="5")
    with pytest.raises(BuildError, match=r"other\.onnx: .*body nano there and darknet53 here"):
        refit_plan(trt, bare, other, full)
    scenario.parser_errors = [(0, "a", "Conv", "no such weights")]
    with pytest.raises(BuildError, match=r"do not fit the plan: .*lacks: /network/body/conv"):
        refit_plan(trt, bare, model, full)
    assert not full.exists()


def test_commands(install: Any, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(V10)
    bare, full = model.with_name("bare.plan"), model.with_name("full.plan")
    for line in (["build", str(model), "-o", str(bare), "--strip"], ["refit", str(bare)]):
        with pytest.raises(SystemExit) as caught:
            main([*line, *([str(model), "-o", str(full)] if line[0] == "refit" else [])])
        assert caught.value.code == 0
    assert f"{full}: 0.0 MB, with the weights of model.onnx" in capsys.readouterr().out
