"""Every attribute of TensorRT that the engine's code names is one of the versions that it serves.

The code is read, not run: each `name.attribute` whose name stands for an object of TensorRT is held
against the extract of the real bindings (tests/golden). Those that not all versions have must be
listed here, with those that do; so must, by the code, be asked for with `hasattr` or a feature.
"""

from __future__ import annotations

import ast
from pathlib import Path

import fake_tensorrt
import pytest
from fake_tensorrt import surface

from jdetrt.engine.tensorrt import build_config

ENGINE = Path(__file__).parents[2] / "engine" / "tensorrt"
VERSIONS: list[str] = fake_tensorrt._golden()["versions"]

# Names of variables and attributes in the engine's modules -> the class that they are of.
NAMES = {
    "builder": "Builder",
    "config": "IBuilderConfig",
    "definition": "INetworkDefinition",
    "parser": "OnnxParser",
    "layer": "ILayer",
    "tensor": "ITensor",
    "profile": "IOptimizationProfile",
    "cache": "ITimingCache",
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "context": "IExecutionContext",
    "inspector": "EngineInspector",
    "error": "ParserError",
    "flags": "BuilderFlag",
    "runtime_config": "IRuntimeConfig",
}
# The modules that work with objects of TensorRT have its wrapper.
MODULES = sorted(path.stem for path in ENGINE.glob("*.py") if "TensorRt" in path.read_text())
# Classes and members of TensorRT that not all versions have, and from where on, or up to where.
FROM_10 = VERSIONS[1:]
TO_10 = [v for v in VERSIONS if v.startswith(("8.", "10."))]
RTX = VERSIONS[-1:]
PARTIAL = {
    "BuilderFlag.ENABLE_TACTIC_HEURISTIC": VERSIONS[:1],
    "BuilderFlag.FP16": TO_10,
    "BuilderFlag.INT8": TO_10,
    "BuilderFlag.OBEY_PRECISION_CONSTRAINTS": TO_10,
    "BuilderFlag.VERSION_COMPATIBLE": FROM_10,
    "ComputeCapability": RTX,
    "CudaGraphStrategy": RTX,
    "CudaGraphStrategy.WHOLE_GRAPH_CAPTURE": RTX,
    "HardwareCompatibilityLevel": FROM_10,
    "IBuilderConfig.builder_optimization_level": FROM_10,
    "IBuilderConfig.hardware_compatibility_level": FROM_10,
    "IBuilderConfig.int8_calibrator": TO_10,
    "IBuilderConfig.num_compute_capabilities": RTX,
    "IBuilderConfig.progress_monitor": FROM_10,
    "IBuilderConfig.set_compute_capability": RTX,
    "ILayer.precision": TO_10,
    "ILayer.set_output_type": TO_10,
    "ICudaEngine.create_runtime_config": VERSIONS[3:],
    "IInt8EntropyCalibrator2": TO_10,
    "IProgressMonitor": FROM_10,
    "IRuntimeConfig.cuda_graph_strategy": RTX,
    "OnnxParser.set_flag": FROM_10,
    "OnnxParserFlag": FROM_10,
    "OnnxParserFlag.ADJUST_FOR_DLA": ["10.16.1.11", "11.0.0.114", "11.4.0.106", *RTX],
    "ParserError.node_name": FROM_10,
    "ParserError.node_operator": FROM_10,
    "Runtime.engine_host_code_allowed": FROM_10,
}


def touched(source: str) -> set[str]:
    """`Class`, `Class.attribute` and `Enum.MEMBER` of TensorRT that a module's text names."""
    known = {name for version in VERSIONS for name in surface(version)}
    found = set()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Attribute):
            continue
        value = node.value
        base = value.attr if isinstance(value, ast.Attribute) else getattr(value, "id", "")
        if base == "module":  # trt.module.Builder
            found.add(node.attr)
        elif base in known:  # trt.module.BuilderFlag.FP16
            found.add(f"{base}.{node.attr}")
        elif base.lstrip("_") in NAMES:
            found.add(f"{NAMES[base.lstrip('_')]}.{node.attr}")
    return {name for name in found if not name.split(".")[-1].startswith("__")}


def having(name: str) -> list[str]:
    """The versions that have a class, or an attribute of it."""
    kind, _, attribute = name.partition(".")
    return [
        version
        for version in VERSIONS
        if kind in surface(version) and (not attribute or attribute in surface(version)[kind])
    ]


@pytest.mark.parametrize("module", MODULES)
def test_all_that_is_touched_exists_where_it_is_served(module: str) -> None:
    names = touched((ENGINE / f"{module}.py").read_text())
    wrong = {n: having(n) for n in names if having(n) != PARTIAL.get(n, VERSIONS)}
    assert not wrong


def test_the_modules_are_found() -> None:
    assert {m for m in MODULES if touched((ENGINE / f"{m}.py").read_text())} >= {
        *("build_config", "build_progress", "builder", "calibration_cache", "compat"),
        *("execution_context", "onnx_parser", "timing_cache"),
    }


def test_the_list_of_partial_attributes_has_no_idle_entry() -> None:
    names = set().union(*(touched((ENGINE / f"{m}.py").read_text()) for m in MODULES))
    assert set(PARTIAL) <= names


def test_the_hardware_that_is_named_by_a_string_exists() -> None:
    names = build_config._HARDWARE.values()
    found = {name: having(f"HardwareCompatibilityLevel.{name}") for name in names}
    assert found == {"AMPERE_PLUS": FROM_10, "SAME_COMPUTE_CAPABILITY": VERSIONS[3:]}


def test_what_is_touched_is_found_in_the_text() -> None:
    text = "trt.module.Builder(log); config.set_flag(flags.FP16); self._engine.num_bindings; a.b"
    assert touched(text) == {
        *("Builder", "BuilderFlag.FP16", "IBuilderConfig.set_flag", "ICudaEngine.num_bindings"),
    }
    assert having("ICudaEngine.num_bindings") == ["8.5.3.1"]
    assert having("Nothing") == []
