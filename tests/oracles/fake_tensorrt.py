"""A stand-in for the Python modules ``tensorrt`` and ``tensorrt_rtx`` of each version.

Its classes have exactly the attributes that the version has (tests/golden/tensorrt_api.json, listed
from the real bindings): to touch another one is an AttributeError. What the builder and a session
need also behaves; the rest is there and refuses to be used.

::

    trt = fake_tensorrt("10.3.0", Scenario(layers=(("conv", "CONVOLUTION", "FLOAT"),)))
    monkeypatch.setitem(sys.modules, "tensorrt", trt)

A plan that it builds is text that says how it was built: `read_plan`.
"""

import enum
import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

GOLDEN = Path(__file__).parents[1] / "golden" / "tensorrt_api.json"
MAGIC = b"ftrt: a fake plan\n"  # it begins as a real one does
RTX = "tensorrt_rtx-1.7.1"
VERSIONS = ("8.5.3.1", "10.3.0", "11.4.0.106", RTX)

Tensor = tuple[str, str, tuple[int, ...]]  # name, type, shape


@dataclass
class Scenario:
    """What the fake finds in a model, what goes wrong, and what it was told.

    Attributes:
        inputs: of any model that is parsed, and of any plan that says nothing of its own.
        outputs: likewise.
        layers: name, type and type of the output of each layer, which reads the one before it.
        compiled: what the inspector tells of the layers of any plan; None for their names alone.
        parser_errors: node index, name, operator and words of what the parser refuses.
        build_error: what the build fails with; None if it succeeds.
        steps: of a build.
        on_step: called at every one of them.
        dla_cores: deep learning accelerators.
        dla_refuses: names of the layers that these do not run.
        timings: what a build adds to the timing cache.
        activations: bytes of GPU memory that a context needs; it gets them before it runs.
        driver: whether there is one; the fake of 8.x starts only with it.
        on_execute: called by ``execute_async_v3``: shapes and addresses by name, and the stream.
        layer_ms: name and milliseconds of each layer, as the profiler reports them in a run.
        builds: settings of each build, as `read_plan` gives them.
        ran_on: DLA core of each plan that was loaded; None for the default.
    """

    inputs: Sequence[Tensor] = (("images", "FLOAT", (1, 3, 32, 64)),)
    outputs: Sequence[Tensor] = (("boxes", "FLOAT", (1, 5, 4)), ("scores", "FLOAT", (1, 5)))
    layers: Sequence[tuple[str, str, str]] = (("/network/body/conv", "CONVOLUTION", "FLOAT"),)
    compiled: Sequence[dict[str, Any]] | None = None
    parser_errors: Sequence[tuple[int, str, str, str]] = ()
    build_error: str | None = None
    steps: int = 3
    on_step: Callable[[int], None] = lambda step: None
    dla_cores: int = 0
    dla_refuses: frozenset[str] = frozenset()
    timings: str = "timed"
    activations: int = 1 << 20
    driver: bool = True
    on_execute: Callable[[dict[str, tuple[int, ...]], dict[str, int], int], None] = (
        lambda shapes, addresses, stream: None
    )
    layer_ms: Callable[[], Sequence[tuple[str, float]]] = lambda: ()
    builds: list[dict[str, Any]] = field(default_factory=list)
    ran_on: list[int | None] = field(default_factory=list)


@cache
def _golden() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(GOLDEN.read_text())
    return loaded


def surface(version: str) -> dict[str, frozenset[str]]:
    """The public attributes of each class that a version has."""
    golden = _golden()
    index = golden["versions"].index(version)
    found = {
        name: frozenset(a for a, there in attributes.items() if there[index] == "1")
        for name, attributes in golden["classes"].items()
    }
    return {name: attributes for name, attributes in found.items() if attributes}


def read_plan(plan: bytes) -> dict[str, Any]:
    """How a fake plan was built: version, flags, network_flags, profiles and so on."""
    assert plan.startswith(MAGIC)
    settings: dict[str, Any] = json.loads(plan.removeprefix(MAGIC))
    return settings


