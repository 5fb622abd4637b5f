"""Data in the forms of YOLO and COCO, and one class of your own in every form."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from jdetrt.config import LabelConfig
from jdetrt.errors import DataError
from jdetrt.training.data.check import check
from jdetrt.training.data.datasets import labelled_images

CAR = LabelConfig(id=2, name="car")
# Left, top, width and height of a person, and of two cars in an image of 40 x 20.
PERSON, CARS = (4, 2, 8, 16), ((20, 10, 16, 8), (2, 12, 10, 6))


def image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((20, 40, 3), 90, np.uint8))


def shares(box: tuple[int, ...]) -> str:
    left, top, width, height = box
    return f"{(left + width / 2) / 40} {(top + height / 2) / 20} {width / 40} {height / 20}"


def yolo(folder: Path) -> Path:
    """Two images, the second without a label file."""
    for name in "ab":
        image(folder / "images" / f"{name}.png")
    (folder / "labels").mkdir()
    rows = [f"0 {shares(PERSON)}", *(f"2 {shares(car)}" for car in CARS)]
    (folder / "labels" / "a.txt").write_text("\n".join(rows))
    (folder / "data.yaml").write_text("nc: 3\nnames: ['person', bike, car]  # as usual\n")
    return folder


def coco(folder: Path) -> Path:
    for name in "ab":
        image(folder / "images" / f"{name}.png")
    annotations = [
        {"image_id": 7, "category_id": 2 if n else 1, "bbox": box, "iscrowd": 0, "id": n}
        for n, box in enumerate((PERSON, *CARS))
    ]
    content = {
        "info": {"year": 2026},
        "images": [{"id": 7, "file_name": "a.png"}, {"id": 9, "file_name": "b.png"}],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "car"}],
    }
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder


def jde(folder: Path) -> Path:
    for name in "ab":
        image(folder / "images" / f"{name}.png")
    (folder / "labels_with_ids").mkdir()
    rows = [f"2 {n} {shares(car)}" for n, car in enumerate(CARS)]
    (folder / "labels_with_ids" / "a.txt").write_text("\n".join([*rows, f"7 3 {shares(PERSON)}"]))
    (folder / "labels_with_ids" / "b.txt").write_text("")
    return folder


def mot(folder: Path) -> Path:
    for frame in (1, 2):
        image(folder / "img1" / f"{frame:06d}.png")
    (folder / "gt").mkdir()
    rows = [(1, PERSON), *((2, car) for car in CARS)]
    text = (f"1,{n},{','.join(map(str, box))},1,{c},1\n" for n, (c, box) in enumerate(rows, 1))
    (folder / "gt" / "gt.txt").write_text("".join(text))
    return folder


@pytest.mark.parametrize("write", [yolo, coco, mot])
def test_people_by_default(write: Callable[[Path], Path], tmp_path: Path) -> None:
    data = labelled_images(write(tmp_path / "own"))
    assert len(data) == 2
    assert data[0].boxes.tolist() == [[4, 2, 12, 18]]
    assert len(data[1].boxes) == 0


@pytest.mark.parametrize("write", [yolo, coco, jde, mot])
def test_one_class_of_your_own(write: Callable[[Path], Path], tmp_path: Path) -> None:
    folder = write(tmp_path / "own")
    said: list[str] = []
    data = labelled_images(folder, label=CAR, say=said.append)
    expected = [[20, 10, 36, 18], [2, 12, 12, 18]]
    assert data[0].boxes == pytest.approx(np.array(expected), abs=1e-4)
    assert len(data[1].boxes) == len(data[0].ignore) == 0
    assert said == [f"{folder}: 1 box of other classes left out"]
    assert data.identities == (2 if write in (jde, mot) else 0)
    report = check(folder, label=CAR)
    assert (report.images, report.boxes, report.faults) == (2, 2, ())


@pytest.mark.parametrize("write", [yolo, coco, jde, mot])
def test_a_class_that_is_not_there_is_refused(
    write: Callable[[Path], Path], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"class 5\b.*(2 \(2\)|2: car).*--label") as refusal:
        labelled_images(write(tmp_path / "own"), label=LabelConfig(id=5, name="bus"))
    assert len(str(refusal.value).splitlines()) == 1


@pytest.mark.parametrize("write", [yolo, coco])
def test_a_name_that_belongs_to_another_number(
    write: Callable[[Path], Path], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"class 2 is not 'truck' \(.*2: car\)"):
        labelled_images(write(tmp_path / "own"), label=LabelConfig(id=2, name="truck"))


@pytest.mark.parametrize("names", ["names: [car, bus]", "names:\n  0: car\n  1: bus\n"])
def test_without_people_a_class_has_to_be_named(names: str, tmp_path: Path) -> None:
    folder = yolo(tmp_path / "own")
    (folder / "data.yaml").write_text(names)
    with pytest.raises(DataError, match=r"data\.yaml: no class is a person .*--label 0:car"):
        labelled_images(folder)


def test_names_as_a_list_of_lines(tmp_path: Path) -> None:
    folder = yolo(tmp_path / "own")
    (folder / "data.yaml").write_text("names:\n- bike\n- bus\n- Person\nnc: 3\n")
    assert len(labelled_images(folder)[0].boxes) == 2


def test_parts_of_a_data_set_are_not_mixed(tmp_path: Path) -> None:
    yolo(tmp_path / "own")
    for part in ("train", "val"):
        image(tmp_path / "own" / "images" / part / "c.png")
        label = tmp_path / "own" / "labels" / part / "c.txt"
        label.parent.mkdir()
        label.write_text(f"0 {shares(PERSON)}")
    with pytest.raises(DataError, match=r"parts train, val; name one: .*images/train"):
        labelled_images(tmp_path / "own")
    assert len(labelled_images(tmp_path / "own" / "images" / "train")) == 1
    for part in ("train", "valid"):
        yolo(tmp_path / "export" / part)
    with pytest.raises(DataError, match=r"parts train, valid; name one: .*/train"):
        labelled_images(tmp_path / "export")
    assert len(labelled_images(tmp_path / "export" / "train")) == 2


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("0 1 0.5 0.5 0.1 0.1", r"a\.txt:1: expected 5 columns .* got 6"),
        ("car 0.5 0.5 0.1 0.1", r"a\.txt:1: expected the number of a class, got 'car'"),
        ("0 50 20 10 10", r"a\.txt:1: expected xc as a share"),
        ("", "no image has a label file with boxes"),
    ],
)
def test_malformed_yolo_labels(row: str, message: str, tmp_path: Path) -> None:
    folder = yolo(tmp_path / "own")
    (folder / "labels" / "a.txt").write_text(row)
    with pytest.raises(DataError, match=message):
        labelled_images(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('"images"', '"pictures"'), "is not a file of COCO annotations .*images"),
        (('"a.png"', '"z.png"'), r"the image z\.png is not there; looked in"),
        (('"b.png"', '"z.png"'), r"z\.png does not exist"),
        (("[4, 2, 8, 16]", "[4, 2, 0, 16]"), r"annotations\[0\]\.bbox: expected width and height"),
        (('"image_id": 7', '"image_id": 8'), "annotations of image 8, which is not in"),
    ],
)
def test_malformed_coco_files(change: tuple[str, str], message: str, tmp_path: Path) -> None:
    file = coco(tmp_path / "own") / "annotations.json"
    file.write_text(file.read_text().replace(*change, 1))
    with pytest.raises(DataError, match=message):
        labelled_images(file)


def test_crowds_are_ignored_and_tracks_are_identities(tmp_path: Path) -> None:
    file = coco(tmp_path / "own") / "annotations.json"
    content = json.loads(file.read_text())
    content["annotations"][0] |= {"track_id": 5}
    crowd = {"image_id": 9, "category_id": 1, "bbox": [0, 0, 9, 9], "iscrowd": 1}
    content["annotations"].append(crowd)
    file.write_text(json.dumps(content))
    data = labelled_images(file)
    assert data.identities == 1
    assert (len(data[1].boxes), data[1].ignore.tolist()) == (0, [[0, 0, 9, 9]])


def test_the_form_of_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    image(tmp_path / "photos" / "a.png")
    with pytest.raises(DataError) as refusal:
        labelled_images(tmp_path / "photos")
    for form in ("labels_with_ids", "YOLO", "gt/gt.txt", "COCO"):
        assert re.search(form, str(refusal.value))
