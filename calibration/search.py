"""Which layers quantisation hurts, and the fewest to leave in float.

Each layer is quantised alone and the result compared with the float model. In the order of what
they do alone, layers are then left out until what was asked for is met; and of those left out each
is taken back that turns out not to have been needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import onnx

from jdetrt.calibration.damage import Closeness, Reference
from jdetrt.calibration.quantize.layers import Layers
from jdetrt.calibration.quantize.qdq import Layout, quantise
from jdetrt.calibration.quantize.rewrite import Scales

__all__ = [
    "Attempt",
    "Choice",
    "LayerDamage",
    "Targets",
    "choose_layers",
    "fewest",
    "measure_layers",
]

OnLayer = Callable[[int, int], None]  # layers done, and in all


@dataclass(frozen=True, slots=True)
class Targets:
    """What a quantised model has to keep.

    Attributes:
        cosine: least median cosine of the embeddings.
        ap_drop: most that average precision may lose, 0 to 1.
    """

    cosine: float = 0.99
    ap_drop: float = 0.01


@dataclass(frozen=True, slots=True)
class LayerDamage:
    """What one layer does when it alone is quantised.

    Attributes:
        name: of the node.
        kind: its operator.
        closeness: to the float model.
    """

    name: str
    kind: str
    closeness: Closeness

    def to_dict(self) -> dict[str, Any]:
        """Everything by name."""
        return {"name": self.name, "kind": self.kind, **self.closeness.to_dict()}


@dataclass(frozen=True, slots=True)
class Attempt:
    """One set of layers left in float, tried in the search.

    Attributes:
        left_out: names.
        closeness: to the float model.
        ap_drop: loss of average precision, 0 to 1; None where the cosine was too low already.
        met: whether it does what was asked for.
    """

    left_out: tuple[str, ...]
    closeness: Closeness
    ap_drop: float | None
    met: bool

    def to_dict(self) -> dict[str, Any]:
        """Everything by name."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Choice:
    """What the search found.

    Attributes:
        left_out: the layers to leave in float, in the model's order.
        attempts: everything that was tried, in that order.
    """

    left_out: tuple[str, ...]
    attempts: tuple[Attempt, ...]


def measure_layers(
    model: onnx.ModelProto,
    ranges: Scales,
    reference: Reference,
    *,
    layout: Layout = "tensorrt",
    progress: OnLayer | None = None,
) -> list[LayerDamage]:
    """Quantise one layer at a time, all others in float.

    Args:
        model: in float32.
        ranges: of its tensors.
        reference: what it sees.
        layout: as in `jdetrt.calibration.quantize.qdq.quantise`.
        progress: called after each layer.

    Returns:
        One entry a layer, in the model's order.
    """
    nodes = Layers(model).nodes
    found = []
    for done, (name, node) in enumerate(nodes.items(), start=1):
        others = [other for other in nodes if other != name]
        alone = quantise(model, ranges, others, layout=layout)
        found.append(LayerDamage(name, node.op_type, reference.compare(alone).closeness))
        if progress is not None:
            progress(done, len(nodes))
    return found


def choose_layers(
    model: onnx.ModelProto,
    ranges: Scales,
    reference: Reference,
    damages: Sequence[LayerDamage],
    targets: Targets,
    *,
    always: Sequence[str] = (),
    layout: Layout = "tensorrt",
    ap_drop: Callable[[onnx.ModelProto], float] | None = None,
    on_attempt: Callable[[Attempt], None] | None = None,
) -> Choice:
    """Find the fewest layers to leave in float.

    Args:
        model: in float32.
        ranges: of its tensors.
        reference: what it sees.
        damages: of `measure_layers`.
        targets: what is asked for.
        always: layers that stay in float whatever the numbers are.
        layout: as in `jdetrt.calibration.quantize.qdq.quantise`.
        ap_drop: measures how much average precision a quantised model loses, on labelled pictures;
            by default the float model's own detections are the truth.
        on_attempt: called after each one.
    """
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
        if on_attempt is not None:
            on_attempt(attempt)
        return attempt.met

    ranked = sorted(damages, key=lambda damage: -damage.closeness.damage)
    left_out = {*fewest([d.name for d in ranked if d.name not in always], met), *always}
    return Choice(tuple(d.name for d in damages if d.name in left_out), tuple(attempts))


def fewest(ranked: Sequence[str], met: Callable[[Sequence[str]], bool]) -> list[str]:
    """The shortest beginning of a list that will do, without those in it that are not needed.

    Leaving out everything always does, for then nothing is quantised; it is not tried.

    Args:
        ranked: names, the one that is likeliest to be needed first.
        met: whether it is enough to leave these out.

    Returns:
        Names of ``ranked``, in its order. None of them can be spared; a smaller set of others may
        do, which only trying all sets would tell.

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
    kept = list(ranked[:enough])
    for name in reversed(kept[:-1]):  # without the last one it was too little
        fewer = [other for other in kept if other != name]
        if met(fewer):
            kept = fewer
    return kept
