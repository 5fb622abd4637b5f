"""Probe: a model that gives the extremes of its tensors, or all their values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

from jdetrt.calibration.quantize.layers import FloatModel
from jdetrt.engine.onnxruntime import session_options
from jdetrt.errors import CalibrationError
from jdetrt.types import Array, Size

__all__ = ["Extremes", "Probe", "activations"]

_REDUCTIONS = ("ReduceMin", "ReduceMax", "ReduceMean", "Size")


class Extremes(NamedTuple):
    """Extremes of each tensor in one frame, in the order of the probe.

    Attributes:
        low: ``(T,)`` float32, the smallest value.
        high: ``(T,)`` float32, the largest.
        mean: ``(T,)`` float32; not finite where any value is not.
        elements: ``(T,)`` int64, the number of values.
    """

    low: npt.NDArray[np.float32]
    high: npt.NDArray[np.float32]
    mean: npt.NDArray[np.float32]
    elements: npt.NDArray[np.int64]


def activations(model: onnx.ModelProto, leave_out: str = "/decode/") -> list[str]:
    """List the input of a model and what its nodes compute; TensorRT wants a scale for each.

    Args:
        model: an ONNX model of ``jdetrt export``.
        leave_out: nodes whose name begins so compute in float.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    # A tensor that comes from no input is a weight, such as the Cast of one stored in half.
    fed = [value.name for value in model.graph.input if value.name not in weights]
    known = set(fed)
    for node in model.graph.node:
        if node.name.startswith(leave_out) or known.isdisjoint(node.input):
            continue
        known.update(node.output)
        fed += node.output
    return fed


class Probe:
    """A model loaded by ONNX Runtime (CPU) with more outputs than it has.

    Args:
        model: has one input, ``[N, 3, H, W]`` float32.
        tensors: names of float32 tensors in it.
        reduced: give their extremes, which are taken inside of the model, so that none of them is
            kept; else the tensors themselves.
        threads: CPU threads of one operator; None for one a physical core.

    Attributes:
        size: width and height of the input, or None where the model leaves them free.

    Raises:
        CalibrationError: the model cannot be loaded, lacks a tensor, or has it in another type.
    """

    def __init__(
        self,
        model: FloatModel,
        tensors: Sequence[str],
        *,
        reduced: bool,
        threads: int | None = None,
    ) -> None:
        self._tensors = tuple(tensors)
        self._reduced = reduced
        self._session, self._outputs = _load(model, self._tensors, reduced, threads)
        spec = self._session.get_inputs()[0]
        self._input: str = spec.name
        height, width = spec.shape[2:]
        free = not (isinstance(height, int) and isinstance(width, int))
        self.size = None if free else Size(width, height)

    def extremes(self, image: npt.NDArray[np.float32]) -> Extremes:
        """Run an image ``(1, 3, H, W)`` through a probe that is reduced."""
        values = self._run(image)
        low, high, mean, elements = (values[k :: len(_REDUCTIONS)] for k in range(4))
        return Extremes(
            np.array(low, np.float32),
            np.array(high, np.float32),
            np.array(mean, np.float32),
            np.array(elements, np.int64),
        )

    def values(self, image: npt.NDArray[np.float32]) -> list[Array]:
        """Run an image ``(1, 3, H, W)``; give the tensors as they are, float32."""
        outputs = iter(self._run(image))
        # A graph cannot give its input back.
        return [image if name == self._input else next(outputs) for name in self._tensors]

    def _run(self, image: npt.NDArray[np.float32]) -> list[Array]:
        try:
            outputs: list[Array] = self._session.run(self._outputs, {self._input: image})
        except Exception as err:  # ONNX Runtime's errors share no base but Exception
            raise CalibrationError(f"ONNX Runtime failed to run the model: {err}") from err
        return outputs


def _load(
    source: FloatModel, tensors: tuple[str, ...], reduced: bool, threads: int | None
) -> tuple[Any, list[str]]:
    path = source.path
    model = onnx.ModelProto()
    model.CopyFrom(source.proto)
    inputs = {value.name for value in model.graph.input}
    made = {name for node in model.graph.node for name in node.output if name} | inputs
    if missing := [name for name in tensors if name not in made]:
        raise CalibrationError(
            f"{path}: has no tensor {', '.join(repr(name) for name in missing[:5])}"
            f"{' ...' if len(missing) > 5 else ''}; the names are those of another model"
        )
    outputs = _reduce(model, tensors) if reduced else [t for t in tensors if t not in inputs]
    there = {value.name for value in model.graph.output}
    # A name is enough: ONNX Runtime finds out the type and the shape itself.
    model.graph.output.extend(
        onnx.ValueInfoProto(name=name) for name in outputs if name not in there
    )
    options = session_options(threads)
    # Planned as one block, so many outputs take half as much memory again.
    options.enable_mem_pattern = False
    options.execution_order = ort.ExecutionOrder.PRIORITY_BASED
    content = model.SerializeToString()
    del model
    try:
        session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as err:  # ONNX Runtime's errors share no base but Exception
        raise CalibrationError(
            f"{path}: cannot be loaded with its tensors as outputs: {err}"
        ) from err
    if len(session.get_inputs()) != 1 or len(session.get_inputs()[0].shape) != 4:
        raise CalibrationError(f"{path}: expected a model with one input [N, 3, H, W]")
    types = {value.name: value.type for value in session.get_outputs()}
    for name in outputs:
        if types[name] not in ("tensor(float)", "tensor(int64)" if reduced else ""):
            raise CalibrationError(
                f"{path}: '{name}' is {types[name]}; ranges are measured on the FP32 model"
            )
    return session, outputs


def _reduce(model: onnx.ModelProto, tensors: Sequence[str]) -> list[str]:
    """Let a model compute the extremes of tensors; return the names of these outputs.

    Each is computed as soon as its tensor is there (ONNX Runtime's priority-based order goes by the
    order of the nodes), so that the tensor need not be kept.
    """
    outputs = []
    after: dict[str, list[onnx.NodeProto]] = {}
    for i, tensor in enumerate(tensors):
        after[tensor] = []
        for kind in _REDUCTIONS:
            name = f"{kind}:{i}:{tensor}"
            node = onnx.helper.make_node(kind, [tensor], [name], name)
            if kind != "Size":
                node.attribute.append(onnx.helper.make_attribute("keepdims", 0))
            after[tensor].append(node)
            outputs.append(name)
    nodes = [node for value in model.graph.input for node in after.get(value.name, ())]
    for node in model.graph.node:
        nodes.append(node)
        nodes += [reduction for name in node.output for reduction in after.get(name, ())]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return outputs
