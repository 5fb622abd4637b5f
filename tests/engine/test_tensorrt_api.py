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

from jdetrt.engine.tensorrt.builder import config as build_config

ENGINE = Path(__file__).parents[2] / "engine" / "tensorrt"
VERSIONS: list[str] = fake_tensorrt._golden()["versions"]

# Methods of TensorRT that make an object -> its class. A variable that one of them is assigned to
# has that class, whatever it is called; so has one that is assigned a class of `trt.module`.
MADE_BY = {
    "create_builder_config": "IBuilderConfig",
    "create_network": "INetworkDefinition",
    "create_optimization_profile": "IOptimizationProfile",
    "create_timing_cache": "ITimingCache",
    "create_engine_inspector": "EngineInspector",
    "create_execution_context": "IExecutionContext",
    "create_execution_context_without_device_memory": "IExecutionContext",
    "create_runtime_config": "IRuntimeConfig",
    "deserialize_cuda_engine": "ICudaEngine",
    "get_error": "ParserError",
    "get_input": "ITensor",
    "get_layer": "ILayer",
    "get_output": "ITensor",
}
# Names of parameters and attributes, whose class no assignment shows.
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
# Attributes of NumPy's arrays and of our own values that some version of TensorRT has too.
OURS = {"itemsize", "metadata", "precision"}
MODULES = sorted(str(path.relative_to(ENGINE).with_suffix("")) for path in ENGINE.rglob("*.py"))
# Classes and members of TensorRT that not all versions have, and from where on, or up to where.
FROM_10 = VERSIONS[1:]
TO_10 = [v for v in VERSIONS if v.startswith(("8.", "10."))]
RTX = VERSIONS[-1:]
PARTIAL = {
    "BuilderFlag.ENABLE_TACTIC_HEURISTIC": VERSIONS[:1],
    "BuilderFlag.FP16": TO_10,
    "BuilderFlag.INT8": TO_10,
    "BuilderFlag.OBEY_PRECISION_CONSTRAINTS": TO_10,
    "BuilderFlag.STRIP_PLAN": FROM_10,
    "BuilderFlag.VERSION_COMPATIBLE": FROM_10,
    "ComputeCapability": RTX,
    "CudaGraphStrategy": RTX,
    "CudaGraphStrategy.WHOLE_GRAPH_CAPTURE": RTX,
    "ExecutionContextAllocationStrategy": FROM_10,
    "ExecutionContextAllocationStrategy.USER_MANAGED": FROM_10,
    "HardwareCompatibilityLevel": FROM_10,
    "IBuilderConfig.builder_optimization_level": FROM_10,
    "IBuilderConfig.hardware_compatibility_level": FROM_10,
    "IBuilderConfig.int8_calibrator": TO_10,
    "IBuilderConfig.num_compute_capabilities": RTX,
    "IBuilderConfig.progress_monitor": FROM_10,
    "IBuilderConfig.set_compute_capability": RTX,
    "ILayer.precision": TO_10,
    "ILayer.set_output_type": TO_10,
    "ICudaEngine.create_execution_context_without_device_memory": TO_10,
    "ICudaEngine.create_runtime_config": VERSIONS[3:],
    "IExecutionContext.set_device_memory": FROM_10,
    "IInt8EntropyCalibrator2": TO_10,
    "IProgressMonitor": FROM_10,
    "IRuntimeConfig.cuda_graph_strategy": RTX,
    "IRuntimeConfig.set_execution_context_allocation_strategy": VERSIONS[3:],
    "OnnxParser.set_flag": FROM_10,
    "ICudaEngine.create_serialization_config": FROM_10,
    "ICudaEngine.serialize_with_config": FROM_10,
    "OnnxParserRefitter": FROM_10,
    "OnnxParserRefitter.get_error": FROM_10,
    "OnnxParserRefitter.num_errors": FROM_10,
    "OnnxParserRefitter.refit_from_file": FROM_10,
    "OnnxParserFlag": FROM_10,
    "OnnxParserFlag.ADJUST_FOR_DLA": ["10.16.1.11", "11.0.0.114", "11.4.0.106", *RTX],
    "ParserError.node_name": FROM_10,
    "ParserError.node_operator": FROM_10,
    "Runtime.engine_host_code_allowed": FROM_10,
    "SerializationFlag": FROM_10,
    "SerializationFlag.EXCLUDE_WEIGHTS": FROM_10,
    "SerializationFlag.INCLUDE_REFIT": ["10.16.1.11", "11.0.0.114", "11.4.0.106", *RTX],
}


