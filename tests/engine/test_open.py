"""Which file goes to which backend."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from fake_tensorrt import RTX, VERSIONS
from messages import Messages

from jdetrt.engine.onnxruntime import OrtSession
from jdetrt.engine.open import open_session
from jdetrt.engine.tensorrt.builder.build import build_plan
from jdetrt.engine.tensorrt.device import Device
from jdetrt.engine.tensorrt.plan import Plan
from jdetrt.errors import MissingDependencyError, PlanMismatchError, SessionError, requiring
from jdetrt.testing import FakeSession

V10 = VERSIONS[1]
graphs_wanted: list[bool] = []


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The plans that a stand-in for the TensorRT session was given."""
    given: list[Path] = []

    def open_plan(plan: Plan, *, graphs: bool) -> FakeSession:
        given.append(plan.path)
        graphs_wanted.append(graphs)
        outputs = {"boxes": np.zeros((1, 5, 4), np.float32), "scores": np.zeros((1, 5), np.float32)}
        return FakeSession([outputs], size=(64, 32))

    module: Any = ModuleType("jdetrt.engine.tensorrt.session")
    module.TensorRtSession = open_plan
    monkeypatch.setitem(sys.modules, "jdetrt.engine.tensorrt.session", module)
    return given


@pytest.mark.parametrize(("backend", "version"), [("tensorrt", V10), ("tensorrt-rtx", RTX)])
def test_an_onnx_file_through_the_plan_cache(
    backend: str, version: str, install: Any, model: Path, on_orin: Device, opened: list[Path]
) -> None:
    trt = install(version)
    said: list[str] = []
    for _ in range(2):
        open_session(model, backend=backend, progress=Messages(said)).close()
    assert len(trt.module._scenario.builds) == 1
    assert opened[0] == opened[1]
    assert opened[0].suffix == ".plan"
    assert [text.split()[0] for text in said] == ["No", "Built", "Using"]


@pytest.mark.parametrize("suffix", [".plan", ".engine", ".TRT"])
def test_plans_go_to_tensorrt(suffix: str, opened: list[Path], tmp_path: Path) -> None:
    plan = tmp_path / f"model{suffix}"
    plan.write_bytes(b"ftrt: a plan")
    open_session(plan).close()
    assert opened == [plan]
    graphs_wanted.clear()
    for asked in (True, False, None):
        open_session(plan, cuda_graph=asked).close()
    assert graphs_wanted == [True, False, True]
    with pytest.raises(SessionError, match=r"is a TensorRT plan.*leave --backend out"):
        open_session(plan, backend="onnxruntime")


def test_a_plan_and_a_backend_that_is_named(
    install: Any, model: Path, on_orin: Device, opened: list[Path]
) -> None:
    plan = model.with_name("model.plan")
    build_plan(install(V10), model, plan)
    open_session(plan, backend="tensorrt").close()
    assert opened == [plan]
    with pytest.raises(SessionError, match="a plan of tensorrt, not of tensorrt-rtx; leave --back"):
        open_session(plan, backend="tensorrt-rtx")


def test_onnx_files_go_to_onnx_runtime(model: Path, opened: list[Path]) -> None:
    for backend in ("auto", "onnxruntime"):
        with open_session(model, backend=backend) as session:
            assert isinstance(session, OrtSession)
    assert opened == []
    with pytest.raises(SessionError, match=r"model\.onnx: CUDA graphs"):
        open_session(model, cuda_graph=True)


def test_an_unknown_backend(model: Path) -> None:
    with pytest.raises(SessionError, match="backend 'x': expected auto, onnxruntime, tensorrt,"):
        open_session(model, backend="x")


def test_a_plan_that_is_missing_or_of_another_program(tmp_path: Path) -> None:
    with pytest.raises(SessionError, match=r"model\.plan: no such file"):
        open_session(tmp_path / "model.plan")
    (tmp_path / "model.plan").write_bytes(b"anything")
    with pytest.raises(PlanMismatchError, match="its sidecar"):
        open_session(tmp_path / "model.plan")


def test_without_onnx_runtime_the_way_out_is_said(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "jdetrt.engine.onnxruntime")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError) as caught:
        open_session(model)
    assert "'onnxruntime', which is not installed" in str(caught.value)
    assert "[onnxruntime]'" in str(caught.value)
    assert "--backend tensorrt" in str(caught.value)


def test_other_doors_name_the_small_extra_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with (
        pytest.raises(MissingDependencyError, match=r"\[onnxruntime\]"),
        requiring("export", "Inspecting a checkpoint"),
    ):
        importlib.import_module("onnxruntime")
