"""The plan that fits: built once, found again, never stale, and one builder at a time."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fake_tensorrt import VERSIONS, Scenario, read_plan
from messages import Messages
from small_onnx import write_small_onnx

from jdetrt.engine.tensorrt import plan as plan_module
from jdetrt.engine.tensorrt import plan_cache
from jdetrt.engine.tensorrt.build_options import BuildOptions
from jdetrt.engine.tensorrt.builder import build as builder
from jdetrt.engine.tensorrt.cache_folder import cache_folder, locked
from jdetrt.engine.tensorrt.device import Device
from jdetrt.engine.tensorrt.plan import Plan, sidecar_path
from jdetrt.errors import BuildError, OutputError, SessionError
from jdetrt.files import write_json
from jdetrt.progress import Progress

V8, V10, V11, _ = VERSIONS


def find_or_build(*arguments: Any, progress: Progress) -> Path:
    return plan_cache.find_or_build(*arguments, progress=progress).path


@pytest.fixture
def said() -> list[str]:
    """What was announced."""
    return []


def test_built_once_and_found_again(
    install: Any, model: Path, on_orin: Device, said: list[str]
) -> None:
    trt = install(V10)
    first = find_or_build(trt, model, progress=Messages(said))
    second = find_or_build(trt, model, progress=Messages(said))
    assert first == second
    assert first.parent == cache_folder() / "plans"
    assert sidecar_path(first).is_file()
    assert len(trt.module._scenario.builds) == 1
    assert said[0].startswith("No plan of model.onnx for TensorRT 10.3.0 on Orin")
    assert str(first) in said[0]
    assert said[1].startswith("Built in")
    assert said[2:] == [f"Using the plan {first}"]


def test_a_change_of_anything_makes_it_another_plan(
    install: Any, model: Path, on_orin: Device, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    def plan(trt: Any, options: BuildOptions | None = None) -> Path:
        return find_or_build(trt, model, options, progress=Messages(said))

    ten = install(V10)
    plans = [plan(ten), plan(ten, BuildOptions(optimization_level=1)), plan(install(V11))]
    write_small_onnx(model, body="nano", top_k="6")
    plans.append(plan(ten))
    other = Device("Orin Nano", "8.7", True, 8 << 30, 4 << 30, "12.6")
    for module in (plan_cache, builder):
        monkeypatch.setattr(module, "current_device", lambda: other)
    plans.append(plan(ten))
    assert len(set(plans)) == 5
    assert all(path.is_file() for path in plans)


def test_each_orin_has_plans_and_timings_of_its_own(
    install: Any, model: Path, on_orin: Device, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    plans = set()
    kinds = [(16, 61, "AGX Orin"), (14, 29, "AGX Orin"), (8, 15, "Orin NX"), (8, 7, "Orin Nano")]
    for count, memory, board in kinds:
        device = replace(on_orin, multiprocessors=count, memory=memory << 30, board=board)
        for module in (plan_cache, builder):
            monkeypatch.setattr(module, "current_device", lambda device=device: device)
        plans.add(find_or_build(install(V10), model, progress=Messages(said)))
    assert len(plans) == len(kinds)
    assert len(list((cache_folder() / "timing").glob("*.cache"))) == len(kinds)


def test_a_new_driver_or_jetson_linux_alone_leaves_the_plan(
    install: Any, model: Path, on_orin: Device, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    trt = install(V10)
    before = find_or_build(trt, model, progress=Messages(said))
    newer = replace(on_orin, cuda="12.8", free=1 << 30)
    monkeypatch.setattr(plan_cache, "current_device", lambda: newer)
    monkeypatch.setattr(plan_module, "l4t_release", lambda: "36.5.0")
    assert find_or_build(trt, model, progress=Messages(said)) == before
    assert said[-1] == f"Using the plan {before}"


def test_the_same_model_under_another_folder_is_the_same(
    install: Any, model: Path, on_orin: Device, said: list[str], tmp_path: Path
) -> None:
    (tmp_path / "copy").mkdir()
    copy = Path(shutil.copy(model, tmp_path / "copy"))
    trt = install(V10)
    assert find_or_build(trt, model, progress=Messages(said)) == find_or_build(
        trt, copy, progress=Messages(said)
    )


@pytest.mark.parametrize("damage", ["cut", "changed", "no sidecar", "no plan"])
def test_what_is_damaged_is_built_again(
    damage: str, install: Any, model: Path, on_orin: Device, said: list[str]
) -> None:
    trt = install(V10)
    plan = find_or_build(trt, model, progress=Messages(said))
    whole = plan.read_bytes()
    if damage == "cut":
        plan.write_bytes(whole[:20])
    elif damage == "changed":
        plan.write_bytes(whole[:-2] + b"??")
    else:
        (sidecar_path(plan) if damage == "no sidecar" else plan).unlink()
    assert find_or_build(trt, model, progress=Messages(said)) == plan
    assert "uilding" in said[2]
    assert find_or_build(trt, model, progress=Messages(said)) == plan
    assert said[-1] == f"Using the plan {plan}"
    assert len(trt.module._scenario.builds) == 2


def test_a_plan_of_another_content_of_the_model_is_not_used(
    install: Any, model: Path, on_orin: Device, said: list[str]
) -> None:
    trt = install(V10)
    plan = find_or_build(trt, model, progress=Messages(said))
    made = Plan(plan).sidecar
    other = msgspec.structs.replace(made.model, sha256="0" * 64)
    write_json(sidecar_path(plan), msgspec.structs.replace(made, model=other))
    assert find_or_build(trt, model, progress=Messages(said)) == plan
    assert "of model.onnx" in said[2]
    assert Plan(plan).sidecar.model == made.model
    assert len(trt.module._scenario.builds) == 2


def test_a_model_that_changes_after_its_plan_was_named_is_not_built(
    install: Any, model: Path, on_orin: Device, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed(*arguments: Any, **more: Any) -> Any:
        write_small_onnx(model, body="nano", top_k="7")
        return builder.build_plan(*arguments, **more)

    monkeypatch.setattr(plan_cache, "build_plan", changed)
    with pytest.raises(BuildError, match=r"model\.onnx: was changed while it was being read"):
        find_or_build(install(V10), model, progress=Messages(said))
    assert list((cache_folder() / "plans").glob("*.plan")) == []


def test_a_build_that_fails_leaves_no_plan(
    install: Any, model: Path, on_orin: Device, said: list[str]
) -> None:
    with pytest.raises(BuildError):
        find_or_build(install(V10, Scenario(build_error="no")), model, progress=Messages(said))
    assert not list((cache_folder() / "plans").glob("[!.]*"))
    assert find_or_build(install(V10), model, progress=Messages(said)).is_file()


def test_two_at_a_time_build_one_plan(
    install: Any, model: Path, on_orin: Device, said: list[str]
) -> None:
    second: list[threading.Thread] = []
    found: list[Path] = []

    def enter_meanwhile(step: int) -> None:
        if not second:
            second.append(threading.Thread(target=search))
            second[0].start()

    def search() -> None:
        found.append(find_or_build(trt, model, progress=Messages(said)))

    scenario = Scenario(on_step=enter_meanwhile)
    trt = install(V10, scenario)
    plan = find_or_build(trt, model, progress=Messages(said))
    second[0].join()
    assert found == [plan]
    assert len(scenario.builds) == 1
    assert read_plan(plan.read_bytes())["version"] == V10


@pytest.mark.parametrize("version", VERSIONS)
def test_nothing_is_built_where_nothing_could_run_it(
    version: str, install: Any, model: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    monkeypatch.setattr(plan_cache, "current_device", lambda: None)
    with pytest.raises(SessionError, match="ONNX Runtime runs the model"):
        find_or_build(install(version), model, progress=Messages(said))
    assert said == []


def test_a_cache_folder_that_cannot_be_written(
    install: Any, model: Path, on_orin: Device, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(model))  # a file
    with pytest.raises(OutputError, match="XDG_CACHE_HOME"):
        find_or_build(install(V10), model, progress=Messages(said))


def test_a_file_elsewhere_that_cannot_be_locked(model: Path, on_orin: Device) -> None:
    with pytest.raises(OutputError) as caught, locked(model / "timings"):
        pass
    assert str(caught.value).startswith(f"{model}: cannot be written (")
    assert "XDG_CACHE_HOME" not in str(caught.value)


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "jdetrt"
    monkeypatch.setenv("HOME", "/home/somebody")
    for ignored in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert cache_folder() == Path("/home/somebody/.cache/jdetrt")
