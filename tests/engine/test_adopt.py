"""Plans of other programs: what their engine says becomes the sidecar."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from fake_tensorrt import MAGIC, RTX, VERSIONS, Scenario
from small_onnx import write_small_onnx

from jdetrt.cli import main
from jdetrt.engine.tensorrt import adopt
from jdetrt.engine.tensorrt.adopt import adopt_plan
from jdetrt.engine.tensorrt.device import Device
from jdetrt.engine.tensorrt.plan import Host, Plan, sidecar_path
from jdetrt.errors import PlanMismatchError, SessionError

_SHOWN = "CUDA_VISIBLE_DEVICES"
V8, V10, V11, _ = VERSIONS
TENSOR = {"Name": "x", "Dimensions": [1, 8, 4, 4]}
COMPILED = [
    {
        "Name": f"conv {kind}",
        "LayerType": "CaskConvolution",
        "Inputs": [{**TENSOR, "Format/Datatype": kind}],
        "Outputs": [{**TENSOR, "Format/Datatype": kind}],
    }
    for kind in ("Int8", "Half", "Half")
]


@pytest.fixture
def foreign(tmp_path: Path, on_orin: Device, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A plan without a sidecar, as trtexec leaves it."""
    monkeypatch.setattr(adopt, "current_device", lambda: on_orin)
    path = tmp_path / "foreign.engine"
    path.write_bytes(MAGIC + b"{}")
    return path


@pytest.mark.parametrize("version", VERSIONS)
def test_a_plan_of_another_program(
    version: str, foreign: Path, install: Any, on_orin: Device
) -> None:
    trt = install(version, Scenario(compiled=COMPILED))
    with pytest.raises(PlanMismatchError, match=f"jdetrt adopt {foreign}"):
        _ = Plan(foreign).sidecar
    made = adopt_plan(trt, foreign, write_small_onnx(foreign.with_name("m.onnx"), body="nano"))
    plan = Plan(foreign)
    plan.check(Host.here(trt, on_orin))
    assert plan.sidecar == made
    assert (made.precision, made.typing, made.options.batch) == ("int8+fp16", "unknown", (1, 1, 1))
    assert [spec.name for spec in made.outputs] == ["boxes", "scores"]
    assert plan.metadata == {"body": "nano", "precision": "int8+fp16"}
    assert (made.model.name, made.convolutions) == ("m.onnx", {"int8": 1, "float16": 2})
    with pytest.raises(SessionError, match=r"has a sidecar, foreign\.engine\.json"):
        adopt_plan(trt, foreign)


def test_what_is_not_adopted(foreign: Path, install: Any) -> None:
    other = (("images", "FLOAT", (1, 3, 32, 64)),), (("output0", "FLOAT", (1, 84, 8400)),)
    with pytest.raises(SessionError, match="no output 'boxes'"):
        adopt_plan(install(V10, Scenario(inputs=other[0], outputs=other[1])), foreign)
    foreign.write_bytes(MAGIC + b'{"version": "10.9.0"}')
    with pytest.raises(SessionError, match=r"Version tag does not match.*was built with"):
        adopt_plan(install(V10), foreign)
    with pytest.raises(SessionError, match="cannot be read"):
        adopt_plan(install(V10), foreign.with_name("none.plan"))
    assert not sidecar_path(foreign).exists()


def test_the_command(
    foreign: Path, install: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    install(V10)
    with pytest.raises(SystemExit) as end:
        main(["adopt", str(foreign)])
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{foreign}.json: written\n")
    assert "without --model" in out
    rtx = foreign.with_name("rtx.plan")
    rtx.write_bytes(b"vtrt" + foreign.read_bytes())
    install(RTX)
    with pytest.raises(SystemExit) as end:
        main(["adopt", str(rtx)])
    assert end.value.code == 1
    assert "refuses the plan" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("before", "number", "after"),
    [(None, "1", "1"), ("", "0", "0"), ("2,5", "1", "5"), ("GPU-aa,GPU-bb", "0", "GPU-aa")],
)
def test_a_gpu_is_chosen_before_any_library_looks(
    before: str | None,
    number: str,
    after: str,
    foreign: Path,
    install: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", before or "")
    if before is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    seen: list[str] = []
    monkeypatch.setattr(adopt, "current_device", lambda: seen.append(os.environ[_SHOWN]))
    install(V10)
    with pytest.raises(SystemExit):
        main(["adopt", str(foreign), "--device", number])
    assert seen == [after]


def test_a_gpu_that_is_not_shown(
    foreign: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    with pytest.raises(SystemExit) as end:
        main(["adopt", str(foreign), "--device", "1"])
    assert end.value.code == 2
    assert "CUDA_VISIBLE_DEVICES shows 1" in capsys.readouterr().err
