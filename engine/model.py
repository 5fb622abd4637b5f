"""A model file of any kind, and what it records about itself; needs neither torch nor onnx."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import msgspec

from jdetrt import inputs
from jdetrt.documents import decode_json
from jdetrt.engine.onnx_file import OnnxFile
from jdetrt.engine.tensorrt.plan import Plan
from jdetrt.errors import JdetrtError, SessionError
from jdetrt.file_check import Purpose, check
from jdetrt.file_kind import FileKind, kind_of, safetensors_metadata
from jdetrt.shipped import resolve
from jdetrt.types import Size

__all__ = ["Model"]


class _Config(msgspec.Struct):
    size: Size | None = None


class Model:
    """A model file; each attribute is read when it is first asked for, and then kept.

    Args:
        path: an ONNX model, a plan or a checkpoint, or the name of a model that ships, as text.
        error: raised where the file is missing, cannot be read or is damaged.

    Attributes:
        path: the file.

    Raises:
        ConfigError: no model of this name ships.
    """

    def __init__(self, path: str | Path, error: type[JdetrtError] = SessionError) -> None:
        self.path = resolve(path)
        self._error = error

    @cached_property
    def kind(self) -> FileKind:
        """Kind of the file, by its content."""
        return kind_of(self.path, self._error)

    def require(self, purpose: Purpose) -> FileKind:
        """Give its kind; refuse it, in words, where a command does not take that."""
        self.kind = check(self.path, purpose, self._error)
        return self.kind

    @cached_property
    def onnx(self) -> OnnxFile:
        """The file as an ONNX model."""
        return OnnxFile(self.path, self._error)

    @cached_property
    def plan(self) -> Plan:
        """The file as a plan."""
        return Plan(self.path)

    @property
    def files(self) -> tuple[Path, ...]:
        """The file, and those beside it that hold the weights of an ONNX model."""
        return self.onnx.files if self.kind is FileKind.ONNX else (self.path,)

    @cached_property
    def sha256(self) -> str:
        """Hexadecimal SHA-256; of an ONNX model with weights in other files, over all of them."""
        if self.kind is FileKind.ONNX:
            return self.onnx.sha256
        with inputs.reading(self.path, self._error):
            return inputs.sha256(self.path)

    @cached_property
    def metadata(self) -> dict[str, str]:
        """Metadata of the file; empty for a weight file of another program.

        Raises:
            PlanMismatchError: a plan has no sidecar.
        """
        if self.kind is FileKind.ONNX:
            return self.onnx.metadata
        if self.kind is FileKind.PLAN:
            return self.plan.metadata
        return safetensors_metadata(self.path) if self.kind is FileKind.CHECKPOINT else {}

    @cached_property
    def size(self) -> Size | None:
        """Size of the network's input; None where the file records none or leaves it free."""
        if self.kind is FileKind.CHECKPOINT:
            try:
                return decode_json(self.metadata.get("config", "{}"), _Config).size
            except ValueError as err:
                raise self._error(f"{self.path}: 'config' in its metadata: {err}") from err
        shape: tuple[int, ...] = ()
        if self.kind is FileKind.ONNX:
            shape = self.onnx.input_shape
        elif self.kind is FileKind.PLAN:
            shape = self.plan.sidecar.inputs[0].shape
        if len(shape) != 4 or min(shape[2:]) < 1:
            return None
        return Size(shape[3], shape[2])
