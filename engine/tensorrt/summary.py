"""A plan in numbers: launches, activations that were not fused, reformats, bytes moved, time."""

from __future__ import annotations

import re
from collections.abc import Iterator

from jdetrt.config import Section
from jdetrt.engine.tensorrt.layers import Compiled, Layer
from jdetrt.engine.tensorrt.profile import LayerTimes

__all__ = ["PlanSummary", "more_work", "summarise"]

# The end of a node's name, as `jdetrt export` gives it: the operator, and a number.
_ACTIVATION = re.compile(r"(LeakyRelu|PRelu|Relu|Clip|HardSwish|HardSigmoid|Sigmoid)(_\d+)?")
_DECODING = "/decode/"  # its activations have no convolution to be fused with


class PlanSummary(Section, frozen=True):
    """Numbers of a plan.

    Attributes:
        launches: layers, each at least one kernel.
        convolutions: number by the type that they compute in.
        fused: activations that a convolution computes by the way.
        unfused: activations that are a launch of their own, or of one without a convolution.
        reformats: layers that only change the type or the order of a tensor.
        moved: bytes read and written in a run; None where it is not told.
        milliseconds: of a run, layer after layer; None where it was not measured.
        reformat_ms: of the reformats among them.
    """

    launches: int
    convolutions: dict[str, int]
    fused: int
    unfused: int
    reformats: int
    moved: int | None
    milliseconds: float | None = None
    reformat_ms: float | None = None


def summarise(compiled: Compiled, times: LayerTimes | None = None) -> PlanSummary:
    """Count what a plan consists of.

    Args:
        compiled: its layers.
        times: of the same plan; None where they were not measured.
    """
    reformats = [layer for layer in compiled.layers if _is_reformat(layer)]
    fused = unfused = 0
    for layer in compiled.layers:
        count = sum(1 for node in _nodes(layer) if _is_activation(node))
        if layer.convolution or _convolves(layer):
            fused += count
        else:
            unfused += count
    known = {} if times is None else times.milliseconds
    return PlanSummary(
        launches=len(compiled.layers),
        convolutions=compiled.convolutions,
        fused=fused,
        unfused=unfused,
        reformats=len(reformats),
        moved=compiled.moved,
        milliseconds=None if times is None else times.total,
        reformat_ms=None
        if times is None
        else sum(known.get(layer.name, 0.0) for layer in reformats),
    )


def more_work(one: PlanSummary, other: PlanSummary) -> str | None:
    """Say where a plan launches more kernels or moves more bytes than another; None where not.

    >>> few = PlanSummary(64, {}, 28, 0, 0, 54_000_000)
    >>> more_work(PlanSummary(85, {}, 0, 28, 0, 50_000_000), few)
    '85 launches, not 64'
    """
    parts = []
    if one.launches > other.launches:
        parts.append(f"{one.launches} launches, not {other.launches}")
    if one.moved is not None and other.moved is not None and one.moved > other.moved:
        parts.append(f"{one.moved / 1e6:.1f} MB a run, not {other.moved / 1e6:.1f}")
    return "; ".join(parts) or None


def _nodes(layer: Layer) -> Iterator[str]:
    """Nodes of the graph in a layer; where they are not told, those that its name consists of."""
    if layer.nodes:
        yield from layer.nodes
        return
    for part in layer.name.split(" + "):
        inside = re.fullmatch(r"PWN\((.*)\)", part.strip())  # pointwise operations in one
        yield from (inside[1] if inside else part).split(", ")


def _is_activation(node: str) -> bool:
    last = node.strip(" ()").rpartition("/")[2]
    return _DECODING not in node and _ACTIVATION.fullmatch(last) is not None


def _convolves(layer: Layer) -> bool:
    # A kernel that Myelin generates names the convolution whose scale or bias it applies.
    if layer.kind == "kgen":
        return False
    return any(re.fullmatch(r"Conv(_\d+)?", node.rpartition("/")[2]) for node in _nodes(layer))


def _is_reformat(layer: Layer) -> bool:
    return "reformat" in layer.kind.lower() or layer.name.startswith("Reformatting")
