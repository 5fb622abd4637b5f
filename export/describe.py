"""Content of a checkpoint or an ONNX model.

Checkpoints need torch, models do not; and where the package onnx is missing, ONNX Runtime tells a
model's inputs, outputs and metadata.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jdetrt import inputs
from jdetrt.engine.onnxruntime import OrtSession
from jdetrt.file_check import check
from jdetrt.file_kind import CHECKPOINTS
from jdetrt.types import TensorSpec

if TYPE_CHECKING:
    from jdetrt.training.checkpoints.state_dict import CheckpointInfo

__all__ = ["CheckpointContent", "OnnxContent", "describe"]


@dataclass(frozen=True, slots=True)
class CheckpointContent:
    """A checkpoint.

    Attributes:
        path: the file.
        bytes: its size.
        sha256: of the file.
        parameters: numbers that training changes.
        info: what the file says beside its weights.
    """

    path: str
    bytes: int
    sha256: str
    parameters: int
    info: CheckpointInfo


@dataclass(frozen=True, slots=True)
class OnnxContent:
    """An ONNX model; None for what only the package onnx can tell, where it is not installed.

    Attributes:
        path: the file.
        bytes: its size.
        sha256: of the file.
        inputs: what it takes.
        outputs: what it gives.
        metadata: what it says about itself.
        parameters: numbers in its weights and tables.
        producer: name and version of what wrote it.
        opsets: version by operator domain; the standard one is ``ai.onnx``.
        operators: nodes by kind, the most frequent first.
    """

    path: str
    bytes: int
    sha256: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    metadata: dict[str, str]
    parameters: int | None = None
    producer: str | None = None
    opsets: dict[str, int] | None = None
    operators: dict[str, int] | None = None


def describe(path: str | Path) -> CheckpointContent | OnnxContent:
    """Say what a file holds; its kind is told by its content.

    Raises:
        CheckpointError: it is missing or empty, or a damaged or foreign checkpoint.
        DataError: it is neither a checkpoint nor a whole ONNX model.
        SessionError: the package onnx is missing, and ONNX Runtime cannot load the model.
    """
    path = Path(path)
    kind = check(path, "inspect")
    return _describe_checkpoint(path) if kind in CHECKPOINTS else _describe_onnx(path)


def _describe_checkpoint(path: Path) -> CheckpointContent:
    from jdetrt.training.checkpoints import checkpoint

    network, info = checkpoint.load(path)
    return CheckpointContent(
        path=str(path),
        bytes=path.stat().st_size,
        sha256=inputs.sha256(path),
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        info=info,
    )


def _describe_onnx(path: Path) -> OnnxContent:
    try:
        from jdetrt.export import onnx_graph
    except ModuleNotFoundError as err:
        if err.name != "onnx":
            raise
        return _describe_without_onnx(path)
    model = onnx_graph.read(path)
    return OnnxContent(
        path=str(path),
        bytes=path.stat().st_size,
        sha256=inputs.sha256(path),
        inputs=onnx_graph.inputs(model),
        outputs=onnx_graph.tensor_specs(model.graph.output),
        metadata={entry.key: entry.value for entry in model.metadata_props},
        parameters=onnx_graph.parameters(model),
        producer=f"{model.producer_name} {model.producer_version}".strip(),
        opsets={opset.domain or "ai.onnx": opset.version for opset in model.opset_import},
        operators=onnx_graph.operators(model),
    )


def _describe_without_onnx(path: Path) -> OnnxContent:
    with OrtSession(path, provider="cpu") as session:
        return OnnxContent(
            path=str(path),
            bytes=path.stat().st_size,
            sha256=inputs.sha256(path),
            inputs=tuple(session.inputs),
            outputs=tuple(session.outputs),
            metadata=dict(session.metadata),
        )
