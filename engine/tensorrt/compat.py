"""Every difference between TensorRT 8.5, 8.6, 10, 11 and TensorRT-RTX, found by feature.

A feature is there or not; no version number is ever compared: TensorRT-RTX counts its own, and a
Jetson's bindings differ from a desktop's of the same number. What each has is listed
in ``tests/golden/tensorrt_api.json``, and the tests hold every name used here against
it; 8.6 is not in the list.

====================================  ======  ======  ======  ======  ======
feature                                  8.5     8.6      10      11     RTX
====================================  ======  ======  ======  ======  ======
strong typing                              -       -     yes  always  always
weak flags (FP16, INT8), calibrators     yes     yes     yes       -       -
explicit batch as a flag              needed  needed     yes       -       -
optimisation level                         -     yes     yes     yes     yes
plans for other versions and GPUs          -     yes     yes     yes       -
progress monitor                           -       -     yes     yes     yes
``device_memory_size_v2``                  -       -     yes    only    only
timing cache                             yes     yes     yes     yes       -
compute capabilities as targets            -       -       -       -     yes
====================================  ======  ======  ======  ======  ======

Nothing of TensorRT is imported before :func:`load` is called.
"""

from __future__ import annotations

import functools
import importlib
import json
import logging
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast
from weakref import WeakSet

from jdetrt.errors import EngineError, MissingDependencyError, SessionError
from jdetrt.runtime.signals import interrupt_held
from jdetrt.types import TensorSpec

__all__ = [
    "BACKENDS",
    "Backend",
    "Log",
    "TensorRt",
    "deserialize",
    "device_memory_size",
    "dtype_name",
    "engine_information",
    "io_specs",
    "load",
]

Backend = Literal["tensorrt", "tensorrt-rtx"]
# What --backend says -> the Python module.
BACKENDS: Mapping[Backend, str] = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
_EXTRAS = {"tensorrt": "tensorrt", "tensorrt-rtx": "rtx"}
_ON_JETSON = (
    "On a Jetson it comes with JetPack: make the environment with "
    "`python3 -m venv --system-site-packages`."
)
# TensorRT's element types -> NumPy's; trt.nptype of 8.5 fails with the NumPy of today.
_DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT8": "int8",
    "UINT8": "uint8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
}
_LEVELS = {
    "INTERNAL_ERROR": logging.ERROR,
    "ERROR": logging.ERROR,
    "WARNING": logging.WARNING,
    "INFO": logging.INFO,
    "VERBOSE": logging.DEBUG,
}
_ERRORS_KEPT = 50
# TensorRT 8 has no INT64: shapes and the ends of slices ("to the last") are what it clamps.
_HARMLESS = ("has been generated with INT64 weights", "outside the range of INT32 was clamped")
_COMPILED = ("Layers:", "Total Activation Memory:", "Total Weights Memory:")

_log = logging.getLogger("jdetrt.engine.tensorrt")


