"""Model store of a sweep: files exported, quantised and built where they are missing.

This is the one place where benchmarks make models. A file is named after the bytes that it comes
from, so one of an earlier checkpoint is never taken for it. INT8 models are made as ``jdetrt
calibrate`` makes them with its default targets; one that was made otherwise can be named beside the
float model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from jdetrt.config import ExportConfig
from jdetrt.engine.open import open_session
from jdetrt.engine.tensorrt.compat import BACKENDS as PLAN_BACKENDS
from jdetrt.errors import ConfigError, MissingDependencyError
from jdetrt.files import write_bytes
from jdetrt.inputs import sha256
from jdetrt.progress import NO_PROGRESS, Progress
from jdetrt.runtime.detector import network_size
from jdetrt.types import Session, Size

__all__ = ["BACKENDS", "CALIBRATION_FRAMES", "PRECISIONS", "Configuration", "ModelStore"]

CALIBRATION_FRAMES = 200
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

    size: Size
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
        return f"{self.size} {self.precision} {self.backend}"


class ModelStore:
    """Makes the models of one checkpoint, or takes ONNX models as they are.

    Args:
        models: a checkpoint of any kind, from which all is made; or ONNX models, one for each size
            and precision, of which plans can be built.
        folder: of the models that are made.
        trained_size: width and height that the checkpoint was trained at, if it does not record
            them.
        top_k: candidates that an exported model gives.
        calibration: sources that INT8 models are calibrated on.
        calibration_frames: number of frames of them.
        cuda_graph: replay plans as a CUDA graph; None wherever that can be done.
        progress: gets a message for each model that is made.

    Attributes:
        name: of the model, for people.
        digest: SHA-256 of the models.

    Raises:
        ConfigError: there is no such file, several that are no ONNX models, or a size of training
            for ONNX models.
    """

    def __init__(
        self,
        models: str | Path | Sequence[str | Path],
        folder: str | Path,
        *,
        trained_size: Size | None = None,
        top_k: int = ExportConfig().top_k,
        calibration: Sequence[str] = (),
        calibration_frames: int = CALIBRATION_FRAMES,
        cuda_graph: bool | None = None,
        progress: Progress = NO_PROGRESS,
    ) -> None:
        given = [models] if isinstance(models, (str, Path)) else list(models)
        self.models = [Path(model) for model in given]
        self.folder, self.top_k, self.trained_size = Path(folder), top_k, trained_size
        self.calibration, self.calibration_frames = list(calibration), calibration_frames
        self.cuda_graph = cuda_graph
        self._progress = progress
        self._anchors_known = False
        self._is_onnx = all(path.suffix.lower() == ".onnx" for path in self.models)
        if not self.models or (len(self.models) > 1 and not self._is_onnx):
            raise ConfigError("expected one checkpoint, or one or more ONNX models")
        if self._is_onnx and trained_size is not None:
            raise ConfigError(
                "a size of training is for checkpoints: ONNX models contain their anchors"
            )
        self.name = ", ".join(path.name for path in self.models)
        digests = [_digest(path) for path in self.models]
        self.digest = digests[0] if len(digests) == 1 else _joined(digests)

    def prepare(self, target: Configuration) -> Path:
        """Make the file for a configuration if it is not there, and its plan too.

        Raises:
            ConfigError: it cannot be made from this model.
            JdetrtError: exporting or building fails, or the package for it is not installed.
        """
        if target.backend == "torch":
            return self._for_torch(target)
        path = self._onnx(target)
        if target.backend in PLAN_BACKENDS:
            from jdetrt.engine.tensorrt.compat import load
            from jdetrt.engine.tensorrt.plan_cache import find_or_build

            find_or_build(load(target.backend), path, progress=self._progress)
        return path

    def open(self, target: Configuration, provider: str = "auto") -> Session:
        """Open a configuration that is prepared.

        Raises:
            SessionError: it cannot be opened.
        """
        if target.backend == "torch":
            from jdetrt.api import load

            return load(
                self._for_torch(target),
                size=target.size,
                trained_size=self.trained_size,
                provider=provider,
            ).session
        return open_session(
            self._onnx(target),
            backend=target.backend,
            provider=provider,
            cuda_graph=self.cuda_graph if target.backend in PLAN_BACKENDS else None,
        )

    def deploy_command(
        self, target: Configuration, source: str, provider: str = "auto"
    ) -> str | None:
        """Give the command that tracks with it; None for torch, which only measures."""
        if target.backend == "torch":
            return None
        command = f"jdetrt track {source} --model {self._onnx(target)}"
        if target.backend in PLAN_BACKENDS:
            graph = " --no-cuda-graph" if self.cuda_graph is False else ""
            return f"{command} --backend {target.backend}{graph}"
        return command if provider == "auto" else f"{command} --provider {provider}"

    def _for_torch(self, target: Configuration) -> Path:
        if self._is_onnx or target.precision != "fp32":
            raise ConfigError(f"{target}: torch runs checkpoints, in fp32")
        self._require_trained_size()
        return self.models[0]

    def _onnx(self, target: Configuration) -> Path:
        path = self._given(target) if self._is_onnx else None
        if path is not None:
            return path
        if target.precision == "int8":
            return self._quantised(target)
        if self._is_onnx:
            raise ConfigError(
                f"{target}: no ONNX model has this size and precision; name a checkpoint, "
                f"from which it can be exported"
            )
        return self._exported(target)

    def _quantised(self, target: Configuration) -> Path:
        """Quantise the float32 model of the same size."""
        base = self._onnx(replace(target, precision="fp32", backend="onnxruntime"))
        if not self.calibration:
            raise ConfigError(f"{target}: name a source to calibrate on")
        setting = [sha256(base), *self.calibration, str(self.calibration_frames)]
        origin = f"{base.stem}-int8-{_joined(setting)[:8]}"
        tensorrt, onnxruntime = (self.folder / f"{origin}-{form}.onnx" for form in ("trt", "cpu"))
        if not (tensorrt.is_file() and onnxruntime.is_file()):
            self._progress.message(f"quantising {base.name}")
            self._calibrate(base, target.size, tensorrt, onnxruntime)
        return onnxruntime if target.backend == "onnxruntime" else tensorrt

    def _calibrate(self, base: Path, size: Size, tensorrt: Path, onnxruntime: Path) -> None:
        """Write a quantised model in TensorRT's form, and in that of ONNX Runtime's kernels."""
        try:
            from jdetrt.calibration.calibrate import calibrate
            from jdetrt.calibration.config import CalibrationConfig
            from jdetrt.calibration.frames.choose import choose_frames
        except ModuleNotFoundError as err:
            raise MissingDependencyError("onnx", "export", "Quantising a model") from err
        frames = choose_frames(self.calibration, self.calibration_frames, network_size=size)
        models = calibrate(CalibrationConfig(model=base), frames)
        write_bytes(tensorrt, models.model.SerializeToString())
        write_bytes(onnxruntime, models.cpu_model.SerializeToString())

    def _exported(self, target: Configuration) -> Path:
        origin = f"{self.models[0].stem}-{self.digest[:8]}"
        if self.trained_size is not None:
            origin += f"-trained-{self.trained_size}"
        path = self.folder / f"{origin}-{target.size}-k{self.top_k}-{target.precision}.onnx"
        if not path.is_file():
            from jdetrt.export.onnx_writer import export_onnx

            self._require_trained_size()
            self._progress.message(f"exporting {path.name}")
            precision: Literal["fp32", "fp16"] = "fp16" if target.precision == "fp16" else "fp32"
            config = ExportConfig(size=target.size, top_k=self.top_k, precision=precision)
            export_onnx(self.models[0], path, config, trained_size=self.trained_size)
        return path

    def _require_trained_size(self) -> None:
        """Refuse a checkpoint that would get other anchors at each size; once."""
        if self.trained_size is not None or self._anchors_known:
            return
        from jdetrt.export.sizes import needs_trained_size
        from jdetrt.training.checkpoints.checkpoint import load

        if needs_trained_size(*load(self.models[0])):
            raise ConfigError(
                f"{self.models[0]}: does not record the size that it was trained at, and its "
                "anchors follow from that; give it, for example --trained-size 1088x608"
            )
        self._anchors_known = True

    def _given(self, target: Configuration) -> Path | None:
        """Return the ONNX model of a configuration; None where there is none."""
        for path in self.models:
            with open_session(path, backend="onnxruntime", provider="cpu") as session:
                size, metadata = network_size(session), session.metadata
            if (size, metadata.get("precision", "fp32")) != (target.size, target.precision):
                continue
            for_cpu = metadata.get("int8_layout") == "onnxruntime"
            if target.precision != "int8" or for_cpu == (target.backend == "onnxruntime"):
                return path
        return None


def _digest(path: Path) -> str:
    try:
        return sha256(path)
    except OSError as err:
        raise ConfigError(f"{path}: cannot be read ({err.strerror})") from err


def _joined(digests: Sequence[str]) -> str:
    return hashlib.sha256("".join(digests).encode()).hexdigest()
