"""What plans are told to be: from the sidecar, from what the build kept, from the engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from fake_tensorrt import RTX, Scenario

from jdetrt.engine.tensorrt import describe as inspect
from jdetrt.engine.tensorrt.builder.build import build_plan
from jdetrt.engine.tensorrt.compat import TensorRt
from jdetrt.engine.tensorrt.describe import describe_plan
from jdetrt.engine.tensorrt.device import Device
from jdetrt.engine.tensorrt.layers import Compiled, Layer, layers_path
from jdetrt.engine.tensorrt.plan import sidecar_path
from jdetrt.errors import DataError, PlanMismatchError, SessionError
from jdetrt.file_kind import FileKind, kind_of
from jdetrt.files import write_json
from jdetrt.inputs import sha256

LAYERS = (("/network/body/conv + act", "CONVOLUTION", "FLOAT"), ("top", "TOPK", "FLOAT"))


@pytest.fixture
def trt(install: Any, on_orin: Device, monkeypatch: pytest.MonkeyPatch) -> TensorRt:
    """TensorRT 10 with a GPU."""
    monkeypatch.setattr(inspect, "current_device", lambda: on_orin)
    found: TensorRt = install("10.3.0", Scenario(layers=LAYERS))
    return found


@pytest.fixture
def plan(trt: TensorRt, model: Path, tmp_path: Path) -> Path:
    build_plan(trt, model, tmp_path / "model.plan")
    return tmp_path / "model.plan"


def test_a_plan_that_can_be_loaded_tells_its_layers(plan: Path) -> None:
    found = describe_plan(plan)
    assert found.compiled == Compiled(
        layers=(
            Layer(name="/network/body/conv + act", kind="CONVOLUTION"),
            Layer(name="top", kind="TOPK"),
        ),
        activations=1 << 20,
        weights=None,
        source="engine inspector",
        plan_sha256=sha256(plan),
    )
    assert (found.bytes, found.sha256) == (plan.stat().st_size, sha256(plan))
    assert found.sidecar is not None
    assert found.sidecar.host.tensorrt == "10.3.0"
    assert found.note == ""


def test_what_the_build_kept_is_believed_of_this_plan_only(plan: Path) -> None:
    kept = Compiled(
        layers=(Layer(name="kept"),),
        activations=5,
        weights=6,
        source="build log",
        plan_sha256=sha256(plan),
    )
    write_json(layers_path(plan), kept)
    assert describe_plan(plan).compiled == kept
    write_json(layers_path(plan), msgspec.structs.replace(kept, plan_sha256="0"))
    found = describe_plan(plan).compiled
    assert found is not None
    assert found.source == "engine inspector"


def test_a_plan_that_cannot_be_loaded_here(
    plan: Path, install: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("11.4.0.106")
    found = describe_plan(plan)
    assert found.sidecar is not None
    assert found.compiled is None
    assert "cannot be loaded here" in found.note
    assert "The version of TensorRT differs" in found.note

    def nothing(backend: str) -> TensorRt:
        raise SessionError("no driver")

    monkeypatch.setattr(inspect, "load", nothing)
    assert describe_plan(plan).note.endswith("no driver")


def test_without_a_sidecar(plan: Path) -> None:
    sidecar_path(plan).unlink()
    found = describe_plan(plan)
    assert (found.sidecar, found.compiled) == (None, None)
    assert "its sidecar model.plan.json" in found.note


def test_a_file_that_is_no_plan_but_is_called_one(tmp_path: Path) -> None:
    odd = tmp_path / "notes.plan"
    odd.write_text("Tomorrow: build the model\n")
    with pytest.raises(SessionError, match=r"notes\.plan: .* is not one"):
        describe_plan(odd)


def test_another_file_than_its_sidecar_describes(plan: Path) -> None:
    whole = plan.read_bytes()
    for content in (whole[:-5], whole + b"x", whole.replace(b"10.3.0", b"10.3.1")):
        plan.write_bytes(content)
        with pytest.raises(PlanMismatchError, match=r"is (cut short|not the file that)"):
            describe_plan(plan)
    plan.write_bytes(b"")
    with pytest.raises(SessionError, match="is empty"):
        describe_plan(plan)


def test_what_is_a_plan(plan: Path, model: Path, tmp_path: Path) -> None:
    assert kind_of(plan) is FileKind.PLAN
    assert kind_of(model) is not FileKind.PLAN
    odd = tmp_path / "odd"
    odd.write_bytes(b"some text")
    assert kind_of(odd) is not FileKind.PLAN
    odd.write_bytes(b"ftrt" + bytes(8))
    assert kind_of(odd) is FileKind.PLAN
    sidecar_path(model).write_text("{}")  # numbers about a model, say
    assert kind_of(model) is not FileKind.PLAN
    assert kind_of(tmp_path) is not FileKind.PLAN
    with pytest.raises(DataError, match="no such file"):
        kind_of(tmp_path / "missing.plan")


def test_ahead_of_time_the_build_keeps_them(install: Any, model: Path, tmp_path: Path) -> None:
    # The fake says nothing of layers, as a build that failed to would: nothing is kept then.
    build_plan(install(RTX), model, tmp_path / "rtx.plan")
    assert sorted(path.name for path in tmp_path.glob("rtx*")) == ["rtx.plan", "rtx.plan.json"]
