"""Which layers hurt, and the search for the fewest to leave in float."""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper
from phases import Phases
from small_graphs import FixedScales, observed
from tiny_network import SIZE, save_tiny

from jdetrt.calibration.config import Targets
from jdetrt.calibration.damage import Reference
from jdetrt.calibration.quantize.qdq import layer_names, quantise, tensors_to_quantise
from jdetrt.calibration.search import (
    LayerDamage,
    choose_layers,
    fewest,
    measure_layers,
)
from jdetrt.config import ExportConfig
from jdetrt.export.onnx_writer import export_onnx
from jdetrt.export.parity import synthetic_pictures
from jdetrt.runtime.preprocess import letterbox

IMAGES = [letterbox(picture, SIZE)[0][None] for picture in synthetic_pictures(1, SIZE)]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8), st.integers(0, 40))
def test_the_fewest(damages: list[int], allowed: int) -> None:
    """Damages that add up: what is found is as small as the best of all sets."""
    names = [str(i) for i in range(len(damages))]
    ranked = sorted(names, key=lambda name: -damages[int(name)])
    tried: list[frozenset[str]] = []

    def met(left_out: Sequence[str]) -> bool:
        tried.append(frozenset(left_out))
        return sum(d for i, d in enumerate(damages) if str(i) not in left_out) <= allowed

    found = fewest(ranked, met)
    smallest = next(
        size
        for size in range(len(names) + 1)
        if any(met(subset) for subset in combinations(names, size))
    )
    assert len(found) == smallest
    assert met(found)
    assert found == [name for name in ranked if name in found]


def test_what_is_not_needed_is_taken_back() -> None:
    """The ranking is wrong about two layers: alone they hurt, together they do not."""
    assert fewest("abcdefghij", {"a", "g"}.issubset) == ["a", "g"]
    assert fewest("abcdefghij", {"j"}.issubset) == ["j"]
    assert fewest("", lambda _: False) == []
    assert fewest("ab", lambda _: False) == ["a", "b"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    folder = tmp_path_factory.mktemp("tiny")
    with pytest.MonkeyPatch.context() as patch:
        source = save_tiny(folder / "tiny.safetensors", patch)
        export_onnx(source, folder / "model.onnx", ExportConfig(top_k=200))
    return onnx.load(folder / "model.onnx")


BAD = "/network/levels.1/embedding/Conv"


@pytest.fixture(scope="module")
def hurt(tiny: onnx.ModelProto) -> onnx.ModelProto:
    """One embedding convolution that a large weight makes impossible to quantise well."""
    model = onnx.ModelProto()
    model.CopyFrom(tiny)
    (node,) = (node for node in model.graph.node if node.name == BAD)
    (tensor,) = (t for t in model.graph.initializer if t.name == node.input[1])
    values = numpy_helper.to_array(tensor).copy()
    values[:, 0] *= 0  # its input is multiplied by nothing ...
    values[:, 0, 0, 0] = 60 * np.abs(values).max()  # ... but this one, which is large
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return model


class Measured(NamedTuple):
    model: onnx.ModelProto
    scales: FixedScales
    reference: Reference
    damages: list[LayerDamage]
    phases: Phases


@pytest.fixture(scope="module")
def measured(hurt: onnx.ModelProto) -> Measured:
    scales = observed(hurt, tensors_to_quantise(hurt), IMAGES[0])
    reference = Reference(hurt, IMAGES, 1)
    phases = Phases()
    damages = measure_layers(hurt, scales, reference, progress=phases)
    return Measured(hurt, scales, reference, damages, phases)


def test_layers_one_at_a_time(measured: Measured) -> None:
    model, scales, reference, damages, phases = measured
    names = layer_names(model)
    assert [damage.name for damage in damages] == names
    assert [step[1:] for step in phases.steps] == [(i + 1, len(names)) for i in range(len(names))]
    assert {damage.kind for damage in damages} == {"Conv"}
    worst = max(damages, key=lambda damage: 1 - damage.closeness.mean_cosine)
    assert worst.name == BAD
    # An embedding convolution changes no box and no score.
    assert worst.closeness.iou == 1
    assert worst.closeness.score == 0
    alone = quantise(model, scales, [name for name in names if name != BAD])
    assert reference.compare(alone).closeness == worst.closeness
    assert worst.closeness.damage > 0


def test_layers_are_left_out_until_the_targets_are_met(measured: Measured) -> None:
    model, scales, reference, damages, _ = measured
    everything = reference.compare(quantise(model, scales)).closeness
    without = reference.compare(quantise(model, scales, [BAD])).closeness
    assert everything.cosine < without.cosine
    between = Targets((everything.cosine + without.cosine) / 2, 1.0)
    phases = Phases()
    choice = choose_layers(model, scales, reference, damages, between, progress=phases)
    told = choice.attempts
    assert choice.left_out == (BAD,)
    assert phases.steps == [("Choosing layers", 1, None), ("Choosing layers", 2, None)]
    assert [attempt.left_out for attempt in told] == [(), (BAD,)]
    assert told[0].ap_drop is None  # the cosine was too low already
    assert told[1].met
    assert told[1].closeness == without
    assert told[1].ap_drop == 1 - without.agreement  # without labels the float model is right

    first = layer_names(model)[0]
    for always in ([], [first]):
        free = choose_layers(model, scales, reference, damages, Targets(0.0, 1.0), always=always)
        assert list(free.left_out) == always
    impossible = choose_layers(model, scales, reference, damages, Targets(1.1, 1.0))
    assert impossible.left_out == tuple(layer_names(model))


def test_average_precision_on_labelled_pictures_decides(measured: Measured) -> None:
    model, scales, reference, damages, _ = measured
    last = max(damages[3:], key=lambda damage: damage.closeness.damage).name

    def drop(quantised: onnx.ModelProto) -> float:
        notes = {entry.key: entry.value for entry in quantised.metadata_props}
        return 0.005 if last in notes["int8_float_layers"].split("\n") else 0.02

    choice = choose_layers(model, scales, reference, damages, Targets(0.0, 0.01), ap_drop=drop)
    assert choice.left_out == (last,)
    assert all(attempt.met == (attempt.ap_drop == 0.005) for attempt in choice.attempts)
