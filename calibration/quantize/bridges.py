"""Pools, joins and resizes between quantised layers: in INT8 too, with one scale on both sides.

Such an operator runs in INT8 where what it reads and what it gives are quantised alike: TensorRT
then moves the quantisation through it. With scales of their own it would compute in float, and a
tensor that a convolution reads too would be written and read twice, in both types. The one scale is
the largest, so nothing is clipped that was not before.
"""

from __future__ import annotations

import onnx

from jdetrt.calibration.quantize.layers import Layers
from jdetrt.calibration.quantize.rewrite import Scales

__all__ = ["EqualScales", "Reads", "with_bridges"]

# By node name: what it reads through a quantisation.
Reads = dict[str, list[str]]

_KINDS = ("AveragePool", "Concat", "MaxPool", "Resize")


def with_bridges(layers: Layers, reads: Reads) -> Reads:
    """Add the bridges whose results are read through a quantisation by all their readers.

    Args:
        layers: of the model.
        reads: of the layers that are quantised.
    """
    every = dict(reads)
    for node in reversed(layers.bridges.values()):
        if node.op_type in _KINDS and _all_quantise(layers, every, node.output[0]):
            every[node.name] = layers.features(node)
    return every


def _all_quantise(layers: Layers, reads: Reads, tensor: str) -> bool:
    readers = layers.consumers[tensor]
    return bool(readers) and all(tensor in reads.get(reader.name, ()) for reader in readers)


class EqualScales:
    """Scales of tensors, where both sides of a bridge have the largest of theirs.

    Args:
        scales: of each tensor by itself.
        bridges: that run in INT8, with what they read.
    """

    def __init__(self, scales: Scales, bridges: list[tuple[onnx.NodeProto, list[str]]]) -> None:
        self._scales = scales
        self._groups: dict[str, set[str]] = {}
        for node, tensors in bridges:
            together = {node.output[0], *tensors}
            for tensor in list(together):
                together |= self._groups.get(tensor, set())
            self._groups |= dict.fromkeys(together, together)

    def scale(self, tensor: str) -> float:
        """Value of one step of int8."""
        return max(map(self._scales.scale, sorted(self._groups.get(tensor, {tensor}))))
