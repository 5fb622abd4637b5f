"""ONNX Runtime behind the ``Session`` protocol: CPU, and CUDA or TensorRT where present."""

from __future__ import annotations

import logging
import platform
import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import onnxruntime as ort

from jdetrt import inputs
from jdetrt.errors import SessionError
from jdetrt.runtime.opencv import native_name
from jdetrt.runtime.session import SessionBase
from jdetrt.types import Array, TensorSpec

__all__ = ["PROVIDERS", "OrtSession", "products_overflow", "session_options"]

# What --provider says -> what ONNX Runtime calls it, with those it needs beside it. TensorRT is
# never chosen by "auto": it builds an engine while it loads, which takes minutes.
PROVIDERS = {
    "cpu": ["CPUExecutionProvider"],
    "cuda": ["CUDAExecutionProvider", "CPUExecutionProvider"],
    "tensorrt": ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"],
}
_DTYPES = {
    "float": "float32",
    "float16": "float16",
    "double": "float64",
    "uint8": "uint8",
    "int8": "int8",
    "int32": "int32",
    "int64": "int64",
    "bool": "bool",
}
_SILENT = 4  # ONNX Runtime prints what it also raises; below "fatal" nothing is printed
# Of a file of weights that is missing or cut short, in the words of ONNX Runtime 1.16 to 1.32.
_WEIGHTS_FILE = re.compile("[Ee]xternal (data|initializer)|GetFileLength|cannot get file size")

_CPU_INFO = Path("/proc/cpuinfo")

_log = logging.getLogger(__name__)


class OrtSession(SessionBase):
    """An ONNX model loaded by ONNX Runtime. Implements :class:`jdetrt.types.Session`.

    A run takes place in a thread of its own, with the GIL released, so that between ``submit`` and
    ``wait`` the caller's Python goes on.

    Args:
        path: the ``.onnx`` file; weights kept outside of it are looked for beside it.
        provider: ``"cpu"``, ``"cuda"``, ``"tensorrt"``, or ``"auto"``: CUDA where it works, else
            the CPU. A provider asked for by name is used or refused, never silently replaced.
        threads: CPU threads of one operator; None for one a physical core.

    Attributes:
        provider: the one in use, ``"cpu"``, ``"cuda"`` or ``"tensorrt"``.

    Raises:
        SessionError: the file is not a model that ONNX Runtime can load, or the provider is not
            there.
    """

    def __init__(
        self, path: str | Path, *, provider: str = "auto", threads: int | None = None
    ) -> None:
        path = Path(path)
        _check_file(path)
        if threads is not None and threads < 1:
            raise SessionError(f"threads: expected 1 or more, got {threads}")
        self._session, self.provider = _load(path, provider, session_options(threads))
        try:
            super().__init__(
                [_spec(path, node) for node in self._session.get_inputs()],
                [_spec(path, node) for node in self._session.get_outputs()],
                self._session.get_modelmeta().custom_metadata_map,
            )
        except UnicodeDecodeError as err:
            raise SessionError(
                f"{path}: a name or a note in it is not text: it is damaged; copy or export "
                "it again"
            ) from err
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="onnxruntime")

    def close(self) -> None:
        """Wait for a run that is still open and free the model; a second call does nothing."""
        super().close()
        self._worker.shutdown()
        self._session = None

    def _start(self, feeds: Mapping[str, Array]) -> Callable[[], dict[str, Array]]:
        return self._worker.submit(self._run, dict(feeds)).result

    def _run(self, feeds: dict[str, Array]) -> dict[str, Array]:
        start = time.perf_counter()
        names = [spec.name for spec in self._outputs]
        try:
            values = self._session.run(names, feeds)
        except Exception as err:  # ONNX Runtime's errors share no base but Exception
            raise SessionError(f"ONNX Runtime failed to run the model: {_reason(err)}") from err
        self.last_run_seconds = time.perf_counter() - start
        return dict(zip(names, values, strict=True))


