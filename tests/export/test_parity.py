"""What counts as the same, and what does not."""

import numpy as np
import numpy.typing as npt
import pytest
import torch

from jdetrt.export.deploy_graph import Decode
from jdetrt.export.parity import FLOAT32, Parity, compare, synthetic_pictures
from jdetrt.training.network.anchors import anchor_sizes
from jdetrt.training.network.pyramid import HeadMaps
from jdetrt.types import Array

DECODE = Decode((96, 64), anchor_sizes(96, 64), 50, 8)


@pytest.fixture
def pair() -> tuple[list[Array], npt.NDArray[np.int64], list[Array]]:
    """A correct answer, its candidates, and what torch says about all of them."""
    generator = torch.Generator().manual_seed(0)
    heads = [
        HeadMaps(
            0.1 * torch.randn(1, 24, rows, columns, generator=generator),
            torch.randn(1, 8, rows, columns, generator=generator),
        )
        for columns, rows in ((3, 2), (6, 4), (12, 8))
    ]
    have = [tensor[0].numpy().copy() for tensor in DECODE(heads)]
    want = [tensor[0].double().numpy() for tensor in DECODE.forward_all(heads)]
    return have, np.argsort(-want[1], kind="stable")[:50], want


def agrees(found: Parity) -> bool:
    limits = FLOAT32
    return (
        found.boxes <= limits.boxes
        and found.scores <= limits.scores
        and found.embeddings <= limits.embeddings
    )


def test_the_same(pair: tuple[list[Array], npt.NDArray[np.int64], list[Array]]) -> None:
    found = compare(*pair, DECODE)
    assert agrees(found)
    assert found.boxes_px < 1e-4


def test_nearly_equal_scores_may_change_places() -> None:
    scores = np.full(504, 0.5)
    scores[10] += 1e-7
    boxes = np.arange(504 * 4, dtype=np.float64).reshape(504, 4)
    embeddings = np.eye(126, 8)
    # Ten quite other candidates than torch would have taken, all with a score as good.
    chosen = np.arange(100, 110)
    have = [boxes[chosen], scores[chosen], embeddings[DECODE.cells.numpy()[chosen]]]
    assert agrees(compare(have, chosen, [boxes, scores, embeddings], DECODE))
    scores[10] += 1e-3
    assert not agrees(compare(have, chosen, [boxes, scores, embeddings], DECODE))


def test_the_worst_of_several_frames() -> None:
    one, other = Parity(2, 1.0, 4.0, 1.0, 4.0), Parity(3, 4.0, 1.0, 4.0, 1.0)
    assert one.worst(other) == other.worst(one) == Parity(5, 4.0, 4.0, 4.0, 4.0)


def test_a_box_counts_by_its_longest_side() -> None:
    boxes = np.tile(np.array([0.0, 0.0, 400.0, 10.0]), (504, 1))
    scores, embeddings = np.full(504, 0.5), np.eye(126, 8)
    chosen = np.arange(100, 110)
    have = [boxes[chosen] + 0.4, scores[chosen], embeddings[DECODE.cells.numpy()[chosen]]]
    parity = compare(have, chosen, [boxes, scores, embeddings], DECODE)
    assert (parity.boxes_px, parity.boxes) == pytest.approx((0.4, 0.001))


def test_a_lead_counts_by_half() -> None:
    # Both of two scores may be off by a half of what they seem to be apart.
    scores = np.full(504, 0.25)
    scores[10] += 0.125
    boxes = np.arange(504 * 4, dtype=np.float64).reshape(504, 4)
    embeddings = np.eye(126, 8)
    chosen = np.arange(100, 110)
    have = [boxes[chosen], scores[chosen], embeddings[DECODE.cells.numpy()[chosen]]]
    assert compare(have, chosen, [boxes, scores, embeddings], DECODE).scores == 0.0625
    # One that leads by less than nothing, because it was chosen, does not count.
    have[1][0] = scores[100] = 0.5
    scores[10] = 0.125
    assert compare(have, chosen, [boxes, scores, embeddings], DECODE).scores == 0


def test_differences_are_found(
    pair: tuple[list[Array], npt.NDArray[np.int64], list[Array]],
) -> None:
    have, chosen, want = pair

    def changed(index: int, value: Array) -> bool:
        other = [array.copy() for array in have]
        other[index] = value
        return agrees(compare(other, chosen, want, DECODE))

    boxes, scores, embeddings = have
    assert not changed(0, boxes + 0.05)
    assert not changed(0, boxes[::-1])
    assert not changed(0, boxes * np.nan)
    assert not changed(1, scores + 3e-4)
    assert not changed(1, scores[::-1])
    assert not changed(2, embeddings * 1.1)  # the right direction, another length
    assert not changed(2, -embeddings)
    assert not changed(2, embeddings + 1e-3)  # 4e-6 in one minus cosine
    assert not changed(2, np.roll(embeddings, 1, axis=0))

    twice = chosen.copy()
    twice[1] = twice[0]
    same = [array.copy() for array in have]
    for array in same:
        array[1] = array[0]
    assert not agrees(compare(same, twice, want, DECODE))


def test_scores_descend_to_rounding() -> None:
    scores = np.linspace(0.99, 0.01, 504)
    boxes, embeddings = np.zeros((504, 4)), np.eye(126, 8)
    chosen = np.arange(50)
    have = [boxes[chosen], scores[chosen], embeddings[DECODE.cells.numpy()[chosen]]]
    have[1][20] = have[1][19] + 1.2e-7  # as ONNX Runtime's sigmoid does
    want = [boxes, np.concatenate([have[1], scores[50:]]), embeddings]
    assert agrees(compare(have, chosen, want, DECODE))
    have[1][20] = want[1][20] = have[1][19] + 1e-3
    assert not agrees(compare(have, chosen, want, DECODE))


def test_boxes_may_differ_by_what_float32_rounds() -> None:
    boxes = np.tile([0.0, 0.0, 600.0, 640.0], (504, 1))
    scores, embeddings = np.linspace(0.9, 0.1, 504), np.eye(126, 8)
    chosen = np.arange(5)
    have = [boxes[chosen] + 2e-3, scores[chosen], embeddings[DECODE.cells.numpy()[chosen]]]
    found = compare(have, chosen, [boxes, scores, embeddings], DECODE)
    assert found.boxes_px == pytest.approx(2e-3, rel=1e-3)
    assert agrees(found)


def test_synthetic_pictures_are_varied_and_repeatable() -> None:
    first, second = synthetic_pictures(2, (96, 64), seed=5)
    assert first.shape == (64, 96, 3)
    assert first.dtype == np.uint8
    assert (first != second).mean() > 0.5
    assert (first == synthetic_pictures(1, (96, 64), seed=5)[0]).all()
    assert synthetic_pictures(1, (32, 32))[0].shape == (32, 32, 3)