class _Unused:
    """An attribute that the version has and the fake has no behaviour for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, *args: object, **kwargs: object) -> None:
        raise NotImplementedError(f"the fake does not know what {self._name} does")


class _Strict:
    """Only what the version has can be touched; names with "_" are the fake's own."""

    _allowed: frozenset[str]
    _trt: Any

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_"):
            return object.__getattribute__(self, name)
        kind = type(self)
        if name not in kind._allowed:
            raise AttributeError(f"{kind._trt.__version__}: {kind.__name__} has no '{name}'")
        try:
            return object.__getattribute__(self, name)
        except AttributeError:
            return _Unused(f"{kind.__name__}.{name}")

    def __setattr__(self, name: str, value: object) -> None:
        if not name.startswith("_") and name not in type(self)._allowed:
            raise AttributeError(f"{type(self)._trt.__version__} has no '{name}' to set")
        object.__setattr__(self, name, value)


class _HostMemory(bytes):
    @property
    def nbytes(self) -> int:
        return len(self)


class _ILogger:
    class Severity(enum.Enum):
        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2
        INFO = 3
        VERBOSE = 4

    def __init__(self) -> None:
        self._ready = True  # pybind11 refuses an object whose base was not initialised


class _Tensor(_Strict):
    def __init__(self, tensor: Tensor) -> None:
        self.name, kind, self.shape = tensor
        self.dtype = type(self)._trt.DataType[kind]


class _Layer(_Strict):
    def __init__(self, name: str, kind: str, dtype: str) -> None:
        self.name = name
        self.type = type(self)._trt.LayerType[kind]
        self.num_outputs = 1
        self._output = type(self)._trt.ITensor((f"{name}_output", dtype, (1,)))
        self._output_types: dict[int, Any] = {}

    def get_output(self, index: int) -> Any:
        return self._output if index == 0 else None

    def get_input(self, index: int) -> Any:
        return self._source if index == 0 else None

    def set_output_type(self, index: int, dtype: Any) -> None:
        self._output_types[index] = dtype


class _Network(_Strict):
    def __init__(self, flags: int) -> None:
        self._flags = flags
        self._layers: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []

    num_layers = property(lambda self: len(self._layers))
    num_inputs = property(lambda self: len(self._inputs))
    num_outputs = property(lambda self: len(self._outputs))

    def get_layer(self, index: int) -> Any:
        return self._layers[index]

    def get_input(self, index: int) -> Any:
        return self._inputs[index]

    def get_output(self, index: int) -> Any:
        return self._outputs[index]


class _ParserError(_Strict):
    def __init__(self, node: int, name: str, operator: str, words: str) -> None:
        self._values = (node, name, operator, words)

    def node(self) -> int:
        return self._values[0]

    def node_name(self) -> str:
        return self._values[1]

    def node_operator(self) -> str:
        return self._values[2]

    def desc(self) -> str:
        return self._values[3]


class _Parser(_Strict):
    def __init__(self, network: Any, logger: Any) -> None:
        assert logger._ready
        assert network is not None, "create_network refused its flags"
        self._network, self._logger = network, logger
        self._errors: list[Any] = []
        self._flags: set[str] = set()

    num_errors = property(lambda self: len(self._errors))

    def set_flag(self, flag: Any) -> None:
        self._flags.add(flag.name)

    def parse_from_file(self, path: str) -> bool:
        assert Path(path).is_file()
        trt, network = type(self)._trt, self._network
        flags = trt.NetworkDefinitionCreationFlag.__members__
        # 8.x parses networks of explicit batch only; those of 10 always are; 11 has no such flag.
        if "8." in trt.__version__[:2] and not network._flags >> flags["EXPLICIT_BATCH"] & 1:
            self._errors = [trt.ParserError(-1, "", "", "the network must have explicit batch")]
            return False
        scenario = trt._scenario
        say(trt, self._logger, "INFO", "Parsing the model")
        self._errors = [trt.ParserError(*error) for error in scenario.parser_errors]
        network._inputs = [trt.ITensor(tensor) for tensor in scenario.inputs]
        network._layers = [trt.ILayer(*layer) for layer in scenario.layers]
        tensors = [network._inputs[0], *(layer.get_output(0) for layer in network._layers)]
        for layer, source in zip(network._layers, tensors, strict=False):
            layer._source = source
        network._outputs = [trt.ITensor(tensor) for tensor in scenario.outputs]
        return not self._errors

    def get_error(self, index: int) -> Any:
        return self._errors[index]


