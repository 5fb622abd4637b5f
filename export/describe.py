"""What a checkpoint or an ONNX model holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from jdetrt import files
from jdetrt.errors import DataError
from jdetrt.training import checkpoint as checkpoints
from jdetrt.training.state import CheckpointInfo
from jdetrt.types import TensorSpec

__all__ = ["CheckpointContent", "OnnxContent", "describe", "tensor_specs"]


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
    """An ONNX model.

    Attributes:
        path: the file.
        bytes: its size.
        sha256: of the file.
        parameters: numbers in its weights and tables.
        producer: name and version of what wrote it.
        opsets: version by operator domain; the standard one is ``ai.onnx``.
        inputs: what it takes.
        outputs: what it gives.
        operators: nodes by kind, the most frequent first.
        metadata: what it says about itself.
    """

    path: str
    bytes: int
    sha256: str
    parameters: int
    producer: str
    opsets: dict[str, int]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    operators: dict[str, int]
    metadata: dict[str, str]


def describe(path: str | Path) -> CheckpointContent | OnnxContent:
    """Say what a file holds; its kind is told by its content.

    Raises:
        CheckpointError: it is missing or empty, or a damaged or foreign checkpoint.
        DataError: it is neither a checkpoint nor a whole ONNX model.
    """
    path = Path(path)
    kind = checkpoints.recognise(path)
    if kind == checkpoints.ONNX:
        return _describe_onnx(path)
    if " " in kind:  # words for something else
        raise DataError(
            f"{path}: is {kind}; there are descriptions of checkpoints (.safetensors, .pt, "
            ".weights) and of ONNX models"
        )
    network, info = checkpoints.load(path)
    return CheckpointContent(
        path=str(path),
        bytes=path.stat().st_size,
        sha256=files.sha256(path),
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        info=info,
    )


def tensor_specs(values: Iterable[onnx.ValueInfoProto]) -> tuple[TensorSpec, ...]:
    """Name, dtype and shape of graph inputs or outputs; -1 for a free dimension."""
    specs = []
    for value in values:
        tensor = value.type.tensor_type
        shape = tuple(
            dim.dim_value if dim.HasField("dim_value") else -1 for dim in tensor.shape.dim
        )
        specs.append(TensorSpec(value.name, _dtype(tensor.elem_type), shape))
    return tuple(specs)


def _describe_onnx(path: Path) -> OnnxContent:
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as err:  # protobuf's DecodeError: protobuf is onnx's dependency, not ours
        raise DataError(
            f"{path}: is cut short or not an ONNX model ({path.stat().st_size} bytes); "
            "copy or export it again"
        ) from err
    if not model.graph.node:
        raise DataError(f"{path}: is an ONNX model without operators; export it again")
    operators = Counter(
        node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
        for node in model.graph.node
    )
    weights = {tensor.name for tensor in model.graph.initializer}
    return OnnxContent(
        path=str(path),
        bytes=path.stat().st_size,
        sha256=files.sha256(path),
        parameters=sum(int(np.prod(t.dims, dtype=np.int64)) for t in model.graph.initializer),
        producer=f"{model.producer_name} {model.producer_version}".strip(),
        opsets={opset.domain or "ai.onnx": opset.version for opset in model.opset_import},
        inputs=tensor_specs(v for v in model.graph.input if v.name not in weights),
        outputs=tensor_specs(model.graph.output),
        operators=dict(operators.most_common()),
        metadata={entry.key: entry.value for entry in model.metadata_props},
    )


def _dtype(code: int) -> str:
    try:
        return str(onnx.helper.tensor_dtype_to_np_dtype(code))
    except KeyError:
        return "unknown"