def session_options(threads: int | None = None) -> Any:
    """Options of ONNX Runtime that every session here has, an ``onnxruntime.SessionOptions``.

    Args:
        threads: CPU threads of one operator; None for one a physical core.
    """
    options = ort.SessionOptions()
    options.log_severity_level = _SILENT
    options.intra_op_num_threads = threads or 0
    # Threads that spin while they wait for the next operator take the cores from the reader and the
    # association.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if products_overflow():
        # Slower kernels, with uint8 weights. Where products do not overflow, this costs half of the
        # speed and gains nothing.
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def products_overflow(machine: str | None = None, cpu_info: Path = _CPU_INFO) -> bool:
    """Tell whether this CPU adds products of uint8 and int8 in 16 bits: x86 without VNNI does.

    Args:
        machine: architecture; default: of this machine.
        cpu_info: what the Linux kernel says of the CPU. Where there is none, nobody knows, and the
            answer is no.
    """
    if (machine or platform.machine()) not in ("x86_64", "AMD64", "i686"):
        return False
    try:
        return "vnni" not in cpu_info.read_text()
    except OSError:
        return False


def _check_file(path: Path) -> None:
    with inputs.reading(path, SessionError):
        if path.is_dir():
            raise SessionError(f"{path}: is a folder; name the .onnx file in it")
        if not path.exists():
            raise SessionError(f"{path}: no such file")
        with inputs.open_regular(path) as file:
            if not file.read(1):
                raise SessionError(f"{path}: is empty (0 bytes); export the model again")


def _load(path: Path, provider: str, options: Any) -> tuple[Any, str]:
    """Load the model; give the session and the provider that it really runs on."""
    present = [name for name, wanted in PROVIDERS.items() if wanted[0] in _available()]
    if provider not in (*PROVIDERS, "auto"):
        raise SessionError(f"provider '{provider}': expected auto, {', '.join(PROVIDERS)}")
    if provider != "auto" and provider not in present:
        raise SessionError(
            f"provider '{provider}' is not in this ONNX Runtime ({ort.__version__}), which has: "
            f"{', '.join(present)}. Install one that has it (onnxruntime-gpu, or on a Jetson "
            "NVIDIA's own wheel) in place of onnxruntime, or leave --provider out"
        )
    wanted = provider
    if provider == "auto":
        wanted = "cuda" if "cuda" in present else "cpu"
    session = _create(path, options, wanted)
    # A provider whose libraries do not load is dropped by ONNX Runtime without an error.
    if PROVIDERS[wanted][0] not in session.get_providers():
        reason = (
            f"provider '{wanted}' is installed, but ONNX Runtime could not start it (driver, "
            "CUDA, cuDNN or TensorRT libraries are missing or of another version)"
        )
        if provider != "auto":
            raise SessionError(f"{reason}; `jdetrt doctor` says what is missing")
        _log.warning("%s; the network runs on the CPU", reason)
        wanted = "cpu"
    return session, wanted


def _available() -> list[str]:
    names: list[str] = ort.get_available_providers()
    return names


def _create(path: Path, options: Any, provider: str) -> Any:
    names = [name for name in PROVIDERS[provider] if name in _available()]
    file = native_name(path, SessionError)
    try:
        session = ort.InferenceSession(file, options, providers=names, enable_fallback=0)
    except Exception as err:  # ONNX Runtime's errors share no base but Exception
        reason = _reason(err)
        if _WEIGHTS_FILE.search(reason):
            raise SessionError(
                f"{path}: its weights are in a second file, which is missing or truncated "
                f"({reason}); copy that file beside the model"
            ) from err
        if type(err).__name__ == "InvalidProtobuf" or "No graph was found" in reason:
            raise SessionError(
                f"{path}: is not an ONNX model, or is cut short ({path.stat().st_size} bytes); "
                "copy or export it again"
            ) from err
        raise SessionError(
            f"{path}: ONNX Runtime {ort.__version__} cannot load it: {reason}"
        ) from err
    session.disable_fallback()
    return session


def _reason(err: Exception) -> str:
    """ONNX Runtime's own words, without the code in front: "[ONNXRuntimeError] : 7 : NAME : "."""
    return " ".join(str(err).split(" : ", 3)[-1].split())


def _spec(path: Path, node: Any) -> TensorSpec:
    kind = node.type.removeprefix("tensor(").removesuffix(")")
    if kind not in _DTYPES:
        raise SessionError(f"{path}: '{node.name}' is a {node.type}, not an array of numbers")
    shape = tuple(d if isinstance(d, int) and d >= 0 else -1 for d in node.shape)
    return TensorSpec(node.name, _DTYPES[kind], shape)
