from __future__ import annotations

import itertools

import numpy as np
import pytest

from jdetrt.runtime.sinks.draw import Trails, draw_tracks, id_color
from jdetrt.types import Tracks


def _tracks(*rows: tuple[int, float, float, float, float]) -> Tracks:
    return Tracks(
        np.array([row[0] for row in rows], np.int64),
        np.array([row[1:] for row in rows], np.float32).reshape(-1, 4),
        np.ones(len(rows), np.float32),
    )


def _grey(width: int = 320, height: int = 240) -> np.ndarray:
    return np.full((height, width, 3), 90, np.uint8)


def _has_color(image: np.ndarray, track: int) -> np.ndarray:
    """Where a pixel is nearer to the colour than to the grey: lines have soft edges."""
    color = np.array(id_color(track), float)
    return np.asarray(
        np.linalg.norm(image - color, axis=2) < np.linalg.norm(color - 90) / 2, np.bool_
    )


def test_a_box_and_its_label() -> None:
    image = _grey()
    drawn = draw_tracks(image, _tracks((7, 100, 80, 160, 200)))
    assert (image == 90).all()
    assert drawn.shape == image.shape
    colored = _has_color(drawn, 7)
    assert colored[80, 110:155].all()  # upper edge
    assert colored[200, 105:155].all()
    assert colored[90:190, 100].all()
    assert colored[90:190, 160].all()
    assert not colored[90:190, 110:150].any()  # the person stays visible
    rows, columns = np.nonzero(colored[:78])  # the label stands on the box
    assert rows.size > 30
    assert columns.min() >= 98
    assert (drawn[:60] == 90).all()


@pytest.mark.parametrize(
    "box",
    [
        (-50, -40, 60, 90),
        (300, 200, 900, 700),
        (0, 0, 320, 240),
        (-9e9, -9e9, 9e9, 9e9),
        (500, 500, 600, 600),
    ],
)
def test_boxes_across_the_edge_keep_a_readable_label(box: tuple[float, ...]) -> None:
    drawn = draw_tracks(_grey(), _tracks((3, *box)))  # type: ignore[arg-type]
    assert _has_color(drawn, 3).sum() > 30


def test_nothing_to_draw_and_tiny_pictures() -> None:
    assert (draw_tracks(_grey(), _tracks()) == 90).all()
    assert draw_tracks(_grey(1, 1), _tracks((1, 0, 0, 1, 1)), caption="1").shape == (1, 1, 3)


def test_the_line_grows_with_the_picture() -> None:
    def width_of_line(scale: int) -> int:
        tracks = _tracks((1, 100 * scale, 80 * scale, 160 * scale, 200 * scale))
        drawn = draw_tracks(_grey(320 * scale, 240 * scale), tracks)
        return int(_has_color(drawn, 1)[140 * scale, : 130 * scale].sum())

    assert width_of_line(1) < width_of_line(6)


def test_the_caption() -> None:
    drawn = draw_tracks(_grey(), _tracks(), caption="frame 7")
    assert (drawn[:20, :20] != 90).any()
    assert (drawn[120:] == 90).all()


def test_colors_are_fixed_and_those_of_near_ids_differ() -> None:
    assert id_color(5) == id_color(5)
    colors = np.array([id_color(i) for i in range(1, 200)], int)
    for i, j in itertools.combinations(range(len(colors)), 2):
        if j - i <= 40:
            assert abs(colors[i] - colors[j]).sum() >= 40, (i + 1, j + 1)


def test_trails_follow_the_feet_of_those_present() -> None:
    trails = Trails(length=2)
    assert trails.update(_tracks((1, 0, 0, 10, 20), (2, 50, 0, 60, 30))) == {
        1: [(5, 20)],
        2: [(55, 30)],
    }
    trails.update(_tracks((1, 10, 0, 20, 20)))
    assert trails.update(_tracks((1, 20, 0, 30, 20))) == {1: [(15, 20), (25, 20)]}
    assert trails.update(_tracks()) == {}


def test_a_trail_is_drawn_in_the_color_of_its_id() -> None:
    points = {4: [(10.0, 230.0), (100.0, 230.0)]}
    drawn = draw_tracks(_grey(), _tracks((4, 80, 100, 120, 230)), trails=points)
    assert _has_color(drawn, 4)[230, 15:80].all()
