"""What an installed TensorRT can do, version by version, against lists of the real bindings."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fake_tensorrt import MAGIC, RTX, VERSIONS, Scenario, fake_tensorrt

from jdetrt.engine.tensorrt.compat import (
    Log,
    deserialize,
    device_memory_size,
    engine_information,
    io_specs,
    load,
)
from jdetrt.errors import EngineError, MissingDependencyError, SessionError
from jdetrt.types import TensorSpec

V8, V10, V11, _ = VERSIONS
PLAN = MAGIC + b"{}"


# strong typing, weak typing, calibration, ahead of time, timing cache, progress: written by hand
# from NVIDIA's release notes and migration guides
@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (V8, (False, True, True, False, True, False)),
        (V10, (True, True, True, False, True, True)),
        ("10.16.1.11", (True, True, True, False, True, True)),
        (V11, (True, False, False, False, True, True)),
        (RTX, (True, False, False, True, False, True)),
    ],
)
def test_features(version: str, expected: tuple[bool, ...], install: Any) -> None:
    trt = install(version)
    found = (trt.strong_typing, trt.weak_typing, trt.calibration)
    assert (*found, trt.ahead_of_time, trt.timing_cache, trt.progress) == expected


@pytest.mark.parametrize(
    ("version", "strong", "wanted"),
    [
        (V8, False, {"EXPLICIT_BATCH"}),
        (V8, True, {"EXPLICIT_BATCH"}),
        (V10, False, {"EXPLICIT_BATCH"}),
        (V10, True, {"EXPLICIT_BATCH", "STRONGLY_TYPED"}),
        (V11, True, {"STRONGLY_TYPED"}),
        (RTX, True, {"STRONGLY_TYPED"}),
    ],
)
def test_network_flags(version: str, strong: bool, wanted: set[str], install: Any) -> None:
    trt = install(version)
    bits = trt.network_flags(strong=strong)
    kind = trt.module.NetworkDefinitionCreationFlag
    assert {flag.name for flag in kind if bits >> int(flag) & 1} == wanted


def test_a_module_whose_own_code_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tensorrt.py").write_text("raise RuntimeError('no CUDA toolkit')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    with pytest.raises(EngineError, match=r"cannot be loaded \(no CUDA toolkit\).*doctor"):
        load("tensorrt")


@pytest.mark.parametrize("version", VERSIONS)
def test_ctrl_c_while_a_plan_is_loaded(version: str, install: Any, when_said: Any) -> None:
    trt = install(version)
    when_said("magicTag", lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        deserialize(trt, Log(trt), b"not a plan", host_code=False)


@pytest.mark.parametrize("backend", ["tensorrt", "tensorrt-rtx"])
def test_a_missing_module_says_what_to_install(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = backend.replace("-", "_")

    def nothing(wanted: str) -> Any:
        raise ModuleNotFoundError(f"No module named '{wanted}'", name=wanted)

    monkeypatch.setattr("jdetrt.engine.tensorrt.compat.importlib.import_module", nothing)
    extra = {"tensorrt": "tensorrt", "tensorrt-rtx": "rtx"}[backend]
    with pytest.raises(MissingDependencyError, match=rf"'{name}'[^$]*jdetrt\[{extra}\]") as caught:
        load(backend)
    assert ("JetPack" in str(caught.value)) == (backend == "tensorrt")


@pytest.mark.parametrize(
    "error",
    [
        ImportError("libnvinfer.so.10: cannot open shared object file"),
        ModuleNotFoundError("No module named 'tensorrt_bindings'", name="tensorrt_bindings"),
        OSError("libcudart.so.12"),
    ],
)
def test_a_module_that_does_not_load_is_told_from_a_missing_one(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(wanted: str) -> Any:
        raise error

    monkeypatch.setattr("jdetrt.engine.tensorrt.compat.importlib.import_module", broken)
    with pytest.raises(EngineError, match=r"installed but cannot be loaded.*doctor"):
        load("tensorrt")


def test_one_logger_a_process_and_each_log_its_own_errors(
    install: Any, caplog: pytest.LogCaptureFixture
) -> None:
    trt = install(V10)
    severity = trt.module.ILogger.Severity
    first = Log(trt)
    first.logger.log(severity.ERROR, "one ")
    second = Log(trt)
    assert second.logger is first.logger
    with caplog.at_level(logging.DEBUG):
        first.logger.log(severity.INTERNAL_ERROR, "two")
        first.logger.log(severity.ERROR, "two")
        first.logger.log(severity.WARNING, "beware")
        first.logger.log(severity.WARNING, "weights outside the range of INT32 was clamped")
        first.logger.log(severity.VERBOSE, "Layers: ...")
    assert first.take_errors() == ["one", "two"]
    assert second.reason() == "two"
    assert second.reason() == "TensorRT gave no reason"
    levels = {record.message: record.levelname for record in caplog.records}
    clamped = {"weights outside the range of INT32 was clamped": "INFO"}
    assert levels == {"two": "INFO", "beware": "WARNING", **clamped, "Layers: ...": "DEBUG"}


@pytest.mark.parametrize("version", VERSIONS)
def test_an_engine_tells_its_tensors_memory_and_layers(version: str, install: Any) -> None:
    scenario = Scenario(
        inputs=[("images", "FLOAT", (-1, 3, 32, 64))],
        outputs=[("scores", "HALF", (-1, 5)), ("count", "INT32", (-1,))],
    )
    trt = install(version, scenario)
    engine = deserialize(trt, Log(trt), PLAN, host_code=False)
    inputs, outputs = io_specs(trt, engine)
    assert inputs == [TensorSpec("images", "float32", (-1, 3, 32, 64))]
    assert outputs == [
        TensorSpec("scores", "float16", (-1, 5)),
        TensorSpec("count", "int32", (-1,)),
    ]
    assert device_memory_size(engine) == 1 << 20
    information = engine_information(trt, engine)
    assert information["I/O Tensors"] == ["images", "scores", "count"]
    assert [layer["Name"] for layer in information["Layers"]] == ["/network/body/conv"]
    assert "Bindings" not in information


def test_a_type_that_numpy_does_not_have(install: Any) -> None:
    trt = install(V10, Scenario(outputs=[("boxes", "BF16", (1, 4))]))
    engine = deserialize(trt, Log(trt), PLAN, host_code=False)
    with pytest.raises(SessionError, match="'boxes' has the type BF16"):
        io_specs(trt, engine)


@pytest.mark.parametrize("version", VERSIONS)
def test_no_driver(version: str, install: Any) -> None:
    trt = install(version, Scenario(driver=False))
    with pytest.raises(SessionError, match=r"TensorRT [\d.]+ .*: .*CUDA"):
        deserialize(trt, Log(trt), PLAN, host_code=False)


@pytest.mark.parametrize("version", VERSIONS)
def test_foreign_bytes_are_refused_with_the_reason_in_the_log(version: str, install: Any) -> None:
    trt = install(version)
    with pytest.raises(SessionError, match=r"refuses the plan: .*magicTag"):
        deserialize(trt, Log(trt), b"something", host_code=False)


def test_host_code_is_allowed_only_where_it_is_asked_for(install: Any) -> None:
    trt = install(V11)
    made: list[Any] = []
    runtime = trt.module.Runtime

    def remember(logger: Any) -> Any:
        made.append(runtime(logger))
        return made[-1]

    trt.module.Runtime = remember
    deserialize(trt, Log(trt), PLAN, host_code=False)
    deserialize(trt, Log(trt), PLAN, host_code=True)
    assert [m.__dict__.get("engine_host_code_allowed") for m in made] == [None, True]
    old = install(V8)
    with pytest.raises(SessionError, match=r"8\.5\.3\.1 cannot load version-compatible plans"):
        deserialize(old, Log(old), PLAN, host_code=True)


def test_the_fake_has_what_its_version_has_and_no_more() -> None:
    old, new = (fake_tensorrt(version) for version in (V8, V11))
    assert hasattr(old.IBuilderConfig(), "int8_calibrator")
    with pytest.raises(AttributeError, match=r"11\.4\.0\.106: IBuilderConfig has no 'int8_calib"):
        new.IBuilderConfig().int8_calibrator  # noqa: B018
    with pytest.raises(AttributeError, match=r"8\.5\.3\.1 has no 'progress_monitor'"):
        old.IBuilderConfig().progress_monitor = None
    assert not hasattr(new, "IInt8EntropyCalibrator2")


def test_nothing_of_tensorrt_is_imported_before_it_is_asked_for() -> None:
    code = (
        "import sys, jdetrt.engine.tensorrt.plan_cache, jdetrt.engine.tensorrt.calibration_cache; "
        "sys.exit(bool({'tensorrt', 'tensorrt_rtx', 'onnx', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
