"""Plans and their sidecars: what is refused before TensorRT sees it, and in which words."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fake_tensorrt import RTX, VERSIONS

from jdetrt.engine.tensorrt import plan as plan_module
from jdetrt.engine.tensorrt.build_options import BuildOptions
from jdetrt.engine.tensorrt.builder.build import build_plan
from jdetrt.engine.tensorrt.device import Device
from jdetrt.engine.tensorrt.plan import Host, Plan, Sidecar, sidecar_path, write_plan
from jdetrt.errors import PlanMismatchError, SessionError
from jdetrt.files import write_json
from jdetrt.shipped import resolve

V8, V10, V11, _ = VERSIONS
ORIN = Host(
    backend="tensorrt",
    tensorrt=V10,
    platform="linux-aarch64",
    gpu="Orin",
    compute_capability="8.7",
    cuda="12.6",
    l4t="36.4.3",
    jetpack="6.1 or 6.2",
)


def change(place: Host, **values: Any) -> Host:
    return msgspec.structs.replace(place, **values)


@pytest.fixture
def plan(install: Any, model: Path, on_orin: Device) -> Path:
    """A plan that was made on an Orin, as its sidecar has it."""
    path = model.with_name("out.plan")
    build_plan(install(V10), model, path)
    rewrite(path, host=ORIN)
    return path


def rewrite(path: Path, **values: Any) -> None:
    write_json(sidecar_path(path), msgspec.structs.replace(Plan(path).sidecar, **values))


def open_plan(path: Path, here: Host) -> tuple[Sidecar, bytes]:
    opened = Plan(path)
    opened.check(here)
    return opened.sidecar, bytes(opened.content)


def test_a_plan_that_fits(plan: Path) -> None:
    sidecar, data = open_plan(plan, ORIN)
    assert data == plan.read_bytes()
    assert sidecar == Plan(plan).sidecar
    # neither the driver's CUDA nor the release of Jetson Linux ties a plan
    open_plan(plan, change(ORIN, cuda="12.8", l4t="36.5.0"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tensorrt": "10.3.1"}, "The version of TensorRT differs"),
        ({"platform": "linux-x86_64"}, "The platform differs"),
        ({"gpu": "Thor", "compute_capability": "11.0"}, "compute capability of the GPU differs"),
        ({"gpu": "Orin Nano"}, "The type of GPU differs"),
        ({"backend": "tensorrt-rtx"}, "for tensorrt, not tensorrt_rtx"),
    ],
)
def test_made_there_run_here(plan: Path, changes: dict[str, str], words: str) -> None:
    here = change(ORIN, **changes)
    with pytest.raises(PlanMismatchError, match=words) as caught:
        open_plan(plan, here)
    text = str(caught.value)
    assert f"was made with {ORIN!s}; here is {here!s}." in text
    assert text.endswith(f"\n  jdetrt build model.onnx -o {plan}")


NANO = {"multiprocessors": 8, "memory_gib": 7, "board": "NVIDIA Jetson Orin Nano"}
AGX = {"multiprocessors": 16, "memory_gib": 61, "board": "NVIDIA Jetson AGX Orin"}


def test_one_orin_is_not_another(plan: Path) -> None:
    """CUDA calls each of them "Orin", of compute capability 8.7."""
    rewrite(plan, host=change(ORIN, **AGX))
    open_plan(plan, change(ORIN, **AGX))
    open_plan(plan, change(ORIN, **{**AGX, "board": "A carrier board", "memory_gib": 60}))
    with pytest.raises(PlanMismatchError, match="has 8 multiprocessors, not 16") as caught:
        open_plan(plan, change(ORIN, **NANO))
    assert "on Orin (compute capability 8.7, 16 multiprocessors), NVIDIA Jetson AGX" in str(
        caught.value
    )
    options = BuildOptions(hardware="same-compute-capability")
    rewrite(plan, options=options)
    open_plan(plan, change(ORIN, **NANO))
    rewrite(plan, host=ORIN, options=BuildOptions())  # of a version that did not count them
    open_plan(plan, change(ORIN, **NANO))


def test_places_in_words() -> None:
    assert str(ORIN) == (
        "TensorRT 10.3.0 on Orin (compute capability 8.7), linux-aarch64, CUDA 12.6, "
        "Jetson Linux 36.4.3 (JetPack 6.1 or 6.2)"
    )
    bare = change(ORIN, backend="tensorrt-rtx", gpu=None, cuda=None, l4t=None, jetpack=None)
    assert str(bare) == "TensorRT-RTX 10.3.0 ahead of time (no GPU), linux-aarch64"


@pytest.mark.parametrize(
    ("options", "changes", "fits"),
    [
        (BuildOptions(version_compatible=True), {"tensorrt": "11.4.0"}, True),
        (BuildOptions(version_compatible=True), {"compute_capability": "8.9"}, False),
        (BuildOptions(hardware="ampere+"), {"gpu": "L4", "compute_capability": "8.9"}, True),
        (BuildOptions(hardware="ampere+"), {"gpu": "T4", "compute_capability": "7.5"}, False),
        (BuildOptions(hardware="same-compute-capability"), {"gpu": "Orin Nano"}, True),
        (BuildOptions(hardware="same-compute-capability"), {"compute_capability": "8.6"}, False),
        (BuildOptions(compute_capabilities=("8.6", "8.9")), {"compute_capability": "8.9"}, True),
        (BuildOptions(compute_capabilities=("8.6", "8.9")), {"compute_capability": "8.7"}, False),
        # without a GPU, and built for any, it is TensorRT that says why it does not run
        (BuildOptions(), {"gpu": None, "compute_capability": None}, True),
    ],
)
def test_plans_that_are_meant_to_travel(
    plan: Path, options: BuildOptions, changes: dict[str, Any], fits: bool
) -> None:
    rewrite(plan, options=options)
    if fits:
        open_plan(plan, change(ORIN, **changes))
        return
    with pytest.raises(PlanMismatchError, match="was made with"):
        open_plan(plan, change(ORIN, **changes))


def test_a_plan_made_ahead_of_time_for_any_gpu(plan: Path) -> None:
    made = change(ORIN, backend="tensorrt-rtx", gpu=None, compute_capability=None)
    rewrite(plan, host=made)
    open_plan(plan, change(made, gpu="RTX 4090", compute_capability="8.9"))


def test_cut_short(plan: Path) -> None:
    size = plan.stat().st_size
    plan.write_bytes(plan.read_bytes()[:-1])
    with pytest.raises(PlanMismatchError, match=f"is cut short, {size - 1} of {size} bytes; copy"):
        open_plan(plan, ORIN)
    plan.write_bytes(b"")
    with pytest.raises(PlanMismatchError, match=f"is cut short, 0 of {size} bytes"):
        open_plan(plan, ORIN)


def test_tampered_or_replaced(plan: Path) -> None:
    data = bytearray(plan.read_bytes())
    data[len(data) // 2] ^= 1
    for other in (bytes(data), bytes(data) + b"more"):
        plan.write_bytes(other)
        with pytest.raises(PlanMismatchError, match=r"not the file that out\.plan\.json describes"):
            open_plan(plan, ORIN)


def test_no_sidecar(plan: Path) -> None:
    sidecar_path(plan).unlink()
    with pytest.raises(
        PlanMismatchError, match=r"its sidecar out\.plan\.json.*is missing; copy it"
    ):
        open_plan(plan, ORIN)


def test_no_plan(plan: Path) -> None:
    plan.unlink()
    with pytest.raises(SessionError, match=r"no such file.*jdetrt build MODEL\.onnx"):
        open_plan(plan, ORIN)
    plan.mkdir()
    with pytest.raises(SessionError, match="not a regular one"):
        open_plan(plan, ORIN)


@pytest.mark.parametrize(
    "text", ["", "{}", "[1]", '{"format": 1}', "\xff", '{"format": 1, "x": 2}']
)
def test_a_sidecar_that_is_none(plan: Path, text: str) -> None:
    sidecar_path(plan).write_bytes(text.encode("latin-1"))
    with pytest.raises(PlanMismatchError, match=r"out\.plan\.json: .*build the plan again"):
        open_plan(plan, ORIN)


def test_a_sidecar_of_a_backend_that_nobody_has(plan: Path) -> None:
    text = sidecar_path(plan).read_text()
    sidecar_path(plan).write_text(text.replace('"backend": "tensorrt"', '"backend": "foo"'))
    with pytest.raises(PlanMismatchError, match=r"a plan's sidecar \(made\.backend: Invalid enum"):
        _ = Plan(plan).sidecar


def test_a_model_that_ships_is_named_as_people_name_it(
    install: Any, model: Path, on_orin: Device
) -> None:
    plan = model.with_name("out.plan")
    sidecar = build_plan(install(V10), resolve("nano"), plan)
    assert sidecar.command(plan) == f"jdetrt build nano:576x320 -o {plan}"


def test_a_sidecar_of_a_later_format(plan: Path) -> None:
    text = sidecar_path(plan).read_text().replace('"format": 1', '"format": 2')
    sidecar_path(plan).write_text(text)
    with pytest.raises(PlanMismatchError, match=r"format 2, .* format 1"):
        open_plan(plan, ORIN)


def test_a_sidecar_that_is_a_folder(plan: Path) -> None:
    sidecar_path(plan).unlink()
    sidecar_path(plan).mkdir()
    with pytest.raises(PlanMismatchError, match="cannot be read"):
        open_plan(plan, ORIN)


def test_the_command_builds_the_same_again(install: Any, model: Path, on_orin: Device) -> None:
    from jdetrt.cli.build import command

    options = BuildOptions(
        precision="int8",
        calibration_cache="ranges",
        batch=(1, 2, 4),
        workspace_mib=7,
        optimization_level=2,
        version_compatible=True,
        hardware="ampere+",
        dla_core=1,
        allow_float=True,
        strip=True,
        compute_capabilities=("8.6", "12.0"),
    )
    words = options.command("model.onnx", "out.plan", "tensorrt-rtx").split()
    assert words[:2] == ["jdetrt", "build"]
    given = command.make_context("build", words[2:]).params
    assert given["backend"] == "tensorrt-rtx"
    assert (str(given["model"]), str(given["output"])) == ("model.onnx", "out.plan")
    assert given["batch"] == "1:2:4"
    read = {
        "precision": given["precision"],
        "calibration_cache": str(given["calibration_cache"]),
        "batch": (1, 2, 4),
        "workspace_mib": given["workspace"],
        "optimization_level": given["optimization_level"],
        "version_compatible": given["version_compatible"],
        "hardware": given["hardware"],
        "dla_core": given["dla_core"],
        "allow_float": given["allow_float"],
        "strip": given["strip"],
        "compute_capabilities": given["compute_capability"],
    }
    assert BuildOptions(**read) == options
    assert set(read) == set(BuildOptions.__struct_fields__)


def test_a_plan_of_rtx_is_not_one_of_tensorrt(install: Any, model: Path, on_orin: Device) -> None:
    path = model.with_name("rtx.plan")
    sidecar = build_plan(install(RTX), model, path)
    command = f"jdetrt build model.onnx -o {path} --backend tensorrt-rtx"
    assert sidecar.command(path) == command
    with pytest.raises(PlanMismatchError, match="for tensorrt_rtx, not tensorrt"):
        open_plan(path, Host.here(install(V11), on_orin))


def test_a_plan_replaced_by_a_process_that_is_killed_opens_as_the_old_or_the_new_one(
    plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, old_bytes = open_plan(plan, ORIN)
    new_bytes = old_bytes + b" "
    digest = hashlib.sha256(new_bytes).hexdigest()
    facts = msgspec.structs.replace(old.plan, sha256=digest, bytes=len(new_bytes))
    new = msgspec.structs.replace(old, plan=facts, build_seconds=9.0)
    pairs = ((old, old_bytes), (new, new_bytes))
    seen = []
    replace = Path.replace

    def watched(self: Path, to: Path) -> Path:
        done = replace(self, to)
        seen.append(pairs.index(open_plan(plan, ORIN)))  # what is there is one of the two
        return done

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", watched)
        write_plan(plan, new_bytes, new)
    assert seen == [0, 1, 1]
    assert "previous" not in json.loads(sidecar_path(plan).read_text())

    # Between the first two, a plan of neither is refused; and a third takes the old one's place.
    write_plan(plan, old_bytes, old)
    both = {**msgspec.to_builtins(new), "previous": msgspec.to_builtins(old)}
    write_json(sidecar_path(plan), both)
    seen.clear()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", watched)
        write_plan(plan, new_bytes, new)
    assert seen == [0, 1, 1]
    write_json(sidecar_path(plan), both)
    plan.write_bytes(new_bytes + b" ")
    with pytest.raises(PlanMismatchError, match="changed or replaced"):
        open_plan(plan, ORIN)


def test_a_plan_and_its_sidecar_are_read_once(plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    for name in ("open_regular", "read_json"):
        before = getattr(plan_module, name)

        def counted(path: Path, *more: Any, before: Any = before) -> Any:
            read.append(path)
            return before(path, *more)

        monkeypatch.setattr(plan_module, name, counted)
    opened = Plan(plan)
    for _ in range(2):
        opened.check(ORIN)
        assert bytes(opened.content) == plan.read_bytes()
        assert opened.metadata["precision"] == "fp32"
    assert read == [sidecar_path(plan)] * 2 + [plan]  # its format first
