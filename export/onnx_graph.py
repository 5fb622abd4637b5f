"""Read an ONNX model and count what is in its graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx

from jdetrt.engine.onnx_file import check_texts
from jdetrt.errors import DataError
from jdetrt.types import TensorSpec

__all__ = ["inputs", "operators", "parameters", "read", "tensor_specs"]


def read(path: Path) -> onnx.ModelProto:
    """Read a model, without weights that are kept in another file.

    Raises:
        DataError: it is cut short, no ONNX model, or has no operators.
    """
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as err:  # protobuf's DecodeError: protobuf is onnx's dependency, not ours
        raise DataError(
            f"{path}: is cut short or not an ONNX model ({path.stat().st_size} bytes); "
            "copy or export it again"
        ) from err
    check_texts(model, path, DataError)
    if not model.graph.node:
        raise DataError(f"{path}: is an ONNX model without operators; export it again")
    return model


def inputs(model: onnx.ModelProto) -> tuple[TensorSpec, ...]:
    """Inputs of a model, without the weights that old models list among them."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return tensor_specs(value for value in model.graph.input if value.name not in weights)


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


def parameters(model: onnx.ModelProto) -> int:
    """Numbers in the weights and in the tables, which are nodes of the graph ("Constant")."""
    tables = [
        attribute.t
        for node in model.graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.type == onnx.AttributeProto.TENSOR
    ]
    tensors = (*model.graph.initializer, *tables)
    return sum(int(np.prod(tensor.dims, dtype=np.int64)) for tensor in tensors)


def operators(model: onnx.ModelProto) -> dict[str, int]:
    """Number of nodes of each kind, the most frequent first."""
    return dict(
        Counter(
            node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
            for node in model.graph.node
        ).most_common()
    )


def _dtype(code: int) -> str:
    try:
        return str(onnx.helper.tensor_dtype_to_np_dtype(code))
    except KeyError:
        return "unknown"
