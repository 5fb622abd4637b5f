"""What the tests on a GPU need; each is skipped with the reason where it is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from jdetrt.engine.tensorrt import compat
from jdetrt.engine.tensorrt.builder.build import build_plan
from jdetrt.engine.tensorrt.compat import TensorRt
from jdetrt.engine.tensorrt.device import current_device
from jdetrt.errors import EngineError, JdetrtError, MissingDependencyError


@pytest.fixture(scope="session")
def trt() -> TensorRt:
    """The TensorRT of this machine, which has a GPU."""
    if current_device() is None:
        pytest.skip("no NVIDIA GPU here: nothing about TensorRT is run")
    try:
        return compat.load("tensorrt")
    except (MissingDependencyError, EngineError) as err:
        pytest.skip(f"there is a GPU, but TensorRT cannot be used: {err}")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The small network by precision, as ONNX files."""
    pytest.importorskip("onnx", reason="the package onnx, which writes the models, is missing")
    from gpu_models import PRECISIONS, write_model

    folder = tmp_path_factory.mktemp("models")
    return {name: write_model(folder / f"{name}.onnx", name) for name in PRECISIONS}


@pytest.fixture(scope="session")
def plans(
    trt: TensorRt, models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The same as plans, built on this GPU."""
    folder = tmp_path_factory.mktemp("plans")

    class Plans(dict[str, Path]):
        """Each is built when it is first asked for: one that fails does not fail the others."""

        def __missing__(self, name: str) -> Path:
            plan = folder / f"{name}.plan"
            build_plan(trt, models[name], plan, timings=folder / "timings")
            self[name] = plan
            return plan

    return Plans()


def libraries() -> list[str]:
    """The CUDA libraries that are installed and load."""
    from jdetrt.engine.cuda import api as cuda

    return [name for name in cuda.BACKENDS if isinstance(cuda._load(name), type)]


@pytest.fixture(params=["pycuda", "cuda-python"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, trt: TensorRt) -> str:
    """Each CUDA library in turn, as the only one."""
    from jdetrt.engine.cuda import api as cuda

    name: str = request.param
    if name not in libraries():
        pytest.skip(f"{name} is not installed, or does not load")
    monkeypatch.setattr(cuda, "BACKENDS", {name: cuda.BACKENDS[name]})
    try:
        cuda.open_cuda().close()
    except JdetrtError as err:
        pytest.skip(f"{name} cannot use the GPU: {err}")
    return name
