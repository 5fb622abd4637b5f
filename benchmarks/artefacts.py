"""The files that a sweep runs: exported, quantised and built where they are missing.

This is the one place where benchmarks make models. A file is named after the bytes that it comes
from, so one of an earlier checkpoint is never taken for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jdetrt.config import ExportConfig
from jdetrt.engine.open import open_session
from jdetrt.errors import ConfigError
from jdetrt.files import sha256
from jdetrt.runtime.contract import network_size
from jdetrt.types import Session

__all__ = ["BACKENDS", "PRECISIONS", "Artefacts", "Configuration"]

PRECISIONS = ("fp32", "fp16", "int8")
BACKENDS = ("onnxruntime", "tensorrt", "torch")


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
    """Makes the models of one checkpoint, or takes one ONNX model as it is.

    Args:
        model: a checkpoint of any kind, or an ONNX model, which has one size.
        folder: where models are kept.
        top_k: candidates that an exported model gives.
        report: is told what is being made.

    Attributes:
        digest: SHA-256 of the model.

    Raises:
        ConfigError: there is no such file.
    """

    def __init__(
        self,
        model: str | Path,
        folder: str | Path,
        *,
        top_k: int = ExportConfig().top_k,
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.model, self.folder, self.top_k = Path(model), Path(folder), top_k
        self._report = report
        try:
            self.digest = sha256(self.model)
        except OSError as err:
            raise ConfigError(f"{self.model}: cannot be read ({err.strerror})") from err
        self._is_onnx = self.model.suffix.lower() == ".onnx"

    def prepare(self, wanted: Configuration) -> Path:
        """The file for a configuration, made if it is not there.

        Raises:
            ConfigError: it cannot be made from this model.
            ExportError: the export fails.
            MissingDependencyError: the packages that make it are not installed.
        """
        if wanted.backend == "torch":
            return self._for_torch(wanted)
        return self._onnx(wanted)

    def open(self, wanted: Configuration, provider: str = "auto") -> Session:
        """Open a configuration that is prepared.

        Raises:
            SessionError: it cannot be opened.
        """
        path = self.prepare(wanted)
        if wanted.backend == "torch":
            from jdetrt.benchmarks.open_model import open_model

            return open_model(path, size=wanted.size, provider=provider)
        return open_session(path, provider=provider)

    def deploy_command(self, wanted: Configuration, source: str) -> str | None:
        """How to track with it; None where that is not a way to track."""
        if wanted.backend == "torch":
            return None
        return f"jdetrt track {source} --model {self.prepare(wanted)}"

    def _for_torch(self, wanted: Configuration) -> Path:
        if self._is_onnx or wanted.precision != "fp32":
            raise ConfigError(f"{wanted}: torch runs checkpoints, in fp32")
        return self.model

    def _onnx(self, wanted: Configuration) -> Path:
        if wanted.precision == "int8":
            raise ConfigError(f"{wanted}: quantisation is not here yet")
        if self._is_onnx:
            return self._given(wanted)
        path = self._path(wanted.size, wanted.precision, ".onnx")
        if not path.is_file():
            from jdetrt.export.onnx_writer import export_onnx

            self._report(f"exporting {path.name}")
            precision: Literal["fp32", "fp16"] = "fp16" if wanted.precision == "fp16" else "fp32"
            config = ExportConfig(size=wanted.size, top_k=self.top_k, precision=precision)
            export_onnx(self.model, path, config)
        return path

    def _given(self, wanted: Configuration) -> Path:
        """The ONNX model itself, where it is what is wanted."""
        with open_session(self.model, provider="cpu") as session:
            size = network_size(session)
            precision = session.metadata.get("precision", "fp32")
        if (size, precision) != (wanted.size, wanted.precision):
            raise ConfigError(
                f"{wanted}: {self.model} is of {size[0]}x{size[1]} and {precision}; name the "
                "checkpoint, from which others can be made"
            )
        return self.model

    def _path(self, size: tuple[int, int], precision: str, suffix: str) -> Path:
        origin = f"{self.model.stem}-{self.digest[:8]}"
        return self.folder / f"{origin}-{size[0]}x{size[1]}-k{self.top_k}-{precision}{suffix}"
