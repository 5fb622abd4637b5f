"""One class of your own: from the labels of the data to the results of tracking."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import msgspec
import numpy as np
import onnx
import pytest
import safetensors
from small_runs import learn_tiny_body

from jdetrt.cli import main
from jdetrt.config import ANY_ASPECT, LabelConfig, ReferenceConfig
from jdetrt.functions.loading import load
from jdetrt.runtime.settings import label_note, label_of, tracker_config
from jdetrt.runtime.sinks.draw import draw_tracks
from jdetrt.runtime.sinks.outputs import open_output
from jdetrt.testing import FakeSession
from jdetrt.training.recipe import open_recipe, starter
from jdetrt.types import Detections, Frame, Tracks

CAR = LabelConfig(id=3, name="car")
TRACKS = Tracks([7], [[10, 20, 110, 40]], [0.9])
RECIPE = """
batch = 2
mixed_precision = false
frozen_norms = "all"
[network]
body = "tiny"
size = [64, 64]
embedding_dim = 8
[schedule]
epochs = 1
burn_in = 0
"""


def run(*args: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([*map(str, args)])
    return int(stop.value.code or 0)


@pytest.fixture
def cars(tmp_path: Path) -> Path:
    """A MOT sequence of a car (class 3) and a person."""
    folder = tmp_path / "cars"
    (folder / "img1").mkdir(parents=True)
    (folder / "gt").mkdir()
    rows = []
    for frame in range(1, 5):
        image = np.full((64, 64, 3), 40, np.uint8)
        cv2.rectangle(image, (8 + frame, 20), (44 + frame, 40), (200, 90, 30), -1)
        cv2.imwrite(str(folder / "img1" / f"{frame:06d}.png"), image)
        rows.append(f"{frame},1,{8 + frame},20,36,20,1,3,1\n{frame},2,50,10,10,30,1,1,1\n")
    (folder / "gt" / "gt.txt").write_text("".join(rows))
    return folder


@pytest.mark.usefixtures("one_thread")
def test_from_the_labels_to_the_results(
    cars: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(cars.parent)
    learn_tiny_body(monkeypatch)
    Path("tiny.toml").write_text(RECIPE)
    flags = ("--data", cars, "--label", "3:car", "--workers", 0, "--device", "cpu")
    assert run("train", "tiny.toml", "-o", "out", *flags) == 0
    output, error = capsys.readouterr()
    assert output.startswith("4 images per epoch, 1 identity, tiny on cpu\n")
    assert f"{cars}: 4 boxes of other classes left out" in error
    recipe = json.loads(Path("out/recipe.json").read_text())
    assert recipe["network"]["label"] == {"id": 3, "name": "car"}
    assert recipe["data"][0]["path"] == str(cars)
    assert run("train", "-o", "out", "--resume", "--workers", 0) == 0  # from anywhere
    with safetensors.safe_open("out/last.safetensors", framework="np") as file:
        assert json.loads(file.metadata()["config"])["label"] == {"id": 3, "name": "car"}
    assert run("export", "out/last.safetensors", "-o", "car.onnx", "--top-k", 20) == 0
    metadata = {one.key: one.value for one in onnx.load("car.onnx").metadata_props}
    assert json.loads(metadata["label"]) == {"id": 3, "name": "car"}
    for model in ("out/last.safetensors", "car.onnx"):
        with load(Path(model), provider="cpu") as detector:
            assert label_of(detector.session) == CAR
            assert detector.tracker_config.max_aspect == ANY_ASPECT


def test_results_name_the_class(tmp_path: Path) -> None:
    frame = Frame(image=np.zeros((80, 160, 3), np.uint8), index=1, timestamp=0.0)
    texts = {}
    for kind in ("mot", "kitti", "jsonl"):
        for label in (CAR, None):
            with open_output(kind, tmp_path / kind, 30.0, label=label) as sink:
                sink.write(frame, TRACKS)
            texts[kind, label is None] = (tmp_path / kind).read_text()
    assert texts["mot", False].split(",")[6:] == ["1", "3", "-1", "-1\n"]
    assert texts["mot", True].split(",")[6:] == ["1", "-1", "-1", "-1\n"]
    assert [texts["kitti", people].split()[2] for people in (False, True)] == ["car", "Pedestrian"]
    [car] = json.loads(texts["jsonl", False])["tracks"]
    assert (car["label"], car["label_id"]) == ("car", 3)
    [person] = json.loads(texts["jsonl", True])["tracks"]
    assert set(person) == {"id", "box", "score"}


def test_the_class_is_drawn_before_the_id() -> None:
    image = np.zeros((80, 160, 3), np.uint8)
    named, plain = (draw_tracks(image, TRACKS, name=name) for name in ("car", ""))
    widths = [np.flatnonzero(one[:19].any(axis=(0, 2))).max() for one in (named, plain)]
    assert widths[0] > widths[1] + 10


def test_no_box_is_too_wide_for_another_class() -> None:
    detections = [Detections([[0, 0, 9, 9]], [0.9])]
    people, cars = (
        FakeSession.from_detections(
            detections, size=(64, 64), source_size=(64, 64), metadata=label_note(label)
        )
        for label in (None, CAR)
    )
    assert tracker_config(people).max_aspect < 2
    assert tracker_config(cars).max_aspect == ANY_ASPECT
    assert tracker_config(cars, "reference") == ReferenceConfig(max_aspect=ANY_ASPECT)


def test_the_starter_has_the_network_of_the_built_in_model() -> None:
    with load("nano", threads=1) as detector:
        settings = detector.tracker_config
    network = msgspec.structs.replace(open_recipe("nano").network, tracker=settings)
    recipe = starter(network)
    assert (recipe.start, recipe.network) == ("nano", network)
    assert recipe.data == ()


@pytest.mark.parametrize("text", ["car", "x:car", "2:", "-1:car", "2:my car", "2:a,b"])
def test_a_label_that_is_no_label(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "--data", "x", "-o", "out", "--label", text) == 2
    assert "such as 2:car" in capsys.readouterr().err
