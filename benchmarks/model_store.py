"""The files that a sweep runs: exported, quantised and built where they are missing.

This is the one place where benchmarks make models. A file is named after the bytes that it comes
from, so one of an earlier checkpoint is never taken for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from jdetrt.benchmarks.quantised import CALIBRATION_FRAMES, write_int8
from jdetrt.config import ExportConfig
from jdetrt.engine.open import open_session
from jdetrt.engine.tensorrt.compat import BACKENDS as PLAN_BACKENDS
from jdetrt.errors import ConfigError
from jdetrt.files import sha256
from jdetrt.runtime.detector import network_size
from jdetrt.types import Session

__all__ = ["BACKENDS", "PRECISIONS", "Artefacts", "Configuration"]

PRECISIONS = ("fp32", "fp16", "int8")
BACKENDS = ("onnxruntime", "tensorrt", "tensorrt-rtx", "torch")


@dataclass(frozen=True, slots=True)
class Configuration:
    """One way to run a network.

    Attributes:
        size: network width and height.
        precision: one of ``PRECISIONS``.
        backend: one of ``BACKENDS``; torch runs checkpoints, in fp32.
    """

    size: tuple[int, int]
    precision: str
    backend: str

    def __post_init__(self) -> None:
        for what, value, known in (
            ("precision", self.precision, PRECISIONS),
            ("backend", self.backend, BACKENDS),
        ):
            if value not in known:
                raise ConfigError(f"{what} '{value}': expected {', '.join(known)}")

    def __str__(self) -> str:
        return f"{self.size[0]}x{self.size[1]} {self.precision} {self.backend}"


class Artefacts:
    """Makes the models of one checkpoint, or takes ONNX models as they are.

    Args:
        models: a checkpoint of any kind, from which all is made; or ONNX models, one a size and
            precision, of which plans can be built.
        folder: where models are kept.
        top_k: candidates that an exported model gives.
        calibration: footage that INT8 models are calibrated on.
        calibration_frames: how many frames of it.
        cuda_graph: replay plans as a CUDA graph.
        report: is told what is being made.

    Attributes:
        name: of the model, for people.
        digest: SHA-256 of the models.

    Raises:
        ConfigError: there is no such file, or several that are no ONNX models.
    """

    def __init__(
        self,
        models: str | Path | Sequence[str | Path],
        folder: str | Path,
        *,
        top_k: int = ExportConfig().top_k,
        calibration: Sequence[str] = (),
        calibration_frames: int = CALIBRATION_FRAMES,
        cuda_graph: bool = False,
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        given = [models] if isinstance(models, (str, Path)) else list(models)
        self.models = [Path(model) for model in given]
        self.folder, self.top_k = Path(folder), top_k
        self.calibration, self.calibration_frames = list(calibration), calibration_frames
        self.cuda_graph = cuda_graph
        self._report = report
        self._is_onnx = all(path.suffix.lower() == ".onnx" for path in self.models)
        if not self.models or (len(self.models) > 1 and not self._is_onnx):
            raise ConfigError("expected one checkpoint, or one or more ONNX models")
        self.name = ", ".join(path.name for path in self.models)
        digests = [_digest(path) for path in self.models]
        self.digest = digests[0] if len(digests) == 1 else _joined(digests)

    def prepare(self, wanted: Configuration) -> Path:
        """The file for a configuration, made if it is not there, and its plan too.

        Raises:
            ConfigError: it cannot be made from this model.
            JdetrtError: exporting or building fails, or the package for it is not installed.
        """
        if wanted.backend == "torch":
            return self._for_torch(wanted)
        path = self._onnx(wanted)
        if wanted.backend in PLAN_BACKENDS:
            from jdetrt.engine.tensorrt.compat import load
            from jdetrt.engine.tensorrt.plan_cache import find_or_build

            find_or_build(load(wanted.backend), path, announce=self._report)
        return path

    def open(self, wanted: Configuration, provider: str = "auto") -> Session:
        """Open a configuration that is prepared.

        Raises:
            SessionError: it cannot be opened.
        """
        if wanted.backend == "torch":
            from jdetrt.api import load

            return load(self._for_torch(wanted), size=wanted.size, provider=provider).session
        return open_session(
            self._onnx(wanted),
            backend=wanted.backend,
            provider=provider,
            cuda_graph=self.cuda_graph and wanted.backend in PLAN_BACKENDS,
        )

    def deploy_command(
        self, wanted: Configuration, source: str, provider: str = "auto"
    ) -> str | None:
        """How to track with it; None where that is not a way to track."""
        if wanted.backend == "torch":
            return None
        command = f"jdetrt track {source} --model {self._onnx(wanted)}"
        if wanted.backend in PLAN_BACKENDS:
            graph = " --cuda-graph" if self.cuda_graph else ""
            return f"{command} --backend {wanted.backend}{graph}"
        return command if provider == "auto" else f"{command} --provider {provider}"

    def _for_torch(self, wanted: Configuration) -> Path:
        if self._is_onnx or wanted.precision != "fp32":
            raise ConfigError(f"{wanted}: torch runs checkpoints, in fp32")
        return self.models[0]

    def _onnx(self, wanted: Configuration) -> Path:
        path = self._given(wanted) if self._is_onnx else None
        if path is not None:
            return path
        if wanted.precision == "int8":
            return self._quantised(wanted)
        if self._is_onnx:
            raise ConfigError(
                f"{wanted}: none of the ONNX models is of this size and precision; name the "
                "checkpoint, from which it can be made"
            )
        return self._exported(wanted)

    def _quantised(self, wanted: Configuration) -> Path:
        """Of the model in float32 of the same size."""
        base = self._onnx(replace(wanted, precision="fp32", backend="onnxruntime"))
        if not self.calibration:
            raise ConfigError(f"{wanted}: name footage to calibrate on")
        setting = [sha256(base), *self.calibration, str(self.calibration_frames)]
        origin = f"{base.stem}-int8-{_joined(setting)[:8]}"
        tensorrt, onnxruntime = (self.folder / f"{origin}-{form}.onnx" for form in ("trt", "cpu"))
        if not (tensorrt.is_file() and onnxruntime.is_file()):
            self._report(f"quantising {base.name}")
            write_int8(
                base,
                tensorrt,
                onnxruntime,
                self.calibration,
                size=wanted.size,
                frames=self.calibration_frames,
            )
        return onnxruntime if wanted.backend == "onnxruntime" else tensorrt

    def _exported(self, wanted: Configuration) -> Path:
        origin = f"{self.models[0].stem}-{self.digest[:8]}"
        size = f"{wanted.size[0]}x{wanted.size[1]}"
        path = self.folder / f"{origin}-{size}-k{self.top_k}-{wanted.precision}.onnx"
        if not path.is_file():
            from jdetrt.export.onnx_writer import export_onnx

            self._report(f"exporting {path.name}")
            precision: Literal["fp32", "fp16"] = "fp16" if wanted.precision == "fp16" else "fp32"
            config = ExportConfig(size=wanted.size, top_k=self.top_k, precision=precision)
            export_onnx(self.models[0], path, config)
        return path

    def _given(self, wanted: Configuration) -> Path | None:
        """That of the ONNX models which is what is wanted; None where none is."""
        for path in self.models:
            with open_session(path, backend="onnxruntime", provider="cpu") as session:
                size, made = network_size(session), session.metadata
            if (size, made.get("precision", "fp32")) != (wanted.size, wanted.precision):
                continue
            for_cpu = made.get("int8_layout") == "onnxruntime"
            if wanted.precision != "int8" or for_cpu == (wanted.backend == "onnxruntime"):
                return path
        return None


def _digest(path: Path) -> str:
    try:
        return sha256(path)
    except OSError as err:
        raise ConfigError(f"{path}: cannot be read ({err.strerror})") from err


def _joined(digests: Sequence[str]) -> str:
    return hashlib.sha256("".join(digests).encode()).hexdigest()
