"""The FP16 model: the network in half precision, decoding and everything outside in float32.

One strongly typed graph then means the same on every TensorRT: no builder flag decides what runs in
float16, and no runtime may move decoding into it, where coordinates would step by half a pixel.

Not to be mixed up with half weights (`jdetrt.export.half_weights`), which are only *stored* in
float16: that model computes in float32.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from jdetrt.errors import ExportError
from jdetrt.export.deploy_graph import DeployGraph
from jdetrt.training.network.model import JdeNetwork

__all__ = ["FLOAT16_MAX", "record_peaks", "refuse_overflow", "to_half"]

FLOAT16_MAX = torch.finfo(torch.float16).max  # 65504


def to_half(graph: DeployGraph) -> JdeNetwork:
    """Make the network of a graph compute in float16.

    Args:
        graph: is changed; its decoding stays in float32.

    Returns:
        What the result is to be compared with: the same network, its weights and biases rounded to
        float16, computing in float32.

    Raises:
        ExportError: a weight is beyond the range of float16.
    """
    for name, tensor in graph.network.state_dict().items():
        largest = float(tensor.abs().max())
        if largest > FLOAT16_MAX:
            raise ExportError(
                f"{name}: has a value of {largest:g}, more than float16 can hold "
                f"({FLOAT16_MAX:g}); export in float32"
            )
    graph.half()
    return copy.deepcopy(graph.network).float()


@contextmanager
def record_peaks(network: nn.Module) -> Iterator[dict[str, float]]:
    """Note the largest magnitude that each convolution gives while the block runs.

    Args:
        network: computing in float32.

    Yields:
        Magnitudes by the name of the convolution, filled in as the network runs.
    """
    peaks: dict[str, float] = {}

    def note(name: str, _module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        peaks[name] = max(peaks.get(name, 0.0), float(output.abs().max()))

    handles = [
        module.register_forward_hook(partial(note, name))
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d)
    ]
    try:
        yield peaks
    finally:
        for handle in handles:
            handle.remove()


def refuse_overflow(peaks: dict[str, float]) -> float:
    """Refuse a network whose activations leave the range of float16; give the largest.

    Comparing with ONNX Runtime does not show it: on most CPUs it computes float16 in float32.

    Raises:
        ExportError: a convolution gives more than float16 can hold.
    """
    name = max(peaks, key=peaks.__getitem__)
    if peaks[name] > FLOAT16_MAX:
        raise ExportError(
            f"{name}: gives values of up to {peaks[name]:g}, more than float16 can hold "
            f"({FLOAT16_MAX:g}), which TensorRT would turn into infinity; export in float32"
        )
    return peaks[name]