class _Profile(_Strict):
    def __init__(self) -> None:
        self._shapes: dict[str, list[tuple[int, ...]]] = {}

    def set_shape(self, name: str, low: Any, usual: Any, high: Any) -> None:
        self._shapes[name] = [tuple(low), tuple(usual), tuple(high)]


class _TimingCache(_Strict):
    def __init__(self, lines: set[str]) -> None:
        self._lines = lines

    def combine(self, other: Any, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        self._lines |= other._lines
        return True

    def serialize(self) -> _HostMemory:
        return _HostMemory(json.dumps(sorted(self._lines)).encode())


class _Config(_Strict):
    def __init__(self) -> None:
        self._flags: set[str] = set()
        self._pools: dict[str, int] = {}
        self._profiles: list[Any] = []
        self._cache: Any = None
        self._targets: dict[int, str] = {}
        self._devices: dict[str, str] = {}
        self._preview: set[str] = set()
        self._sources = sum(1 << int(source) for source in type(self)._trt.TacticSource)

    def set_flag(self, flag: Any) -> None:
        self._flags.add(flag.name)

    def get_tactic_sources(self) -> int:
        return self._sources

    def set_tactic_sources(self, sources: int) -> bool:
        self._sources = sources
        return True

    def set_preview_feature(self, feature: Any, enable: bool) -> None:
        (self._preview.add if enable else self._preview.discard)(feature.name)

    def set_memory_pool_limit(self, pool: Any, size: int) -> None:
        self._pools[pool.name] = size

    def add_optimization_profile(self, profile: Any) -> int:
        self._profiles.append(profile)
        return len(self._profiles) - 1

    def create_timing_cache(self, data: bytes) -> Any:
        try:
            lines = set(json.loads(data)) if data else set()
        except ValueError:
            return None
        return type(self)._trt.ITimingCache(lines)

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        self._cache = cache
        return True

    def set_compute_capability(self, capability: Any, index: int) -> bool:
        self._targets[index] = capability.name
        return True

    def can_run_on_DLA(self, layer: Any) -> bool:
        return layer.name not in type(self)._trt._scenario.dla_refuses

    def set_device_type(self, layer: Any, device: Any) -> None:
        self._devices[layer.name] = device.name

    def _set(self, name: str) -> Any:
        value = self.__dict__.get(name)
        return getattr(value, "name", value)


class _Builder(_Strict):
    def __init__(self, logger: Any) -> None:
        trt = type(self)._trt
        assert logger._ready
        _start(trt, logger)
        self._logger = logger
        self.num_DLA_cores = trt._scenario.dla_cores

    def create_network(self, flags: int = 0) -> Any:
        trt = type(self)._trt
        known = sum(1 << int(f) for f in trt.NetworkDefinitionCreationFlag)
        return trt.INetworkDefinition(flags) if flags & ~known == 0 else None

    def create_builder_config(self) -> Any:
        return type(self)._trt.IBuilderConfig()

    def create_optimization_profile(self) -> Any:
        return type(self)._trt.IOptimizationProfile()

    def build_serialized_network(self, network: Any, config: Any) -> Any:
        trt = type(self)._trt
        strong = trt.NetworkDefinitionCreationFlag.__members__.get("STRONGLY_TYPED")
        settings = {
            "version": trt.__version__,
            "strong": strong is not None and bool(network._flags >> int(strong) & 1),
            "flags": sorted(config._flags),
            "pools": config._pools,
            "profiles": [profile._shapes for profile in config._profiles],
            "targets": [config._targets[i] for i in range(len(config._targets))],
            "devices": config._devices,
            "kernels": [s.name for s in trt.TacticSource if config._sources >> int(s) & 1],
            "preview": sorted(config._preview),
            "single": [
                layer.name for layer in network._layers if layer._output_types.get(0) is not None
            ],
            "timings_before": sorted(config._cache._lines) if config._cache else None,
            "calibrator": config._set("int8_calibrator") is not None,
            **{
                name: config._set(name)
                for name in (
                    *("builder_optimization_level", "hardware_compatibility_level", "DLA_core"),
                    *("num_compute_capabilities", "profiling_verbosity"),
                )
            },
            "inputs": [(t.name, t.dtype.name, t.shape) for t in network._inputs],
            "outputs": [(t.name, t.dtype.name, t.shape) for t in network._outputs],
        }
        return self._build(settings, config)

    def _build(self, settings: dict[str, Any], config: Any) -> Any:
        trt = type(self)._trt
        trt._scenario.builds.append(settings)
        if settings["strong"] and {"FP16", "INT8"} & set(settings["flags"]):
            return _fail(trt, self._logger, "a strongly typed network takes no precision flags")
        free = any(-1 in shape for _, _, shape in settings["inputs"])
        if free and not settings["profiles"]:
            return _fail(trt, self._logger, "the network is dynamic, and there is no profile")
        if not self._steps(config):
            return _fail(trt, self._logger, "Build canceled by user")
        if trt._scenario.build_error is not None:
            return _fail(trt, self._logger, trt._scenario.build_error)
        if config._cache is not None:
            config._cache._lines.add(trt._scenario.timings)
        return _HostMemory(MAGIC + json.dumps(settings).encode())

    @staticmethod
    def _steps(config: Any) -> bool:
        scenario = type(config)._trt._scenario
        monitor = config.__dict__.get("progress_monitor")
        if monitor is not None:
            monitor.phase_start("Building engine", None, 2)
            monitor.phase_start("Timing kernels", "Building engine", scenario.steps)
        going = True
        for step in range(scenario.steps):
            scenario.on_step(step)
            if monitor is not None and not monitor.step_complete("Timing kernels", step):
                going = False
                break
        if monitor is not None:
            monitor.phase_finish("Timing kernels")
            monitor.phase_finish("Building engine")
        return going


class _Runtime(_Strict):
    def __init__(self, logger: Any) -> None:
        assert logger._ready
        trt = type(self)._trt
        _start(trt, logger)
        self._logger = logger
        self.num_DLA_cores = trt._scenario.dla_cores

    def deserialize_cuda_engine(self, plan: bytes) -> Any:
        trt = type(self)._trt
        if not bytes(plan).startswith(MAGIC):
            return _fail(trt, self._logger, "Serialization assertion magicTag failed")
        settings = read_plan(bytes(plan))
        if settings.get("version", trt.__version__) != trt.__version__:
            return _fail(trt, self._logger, "Version tag does not match")
        if not trt._scenario.driver:
            return _fail(trt, self._logger, "CUDA driver version is insufficient")
        trt._scenario.ran_on.append(self.__dict__.get("DLA_core"))
        return trt.ICudaEngine(settings)


class _Engine(_Strict):
    def __init__(self, settings: dict[str, Any]) -> None:
        scenario = type(self)._trt._scenario
        self._settings = settings
        self.refittable = "REFIT" in settings.get("flags", ())
        self._inputs = [tuple(t) for t in settings.get("inputs", scenario.inputs)]
        self._outputs = [tuple(t) for t in settings.get("outputs", scenario.outputs)]
        self._io: dict[str, tuple[str, tuple[int, ...]]] = {
            name: (kind, tuple(shape)) for name, kind, shape in self._inputs + self._outputs
        }
        self._profiles = settings.get("profiles", [])
        self.num_io_tensors = len(self._io)
        for name in ("device_memory_size", "device_memory_size_v2"):
            if name in type(self)._allowed:
                setattr(self, name, scenario.activations)

    def get_tensor_name(self, index: int) -> str:
        return list(self._io)[index]

    def get_tensor_mode(self, name: str) -> Any:
        mode = type(self)._trt.TensorIOMode
        return mode.INPUT if name in [t[0] for t in self._inputs] else mode.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        return type(self)._trt.DataType[self._io[name][0]]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._io[name][1]

    def get_tensor_location(self, name: str) -> Any:
        return type(self)._trt.TensorLocation.DEVICE

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        return [tuple(shape) for shape in self._profiles[profile][name]]

    def create_execution_context(self, how: Any) -> Any:
        trt = type(self)._trt
        if isinstance(how, trt.ExecutionContextAllocationStrategy):
            strategy = how
        else:
            assert isinstance(how, trt.IRuntimeConfig)
            strategy = how._strategy
        assert strategy is trt.ExecutionContextAllocationStrategy.USER_MANAGED
        return trt.IExecutionContext(self)

    def create_execution_context_without_device_memory(self) -> Any:
        return type(self)._trt.IExecutionContext(self)

    def create_runtime_config(self) -> Any:
        return type(self)._trt.IRuntimeConfig()

    def create_serialization_config(self) -> Any:
        return type(self)._trt.ISerializationConfig()

    def serialize_with_config(self, config: Any) -> Any:
        weights = {} if "EXCLUDE_WEIGHTS" in config._flags else self._settings
        settings = {**self._settings, "weights": weights.get("weights")}
        return _HostMemory(MAGIC + json.dumps(settings).encode())

    def create_engine_inspector(self) -> Any:
        return type(self)._trt.EngineInspector(self)


class _Refitter(_Strict):
    def __init__(self, engine: Any, logger: Any) -> None:
        assert logger._ready
        assert engine.refittable, "the weights of this engine are fixed"
        self._engine = engine
        self._weights: str | None = None

    def get_missing_weights(self) -> list[str]:
        return [] if self._weights else ["/network/body/conv.weight"]

    def refit_cuda_engine(self) -> bool:
        self._engine._settings["weights"] = self._weights
        return self._weights is not None


class _ParserRefitter(_Strict):
    def __init__(self, refitter: Any, logger: Any) -> None:
        self._refitter = refitter
        self.num_errors = 0

    def refit_from_file(self, path: str) -> bool:
        if type(self)._trt._scenario.parser_errors:
            return False
        self._refitter._weights = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        return True


class _Serialization(_Strict):
    def __init__(self) -> None:
        self._flags = {"EXCLUDE_WEIGHTS"}  # what a plan without weights begins with

    def set_flag(self, flag: Any) -> bool:
        self._flags.add(flag.name)
        return True

    def clear_flag(self, flag: Any) -> bool:
        self._flags.discard(flag.name)
        return True


class _Inspector(_Strict):
    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def get_engine_information(self, form: Any) -> str:
        trt = type(self)._trt
        assert form is trt.LayerInformationFormat.JSON
        # The key has another name from TensorRT 11 on, and in TensorRT-RTX.
        old = trt.__version__.startswith(("8.", "10."))
        layers = [{"Name": name, "LayerType": kind} for name, kind, _ in trt._scenario.layers]
        layers = layers if trt._scenario.compiled is None else list(trt._scenario.compiled)
        key = "Bindings" if old else "I/O Tensors"
        return json.dumps({"Layers": layers, key: list(self._engine._io)})


class _RuntimeConfig(_Strict):
    def set_execution_context_allocation_strategy(self, strategy: Any) -> None:
        self._strategy = strategy


class _Context(_Strict):
    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self._shapes: dict[str, tuple[int, ...]] = {
            name: shape for name, (_, shape) in engine._io.items()
        }
        self._addresses: dict[str, int] = {}
        self._memory: tuple[int, int] | None = None

    def set_device_memory(self, address: int, size: int) -> None:
        self._memory = address, size

    def set_input_shape(self, name: str, shape: Sequence[int]) -> bool:
        declared = self.engine._io[name][1]
        fits = len(shape) == len(declared) and all(
            want in (-1, got) for want, got in zip(declared, shape, strict=True)
        )
        if fits:
            batch = shape[0]
            self._shapes = {
                n: tuple(batch if i == 0 and d == -1 else d for i, d in enumerate(s))
                for n, (_, s) in self.engine._io.items()
            }
        return fits

    def infer_shapes(self) -> list[str]:
        return [name for name, shape in self._shapes.items() if -1 in shape]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._shapes[name]

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = int(address)
        return name in self._shapes

    def get_tensor_address(self, name: str) -> int:
        return self._addresses.get(name, 0)

    def execute_async_v3(self, stream_handle: int) -> bool:
        if set(self._addresses) != set(self._shapes) or self.infer_shapes():
            return False
        scenario = type(self)._trt._scenario
        given = self.__dict__.get("device_memory")
        memory, size = self._memory or (given, scenario.activations)
        assert memory, "a context runs without memory for its activations"
        assert size >= scenario.activations
        # "" is the memory of the activations: no input or output has that name.
        scenario.on_execute(self._shapes, {**self._addresses, "": memory}, stream_handle)
        if (profiler := self.__dict__.get("profiler")) is not None:
            assert profiler._ready
            for name, milliseconds in scenario.layer_ms():
                profiler.report_layer_time(name, milliseconds)
        return True


_BEHAVIOUR: dict[str, type[_Strict]] = {
    "Builder": _Builder,
    "EngineInspector": _Inspector,
    "IBuilderConfig": _Config,
    "ICudaEngine": _Engine,
    "IExecutionContext": _Context,
    "ILayer": _Layer,
    "INetworkDefinition": _Network,
    "IOptimizationProfile": _Profile,
    "IRuntimeConfig": _RuntimeConfig,
    "ITensor": _Tensor,
    "ITimingCache": _TimingCache,
    "OnnxParser": _Parser,
    "ParserError": _ParserError,
    "Refitter": _Refitter,
    "OnnxParserRefitter": _ParserRefitter,
    "ISerializationConfig": _Serialization,
    "Runtime": _Runtime,
}


def fake_tensorrt(version: str, scenario: Scenario | None = None) -> Any:
    """Make the module of a version of tests/golden/tensorrt_api.json."""
    trt: Any = ModuleType("tensorrt_rtx" if version == RTX else "tensorrt")
    trt.__version__ = version.removeprefix("tensorrt_rtx-")
    trt._scenario = scenario or Scenario()
    kind: Any
    for name, attributes in surface(version).items():
        if name in _BEHAVIOUR:
            kind = type(name, (_BEHAVIOUR[name],), {"_allowed": attributes, "_trt": trt})
        elif name == "ILogger":
            kind = _ILogger
        elif {"name", "value"} <= attributes:
            members = sorted(attributes - {"name", "value", "itemsize"})
            kind = _enumeration(name, members, start=0)
        else:
            kind = type(name, (), {"__init__": _interface_init})
        setattr(trt, name, kind)
    return trt


_enumeration: Any = enum.IntEnum  # mypy knows its functional form with constant names only


def _interface_init(self: Any) -> None:
    self._ready = True


def _start(trt: Any, logger: Any) -> None:
    if not trt._scenario.driver:
        _fail(trt, logger, "CUDA initialization failure with error: 35")
        if trt.__version__.startswith("8."):
            raise TypeError("pybind11::init(): factory function returned nullptr")


def _fail(trt: Any, logger: Any, words: str) -> None:
    say(trt, logger, "ERROR", words)


def say(trt: Any, logger: Any, severity: str, words: str) -> None:
    """Log something; what the logger raises, the real bindings print and swallow."""
    with suppress(BaseException):
        logger.log(trt.ILogger.Severity[severity], words)
