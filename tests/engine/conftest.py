"""A machine with a GPU, and with any TensorRT, that is neither."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_cuda import FakeCuda
from fake_machine import KERNELS, V10, Machine, Make
from fake_tensorrt import RTX, Scenario, fake_tensorrt
from fake_trt_runtime import Network
from small_onnx import write_small_onnx

from jdetrt.engine.tensorrt import compat, plan_cache
from jdetrt.engine.tensorrt.builder import build as builder
from jdetrt.engine.tensorrt.compat import TensorRt
from jdetrt.engine.tensorrt.device import Device

ORIN = Device("Orin", "8.7", True, 32 << 30, 16 << 30, "12.6")

Install = Callable[..., TensorRt]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install the fake of a version, by name or number, and load it; the scenario is optional."""

    def install(version: str, scenario: Scenario | None = None) -> TensorRt:
        module: Any = fake_tensorrt(version, scenario)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        return compat.load("tensorrt-rtx" if version == RTX else "tensorrt")

    return install


@pytest.fixture
def on_orin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Device:
    """This machine has the GPU of an Orin, memory enough, and an empty cache folder."""
    monkeypatch.setattr(builder, "current_device", lambda: ORIN)
    monkeypatch.setattr(plan_cache, "current_device", lambda: ORIN)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return ORIN


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A small ONNX file."""
    return write_small_onnx(tmp_path / "model.onnx", body="nano", top_k="5")


@pytest.fixture
def when_said() -> Iterator[Callable[[str, Callable[[], None]], None]]:
    """Do something in the very call of TensorRT's logger that says these words first."""
    logger = logging.getLogger("jdetrt.engine.tensorrt")
    level, handlers = logger.level, []

    def when_said(words: str, do: Callable[[], None]) -> None:
        class Listener(logging.Handler):
            heard = False

            def emit(self, record: logging.LogRecord) -> None:
                if words in record.getMessage() and not self.heard:
                    self.heard = True
                    do()

        handlers.append(Listener())
        logger.addHandler(handlers[-1])
        logger.setLevel(logging.DEBUG)

    yield when_said
    for handler in handlers:
        logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.fixture
def machine(install: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    made: list[Machine] = []

    def make(
        version: str = V10, *, activations: int = 1 << 10, free_batch: bool = False, **gpu: Any
    ) -> Machine:
        cuda = FakeCuda(**{"kernels": KERNELS, **gpu})
        network = Network(cuda, activations=activations)
        if free_batch:
            network.inputs = (("images", "FLOAT", (-1, 3, 32, 64)),)
            network.outputs = tuple((n, k, (-1, *s[1:])) for n, k, s in network.outputs)
        trt = install(version, network.scenario())
        network.install(trt)
        made.append(Machine(trt, cuda, network, tmp_path, monkeypatch))
        return made[-1]

    yield make
    for machine in made:
        if machine.opened:
            machine.cuda.check_all_freed()
