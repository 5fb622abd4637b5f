"""Heat maps, and regions drawn on an image."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from jdetrt.errors import OutputError
from jdetrt.runtime.events.counter import EventCounter
from jdetrt.runtime.events.regions import Line, Regions, Zone
from jdetrt.runtime.sinks.draw_regions import draw_regions
from jdetrt.runtime.sinks.heat_map import HeatMapSink
from jdetrt.types import Frame, Tracks

GREY = np.full((120, 240, 3), 128, np.uint8)


def test_heat_map_is_hot_where_people_stand(tmp_path: Path) -> None:
    path = tmp_path / "heat.png"
    person = Tracks([1, 2], [[50, 40, 70, 90], [-50, 0, -40, 20]], [0.9, 0.9])
    with HeatMapSink(path) as sink:
        for index in range(1, 20):
            sink.write(Frame(GREY, index), person)
    image = np.asarray(cv2.imread(str(path)), int)
    assert image.shape == GREY.shape
    change = np.abs(image - 128).max(axis=2)
    y, x = np.unravel_index(int(image[..., 2].argmax()), change.shape)  # the hottest is red
    assert abs(x - 60) <= 6
    assert abs(y - 90) <= 6
    assert change[:, 150:].max() == 0  # nobody was there, nor does somebody outside count


def test_heat_map_without_frames_does_not_exist(tmp_path: Path) -> None:
    HeatMapSink(tmp_path / "heat.png").close()
    assert list(tmp_path.iterdir()) == []


def test_heat_map_refuses_other_suffixes_and_frames_without_image(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"heat\.txt"):
        HeatMapSink(tmp_path / "heat.txt")
    with HeatMapSink(tmp_path / "heat.png") as sink, pytest.raises(OutputError, match="frame 3"):
        sink.write(Frame(np.empty((0, 0, 3), np.uint8), 3), Tracks.empty())


def test_regions_are_drawn_where_they_are() -> None:
    regions = Regions(
        line=(Line(name="door", points=((0.1, 0.5), (0.4, 0.5))),),
        zone=(Zone(name="schlange", points=((0.6, 0.1), (0.9, 0.1), (0.9, 0.9), (0.6, 0.9))),),
    )
    canvas = GREY.copy()
    draw_regions(canvas, EventCounter(regions))
    changed = (canvas != GREY).any(axis=2)
    assert changed[60, 26:94].all()  # the line
    assert changed[60, 146:214].all()  # the zone is filled
    assert not changed[80:, 105:130].any()
