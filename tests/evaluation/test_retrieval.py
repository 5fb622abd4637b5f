from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from tiny_network import SIZE, save_tiny
from torch import nn

from jdetrt.errors import DataError
from jdetrt.evaluation.retrieval import Retrieval, draw, retrieve
from jdetrt.export.torch_session import load_network
from jdetrt.runtime.preprocess import Letterbox, letterbox
from jdetrt.training.network.anchors import anchor_sizes, grids
from jdetrt.training.network.model import JdeNetwork, random_network

U8 = npt.NDArray[np.uint8]
ANCHORS = anchor_sizes(*SIZE)


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JdeNetwork:
    return load_network(save_tiny(tmp_path / "tiny.safetensors", monkeypatch))[0]


def frame(seed: int, size: tuple[int, int] = SIZE) -> U8:
    return np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)


def box_of(head: int, anchor: int, column: int, row: int) -> list[float]:
    """A box with the size of an anchor, its centre within a cell."""
    width, height = ANCHORS[head, anchor].tolist()
    stride = (32, 16, 8)[head]
    x, y = (column + 0.4) * stride, (row + 0.6) * stride
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]


@pytest.mark.parametrize(("head", "column", "row"), [(0, 1, 2), (1, 4, 0), (2, 15, 11)])
def test_similarities_cell_by_cell(network: JdeNetwork, head: int, column: int, row: int) -> None:
    query, target = frame(0), frame(1)
    box = box_of(head, 1, column, row)
    found = retrieve(network, query, box, target, size=SIZE, anchors=ANCHORS)
    images = torch.from_numpy(np.stack([letterbox(i, SIZE)[0] for i in (query, target)]))
    with torch.inference_mode():
        maps = network(images)[head]
        detection = layers(network, head)
        taken = detection[:-1](bottleneck(network, images, head))
    for have, want in ((found.embedding, maps.embedding), (found.detection, taken)):
        person, others = want[0, :, row, column].double(), want[1].double()
        columns, rows = grids(*SIZE)[head]
        assert have.shape == (rows, columns)
        for y in range(rows):
            for x in range(columns):
                other = others[:, y, x]
                cosine = person @ other / (person.norm() * other.norm())
                assert have[y, x] == pytest.approx(float(cosine), abs=1e-5)
    assert found.stride == (32, 16, 8)[head]


def layers(network: JdeNetwork, head: int) -> nn.Sequential:
    detection: Any = network.levels[head].get_submodule("detection")
    assert isinstance(detection, nn.Sequential)
    return detection


def bottleneck(network: JdeNetwork, images: torch.Tensor, head: int) -> torch.Tensor:
    feature: torch.Tensor | None = None
    maps = list(reversed(network.body(images)))
    for level, skip in zip(list(network.levels)[: head + 1], maps, strict=False):
        feature, _ = level(skip, feature)
    assert feature is not None
    return feature


def test_the_person_finds_itself(network: JdeNetwork) -> None:
    query = frame(0)
    found = retrieve(network, query, box_of(2, 0, 7, 3), query, size=SIZE, anchors=ANCHORS)
    for similarity in (found.detection, found.embedding):
        assert similarity[3, 7] == pytest.approx(1.0, abs=1e-5)
        assert similarity.argmax() == 3 * 16 + 7
        assert similarity.min() >= -1.001


def test_it_works_on_nano_and_leaves_no_hook() -> None:
    network = random_network(0, "nano", 16)
    found = retrieve(network, frame(0), box_of(1, 0, 2, 2), frame(1), size=SIZE, anchors=ANCHORS)
    assert found.embedding.shape == (6, 8)
    assert not any(module._forward_pre_hooks for module in network.modules())


@pytest.mark.parametrize(
    ("box", "why"),
    [
        ([10, 10, 10, 40], "has no area"),
        ([50, 50, 40, 80], "has no area"),
        ([120, 10, 150, 40], "outside the frame of 128x96"),
        ([10, -60, 30, 20], "outside the frame of 128x96"),
    ],
)
def test_boxes_that_are_no_person(network: JdeNetwork, box: list[float], why: str) -> None:
    with pytest.raises(DataError, match=why):
        retrieve(network, frame(0), box, frame(1), size=SIZE, anchors=ANCHORS)


def test_colours_stand_where_the_cells_are() -> None:
    """A single similar cell shows at its place in the target, on the right map."""
    target = np.zeros((240, 320, 3), np.uint8)
    fit = Letterbox.fit((320, 240), (640, 480))
    nothing = np.zeros((15, 20), np.float32)
    one = nothing.copy()
    one[5, 12] = 1.0  # network pixel 384, 160; target pixel 192, 80
    picture = draw(Retrieval(nothing, one, 32, fit), target, [10, 20, 50, 100], target)
    panel, title = (640, 480), 28
    assert picture.shape == (2 * (panel[1] + title), 2 * panel[0] + 72, 3)
    lower = picture[panel[1] + 2 * title :]
    flat, spot = lower[:, : panel[0]], lower[:, panel[0] : 2 * panel[0]]
    np.testing.assert_array_equal(flat, np.broadcast_to(flat[0, 0], flat.shape))
    red = spot[..., 2].astype(int) - spot[..., 0]
    y, x = np.argwhere(red > 80).mean(axis=0)
    assert (x, y) == (pytest.approx(2 * 192, abs=2), pytest.approx(2 * 80, abs=2))


def test_boxes_are_drawn_where_they_are_known() -> None:
    query, target = np.zeros((240, 320, 3), np.uint8), np.zeros((240, 320, 3), np.uint8)
    maps = np.zeros((15, 20), np.float32)
    found = Retrieval(maps, maps, 32, Letterbox.fit((320, 240), (640, 480)))
    boxes: dict[str, Any] = {"box": [10, 20, 50, 100]}
    bare = draw(found, query, target=target, **boxes)
    marked = draw(found, query, target=target, target_box=[100, 20, 150, 100], **boxes)
    yellow = [(picture == (0, 255, 255)).all(axis=2) for picture in (bare, marked)]
    assert yellow[0][28 + 40, 20]  # the corner of the query, twice as large
    assert not yellow[0][:, 640:1280].any()
    assert yellow[1][28 + 40, 640 + 200]
    assert yellow[1][508 + 28 + 40, 200]
    assert yellow[1][508 + 28 + 40, 640 + 200]


def test_frames_of_different_shapes() -> None:
    maps = np.full((15, 20), 0.5, np.float32)
    found = Retrieval(maps, -maps, 32, Letterbox.fit((320, 180), (640, 480)))
    picture = draw(found, frame(0, (100, 200)), [1, 1, 9, 9], frame(1, (320, 180)))
    assert picture.shape == (2 * (1280 + 28), 1352, 3)
    assert cv2.imencode(".png", picture)[0]


def test_a_network_without_anchors() -> None:
    other = random_network(0, "nanodet-g", 16)
    with pytest.raises(DataError, match="'nanodet-g' predicts distances"):
        retrieve(other, frame(0), box_of(0, 1, 1, 1), frame(1), size=SIZE, anchors=ANCHORS)