@dataclass(frozen=True)
class TensorRt:
    """One TensorRT that is loaded, and what it can do.

    Attributes:
        backend: ``"tensorrt"`` or ``"tensorrt-rtx"``.
        module: its Python module.
    """

    backend: Backend
    module: Any

    @property
    def version(self) -> str:
        """Its own version, such as ``"10.3.0"``; for people and for files, not to decide by."""
        return str(self.module.__version__)

    @property
    def strong_typing(self) -> bool:
        """True if every tensor can have exactly the type that the ONNX graph gives it."""
        return self.has("NetworkDefinitionCreationFlag", "STRONGLY_TYPED")

    @property
    def weak_typing(self) -> bool:
        """True if TensorRT itself may choose among the precisions that are switched on."""
        return self.has("BuilderFlag", "FP16")

    @property
    def calibration(self) -> bool:
        """True if INT8 ranges can come from a calibrator."""
        return hasattr(self.module, "IInt8EntropyCalibrator2")

    @property
    def ahead_of_time(self) -> bool:
        """True if it builds for compute capabilities that are named, without a GPU."""
        return hasattr(self.module, "ComputeCapability")

    @property
    def timing_cache(self) -> bool:
        """True if timings of kernels can be kept; ahead of time none are taken."""
        return not self.ahead_of_time

    @property
    def progress(self) -> bool:
        """True if a build reports progress and can be stopped."""
        return hasattr(self.module, "IProgressMonitor")

    def has(self, enum: str, member: str) -> bool:
        """Tell whether it has this member of this enumeration, such as ``BuilderFlag.FP16``."""
        kind = getattr(self.module, enum, None)
        return kind is not None and member in kind.__members__

    def network_flags(self, *, strong: bool) -> int:
        """Flags for ``Builder.create_network``: explicit batch, and strong typing if wanted."""
        kind = self.module.NetworkDefinitionCreationFlag
        wanted = ["EXPLICIT_BATCH", *(["STRONGLY_TYPED"] if strong else [])]
        return sum(1 << int(kind.__members__[name]) for name in wanted if name in kind.__members__)


def load(backend: str = "tensorrt") -> TensorRt:
    """Import TensorRT (``"tensorrt"``) or TensorRT-RTX (``"tensorrt-rtx"``).

    Raises:
        MissingDependencyError: it is not installed.
        EngineError: it is installed, but its libraries cannot be loaded.
    """
    kind = cast("Backend", backend)
    name = BACKENDS[kind]
    try:
        return TensorRt(kind, importlib.import_module(name))
    except ModuleNotFoundError as err:
        if err.name != name:
            raise _broken(name, err) from err
        note = _ON_JETSON if backend == "tensorrt" else ""
        raise MissingDependencyError(name, _EXTRAS[kind], f"The backend '{backend}'", note) from err
    except Exception as err:  # whatever its own code raises while it looks for its libraries
        raise _broken(name, err) from err


def _broken(name: str, err: Exception) -> EngineError:
    return EngineError(
        f"the Python package '{name}' is installed but cannot be loaded ({err}); "
        "`jdetrt doctor` says what is missing"
    )


class Log:
    """Messages of TensorRT: passed on to ``logging`` and, where it is an error, kept.

    Pass ``log.logger`` to TensorRT. TensorRT takes one logger a process and ignores any other, so
    all logs of a module share one; each keeps the errors that come while it is alive.

    Attributes:
        logger: the ``ILogger``.
        compiled: what TensorRT-RTX tells of the plan that it made (`tensorrt.layers`).
    """

    def __init__(self, trt: TensorRt) -> None:
        self._errors: deque[str] = deque(maxlen=_ERRORS_KEPT)
        self.compiled: list[str] = []
        self.logger, logs = _logger(trt.module)
        logs.add(self)

    def keep(self, message: str) -> None:
        """Keep an error; called from any thread."""
        self._errors.append(message.strip())

    def take_errors(self) -> list[str]:
        """The errors since the last call, each once, oldest first."""
        found = list(dict.fromkeys(self._errors))
        self._errors.clear()
        return found

    def reason(self) -> str:
        """The errors since the last call as text; says so where there are none."""
        return "; ".join(self.take_errors()) or "TensorRT gave no reason"


@functools.cache
def _logger(module: Any) -> tuple[Any, WeakSet[Log]]:
    """The one logger of a module, and the logs that it feeds."""
    base: Any = module.ILogger
    logs: WeakSet[Log] = WeakSet()

    class Logger(base):  # type: ignore[misc]  # its base is only known here
        def __init__(self) -> None:
            base.__init__(self)  # pybind11 wants it by name

        def log(self, severity: Any, message: str) -> None:
            level = _LEVELS.get(severity.name, logging.INFO)
            if level == logging.ERROR:
                for log in list(logs):
                    log.keep(message)
                level = logging.INFO  # it becomes part of an exception
            elif any(words in message for words in _HARMLESS):
                level = logging.INFO
            elif message.startswith(_COMPILED):
                for log in list(logs):
                    log.compiled.append(message)
            _log.log(level, "%s", message)

    return Logger(), logs


