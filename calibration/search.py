"""Search for the fewest layers to leave in float.

Each layer is quantised alone and the result compared with the float model. In the order of the
damage that they do alone, layers are then left out until the targets are met; and of those left out
each is taken back that turns out not to be needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import onnx

from jdetrt.calibration.config import Targets
from jdetrt.calibration.damage import Closeness, Reference
from jdetrt.calibration.quantize.layers import Layers
from jdetrt.calibration.quantize.qdq import Layout, quantise
from jdetrt.calibration.quantize.rewrite import Scales
from jdetrt.progress import NO_PROGRESS, Progress

__all__ = [
    "ApDropOf",
    "Attempt",
    "Choice",
    "LayerDamage",
    "choose_layers",
    "fewest",
    "measure_layers",
]

ApDropOf = Callable[[onnx.ModelProto], float]  # drop in average precision of a quantised model


@dataclass(frozen=True, slots=True)
class LayerDamage:
    """Damage of one layer when it alone is quantised.

    Attributes:
        name: of the node.
        kind: its operator.
        closeness: to the float model.
    """

    name: str
    kind: str
    closeness: Closeness


class Attempt(msgspec.Struct, frozen=True):
    """One set of layers left in float, tried in the search.

    Attributes:
        left_out: names.
        closeness: to the float model.
        ap_drop: drop in average precision, 0 to 1; None where the cosine was too low already.
        met: whether the targets are met.
    """

    left_out: tuple[str, ...]
    closeness: Closeness
    ap_drop: float | None
    met: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """Result of the search.

    Attributes:
        left_out: the layers to leave in float, in the model's order.
        attempts: all that were tried, in this order.
    """

    left_out: tuple[str, ...]
    attempts: tuple[Attempt, ...]


def measure_layers(
    model: onnx.ModelProto,
    ranges: Scales,
    reference: Reference,
    *,
    layout: Layout = "tensorrt",
    progress: Progress = NO_PROGRESS,
) -> list[LayerDamage]:
    """Quantise one layer at a time, all others in float.

    Args:
        model: in float32.
        ranges: of its tensors.
        reference: the float model's detections.
        layout: as in `jdetrt.calibration.quantize.qdq.quantise`.
        progress: has a phase, a step for each layer.

    Returns:
        One entry a layer, in the model's order.
    """
    nodes = Layers(model).nodes
    phase = "Quantising one layer at a time"
    progress.start(phase, len(nodes))
    damages = []
    for done, (name, node) in enumerate(nodes.items(), start=1):
        others = [other for other in nodes if other != name]
        alone = quantise(model, ranges, others, layout=layout)
        damages.append(LayerDamage(name, node.op_type, reference.compare(alone).closeness))
        progress.advance(phase, done)
    progress.finish(phase)
    return damages


def choose_layers(
    model: onnx.ModelProto,
    ranges: Scales,
    reference: Reference,
    damages: Sequence[LayerDamage],
    targets: Targets,
    *,
    always: Sequence[str] = (),
    layout: Layout = "tensorrt",
    ap_drop: ApDropOf | None = None,
    progress: Progress = NO_PROGRESS,
) -> Choice:
    """Find the fewest layers to leave in float.

    Args:
        model: in float32.
        ranges: of its tensors.
        reference: the float model's detections.
        damages: of `measure_layers`.
        targets: limits to keep.
        always: layers that stay in float whatever the numbers are.
        layout: as in `jdetrt.calibration.quantize.qdq.quantise`.
        ap_drop: measures the drop in average precision on labelled images; by default the float
            model's own detections are the truth.
        progress: has a phase, a step for each attempt; their number is not known.
    """
    phase = "Choosing layers"
    progress.start(phase)
    attempts: list[Attempt] = []

    def met(left_out: Sequence[str]) -> bool:
        names = {*left_out, *always}
        ordered = tuple(damage.name for damage in damages if damage.name in names)
        quantised = quantise(model, ranges, ordered, layout=layout)
        closeness = reference.compare(quantised).closeness
        drop = None
        if closeness.cosine >= targets.cosine:
            drop = 1 - closeness.agreement if ap_drop is None else ap_drop(quantised)
        attempt = Attempt(ordered, closeness, drop, drop is not None and drop <= targets.ap_drop)
        attempts.append(attempt)
        progress.advance(phase, len(attempts))
        return attempt.met

    ranked = sorted(damages, key=lambda damage: -damage.closeness.damage)
    left_out = {*fewest([d.name for d in ranked if d.name not in always], met), *always}
    progress.finish(phase)
    return Choice(tuple(d.name for d in damages if d.name in left_out), tuple(attempts))


def fewest(ranked: Sequence[str], met: Callable[[Sequence[str]], bool]) -> list[str]:
    """Find the shortest beginning of a list that is enough, less the names that are not needed.

    Leaving out everything is always enough, as nothing is quantised then; it is not tried.

    Args:
        ranked: names, the one most likely to be needed first.
        met: tells if it is enough to leave these out.

    Returns:
        Names of ``ranked``, in its order. None of them can be spared; a smaller set of others may
        exist, which only trying all sets would tell.

    >>> fewest("abcdefgh", {"b", "d"}.issubset)
    ['b', 'd']
    >>> fewest("abc", lambda names: True)
    []
    """
    too_few, enough = -1, 0
    while enough < len(ranked) and not met(ranked[:enough]):
        too_few, enough = enough, min(max(2 * enough, 1), len(ranked))
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if met(ranked[:middle]):
            enough = middle
        else:
            too_few = middle
    names = list(ranked[:enough])
    for name in reversed(names[:-1]):  # without the last one it was too little
        fewer = [other for other in names if other != name]
        if met(fewer):
            names = fewer
    return names
