"""The same quantisation laid out for ONNX Runtime's integer kernels on CPUs.

These compute from integers to integers: every operator between two convolutions has quantised
inputs and quantised outputs, or falls back to float. A ReLU or ReLU6 costs nothing where its result
is stored as uint8 from 0 upwards, which saturates where it would have cut; TensorRT takes no such
zero point, which is why there are two graphs. The last convolutions, whose results decoding reads
as they are, have float weights and quantised inputs.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx

from jdetrt.calibration.quantize.layers import ACTIVATIONS, Layers
from jdetrt.calibration.quantize.rewrite import (
    INT8_MAX,
    Rewriter,
    Scales,
    activation_scale,
    weight_scales,
)

__all__ = ["CpuPlan"]

_UINT8_MAX = 255
_MIDDLE = np.array(128, np.uint8)
_ZERO = np.array(0, np.uint8)
_CUTS = ("Relu", "Clip")
_ARITHMETIC = ("Add", "Conv", "Mul")


class CpuPlan:
    """Which nodes are to run on integers, and which tensors that quantises.

    Args:
        layers: of a model.
        leave_out: names of layers that stay in float.

    Attributes:
        tensors: names of the tensors that are stored as integers.
    """

    def __init__(self, layers: Layers, leave_out: frozenset[str]) -> None:
        self._layers = layers
        self._inside = {**layers.nodes, **layers.bridges}
        self._integer = self._choose(leave_out)
        self.tensors = [tensor for tensor in layers.consumers if self._is_stored(tensor)]
        self._stored = frozenset(self.tensors)

    def ranged(self, tensor: str) -> str:
        """The tensor whose range a tensor has: what only chooses among values adds none."""
        node = self._layers.producers.get(tensor)
        if node is not None and node.name in self._integer and _only_chooses(node):
            return self.ranged(node.input[0])
        return tensor

    def rewrite(self, rewriter: Rewriter, model: onnx.ModelProto, scales: Scales) -> None:
        """Copy all nodes of the model."""
        for node in model.graph.node:
            copied = onnx.NodeProto()
            copied.CopyFrom(node)
            for index, tensor in enumerate(node.input):
                if tensor in self._stored and not self._absorbed(node):
                    scale, zero_point = self._uint8(tensor, scales)
                    copied.input[index] = rewriter.activation(tensor, scale, zero_point, node.name)
            if node.op_type == "Conv" and node.name in self._integer and self._goes_on(node):
                self._integers(rewriter, copied, node, scales)
            rewriter.add(copied)

    def _choose(self, leave_out: frozenset[str]) -> frozenset[str]:
        """All convolutions, and of what lies between them whatever one of these reads."""
        layers = self._layers
        convs = [node for node in layers.nodes.values() if node.op_type == "Conv"]
        chosen = {node.name for node in convs if node.name not in leave_out}
        waiting = [tensor for name in chosen for tensor in layers.features(self._inside[name])]
        while waiting:
            node = layers.producers.get(waiting.pop())
            if node is None or node.name not in self._inside or node.op_type == "Conv":
                continue
            if node.name not in chosen and node.name not in leave_out:
                chosen.add(node.name)
                waiting += layers.features(node)
        # What a layer in float gives goes through its activation before it is rounded.
        return frozenset(name for name in chosen if not self._follows_float(name, chosen))

    def _follows_float(self, name: str, chosen: set[str]) -> bool:
        """Tell whether a node is an activation of something that is not on integers itself."""
        node = self._inside[name]
        before = self._layers.producers.get(node.input[0])
        return node.op_type in ACTIVATIONS and (before is None or before.name not in chosen)

    def _is_stored(self, tensor: str) -> bool:
        """Tell whether a reader takes a tensor as integers, or may, as it comes as such."""
        readers = self._layers.consumers[tensor]
        if any(
            reader.name in self._integer
            and tensor in self._layers.features(reader)
            and not self._absorbed(reader)
            for reader in readers
        ):
            return True
        node = self._layers.producers.get(tensor)
        if node is not None and self._absorbed(node):
            node = self._layers.producers[node.input[0]]
        return (
            node is not None
            and node.op_type == "Conv"
            and node.name in self._integer
            and any(reader.name in self._layers.bridges for reader in readers)
            and not any(map(self._absorbed, readers))
        )

    def _goes_on(self, conv: onnx.NodeProto) -> bool:
        """Tell whether something in the network reads a convolution, rather than decoding."""
        return any(r.name in self._inside for r in self._layers.consumers[conv.output[0]])

    def _absorbed(self, node: onnx.NodeProto) -> bool:
        """Tell whether an activation equals the saturation of the integers of its result."""
        if node.op_type not in _CUTS:
            return False
        before = self._layers.producers.get(node.input[0])
        return (
            before is not None
            and before.name in self._integer
            and before.op_type in _ARITHMETIC
            and len(self._layers.consumers[node.input[0]]) == 1
            and self._layers.non_negative(node.output[0])
        )

    def _uint8(self, tensor: str, scales: Scales) -> tuple[float, npt.NDArray[np.uint8]]:
        ranged = self.ranged(tensor)
        scale = activation_scale(scales, ranged)
        if not self._layers.non_negative(ranged):
            return scale, _MIDDLE
        # The same range from 0 upwards. Rounded down: a range past the cut would not replace it.
        return float(np.nextafter(np.float32(scale * INT8_MAX / _UINT8_MAX), np.float32(0))), _ZERO

    def _integers(
        self, rewriter: Rewriter, copied: onnx.NodeProto, conv: onnx.NodeProto, scales: Scales
    ) -> None:
        """Store weights and bias of a convolution as integers."""
        weights, bias = self._layers.weights(conv), self._layers.bias(conv)
        input_scale, _ = self._uint8(conv.input[0], scales)
        by_channel = weight_scales(weights, bias, input_scale)
        steps = weights / by_channel.reshape(-1, *[1] * (weights.ndim - 1))
        integers = np.rint(steps).clip(-INT8_MAX, INT8_MAX).astype(np.int8)
        tensor = f"{conv.input[1]}/of{conv.name}"
        copied.input[1] = rewriter.stored_integers(tensor, integers, by_channel)
        if bias is not None:
            bias_scale = (by_channel * np.float32(input_scale)).astype(np.float32)
            rounded = np.rint(bias.astype(np.float64) / bias_scale).astype(np.int32)
            tensor = f"{conv.input[2]}/of{conv.name}"
            copied.input[2] = rewriter.stored_integers(tensor, rounded, bias_scale)


def _only_chooses(node: onnx.NodeProto) -> bool:
    if node.op_type == "Resize":
        return any(a.name == "mode" and a.s == b"nearest" for a in node.attribute)
    return node.op_type == "MaxPool"