def deserialize(
    trt: TensorRt,
    log: Log,
    plan: bytes | memoryview,
    *,
    host_code: bool,
    dla_core: int | None = None,
) -> Any:
    """Make an engine of the bytes of a plan; check its sidecar first (`tensorrt.plan`).

    Args:
        trt: the module.
        log: where the reason of a failure is found.
        plan: the file's bytes.
        host_code: the plan is version-compatible and so carries code that runs on the CPU: allow
            it. Only for files that are trusted.
        dla_core: the deep learning accelerator that the plan was built for; None for none.

    Returns:
        The ``ICudaEngine``. It keeps the runtime that made it alive.

    Raises:
        SessionError: there is no driver or no GPU, or TensorRT refuses the plan.
    """
    with interrupt_held():  # TensorRT swallows what is raised in its logger
        try:
            runtime = trt.module.Runtime(log.logger)
        except TypeError as err:  # what 8.x makes of a missing driver
            raise SessionError(f"TensorRT {trt.version} cannot start: {log.reason()}") from err
        if host_code:
            if not hasattr(runtime, "engine_host_code_allowed"):
                raise SessionError(
                    f"TensorRT {trt.version} cannot load version-compatible plans; "
                    "build the plan again on this machine"
                )
            runtime.engine_host_code_allowed = True
        if dla_core is not None:
            if dla_core >= runtime.num_DLA_cores:
                raise SessionError(
                    f"the plan is for DLA core {dla_core}, but this machine has "
                    f"{runtime.num_DLA_cores}; build it again without --dla-core"
                )
            runtime.DLA_core = dla_core
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise SessionError(f"TensorRT {trt.version} refuses the plan: {log.reason()}")
        return engine


def io_specs(trt: TensorRt, engine: Any) -> tuple[list[TensorSpec], list[TensorSpec]]:
    """Inputs and outputs of an engine, in its order; -1 where the profile leaves a dimension free.

    Raises:
        SessionError: one has an element type that NumPy does not know.
    """
    inputs: list[TensorSpec] = []
    outputs: list[TensorSpec] = []
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        spec = TensorSpec(
            name,
            dtype_name(engine.get_tensor_dtype(name), name),
            tuple(int(d) for d in engine.get_tensor_shape(name)),
        )
        is_input = engine.get_tensor_mode(name) == trt.module.TensorIOMode.INPUT
        (inputs if is_input else outputs).append(spec)
    return inputs, outputs


def dtype_name(dtype: Any, tensor: str) -> str:
    """NumPy's name of a TensorRT ``DataType``; ``tensor`` is for the message. SessionError."""
    if dtype.name not in _DTYPES:
        raise SessionError(f"'{tensor}' has the type {dtype.name}, which NumPy does not support")
    return _DTYPES[dtype.name]


def device_memory_size(engine: Any) -> int:
    """Bytes of GPU memory that one execution context of the engine needs for its activations."""
    name = "device_memory_size"
    if hasattr(engine, f"{name}_v2"):
        name = f"{name}_v2"
    return int(getattr(engine, name))


def engine_information(trt: TensorRt, engine: Any) -> Mapping[str, Any]:
    """Output of the engine inspector: ``"Layers"`` and ``"I/O Tensors"``.

    Layers are objects with names, precisions and tactics if the plan was built with detailed
    profiling verbosity (``jdetrt build`` does), else plain names. TensorRT up to 10 calls the
    tensors ``"Bindings"``; here they have one name.
    """
    inspector = engine.create_engine_inspector()
    text = inspector.get_engine_information(trt.module.LayerInformationFormat.JSON)
    found: dict[str, Any] = json.loads(text)
    if "Bindings" in found:
        found["I/O Tensors"] = found.pop("Bindings")
    return found