def classes(source: str, known: set[str]) -> dict[str, str]:
    """Classes of TensorRT of a module's variables, by their names without a leading underscore."""
    # In a module that does not have our wrapper, `layer` and so on are something else.
    names, tree = dict(NAMES) if "TensorRt" in source else {}, ast.parse(source)
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)):
            continue
        maker = getattr(node.value.func, "attr", "")
        kind = MADE_BY.get(maker, maker if maker in known else None)
        for target in node.targets:
            name = getattr(target, "attr", getattr(target, "id", ""))
            if kind is not None:
                names[name.lstrip("_")] = kind
    return names


def accesses(source: str) -> list[tuple[str, str]]:
    """Class (empty where it is unknown) and attribute of each access in a module's text."""
    known = {name for version in VERSIONS for name in surface(version)}
    names, pairs = classes(source, known), []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            value, attribute = node.value, node.attr
        elif (
            isinstance(node, ast.Call)
            and getattr(node.func, "id", "") in ("getattr", "hasattr")
            and isinstance(node.args[1], ast.Constant)
        ):
            value, attribute = node.args[0], str(node.args[1].value)
        else:
            continue
        made = getattr(getattr(value, "func", None), "attr", "")  # layer.get_output(0).dtype
        base = value.attr if isinstance(value, ast.Attribute) else getattr(value, "id", "")
        kind = base if base in known else MADE_BY.get(made, names.get(base.lstrip("_"), ""))
        pairs.append(("module" if base == "module" else kind, attribute))
    return [pair for pair in pairs if not pair[1].startswith("__")]


def touched(source: str) -> set[str]:
    """`Class`, `Class.attribute` and `Enum.MEMBER` of TensorRT that a module's text names."""
    return {
        attribute if kind == "module" else f"{kind}.{attribute}"
        for kind, attribute in accesses(source)
        if kind
    }


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


@pytest.mark.parametrize("module", MODULES)
def test_of_objects_of_unknown_class_too(module: str) -> None:
    # Whatever a variable is called: an attribute that some versions lack is a known one.
    listed = {name.split(".")[-1] for name in PARTIAL} | OURS
    for kind, attribute in accesses((ENGINE / f"{module}.py").read_text()):
        versions = {v for v in VERSIONS for one in surface(v).values() if attribute in one}
        if not kind and 0 < len(versions) < len(VERSIONS):
            assert attribute in listed, attribute


def test_the_modules_are_found() -> None:
    assert {m for m in MODULES if touched((ENGINE / f"{m}.py").read_text())} >= {
        *("builder/config", "builder/progress", "builder/build", "builder/onnx_parser"),
        *("builder/timing_cache", "calibration_cache", "compat", "execution_context"),
    }


def test_the_list_of_partial_attributes_has_no_idle_entry() -> None:
    names = set().union(*(touched((ENGINE / f"{m}.py").read_text()) for m in MODULES))
    assert set(PARTIAL) <= names


def test_the_hardware_that_is_named_by_a_string_exists() -> None:
    names = build_config._HARDWARE.values()
    found = {name: having(f"HardwareCompatibilityLevel.{name}") for name in names}
    assert found == {"AMPERE_PLUS": FROM_10, "SAME_COMPUTE_CAPABILITY": VERSIONS[3:]}


def test_what_is_touched_is_found_in_the_text() -> None:
    text = "trt: TensorRt; "
    text += "trt.module.Builder(log); config.set_flag(flags.FP16); self._engine.num_bindings; a.b"
    assert touched(text) == {
        *("Builder", "BuilderFlag.FP16", "IBuilderConfig.set_flag", "ICudaEngine.num_bindings"),
    }
    assert having("ICudaEngine.num_bindings") == ["8.5.3.1"]
    assert having("Nothing") == []


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("x = trt.module.Builder(log)\nx.max_batch_size", "Builder.max_batch_size"),
        ("self._x = b.create_network(0)\nself._x.has_implicit", "INetworkDefinition.has_implicit"),
        ("y = e.create_execution_context()\nhasattr(y, 'gone')", "IExecutionContext.gone"),
        ("n.get_layer(0).precision", "ILayer.precision"),
        ("trt: TensorRt; getattr(config, 'int8_calibrator')", "IBuilderConfig.int8_calibrator"),
    ],
)
def test_the_name_of_a_variable_does_not_matter(text: str, name: str) -> None:
    assert name in touched(text)
