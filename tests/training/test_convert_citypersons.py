import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from raw_data import read_jde, write_picture
from scipy.io import savemat

from jdetrt.errors import DataError
from jdetrt.training.convert.datasets import convert

LABELS = ["ignore", "pedestrian", "rider", "sitting person", "person (other)", "person group"]
# Class, x, y, w, h: of four images.
PICTURES: dict[str, list[list[int]]] = {
    "aachen/aachen_000000_000019": [
        [1, -10, 5, 30, 50],  # reaches outside
        [0, 0, 0, 20, 20],
        [4, 40, 20, 10, 12],
    ],
    "aachen/aachen_000001_000019": [[2, 1, 2, 30, 40]],
    "ulm/ulm_000000_000019": [],
    "ulm/ulm_000001_000019": [[5, 1, 2, 30, 40], [0, 1, 2, 3, 4]],
    "ulm/ulm_000002_000019": [[3, 50, 6, 7, 8]],
}
EXPECTED = {
    "aachen/aachen_000000_000019": [(-1, -10, 5, 30, 50), (-1, 40, 20, 10, 12)],
    "aachen/aachen_000001_000019": [(-1, 1, 2, 30, 40)],
    "ulm/ulm_000002_000019": [(-1, 50, 6, 7, 8)],
}


def write_pictures(raw: Path, split: str) -> None:
    for name in PICTURES:
        write_picture(raw / "leftImg8bit" / split / f"{name}_leftImg8bit.png", 128, 64)


def write_json(raw: Path, split: str) -> None:
    for name, rows in PICTURES.items():
        path = raw / "gtBboxCityPersons" / split / f"{name}_gtBboxCityPersons.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        objects = [
            {"instanceId": 24000, "bbox": box, "bboxVis": box, "label": LABELS[kind]}
            for kind, *box in rows
        ]
        path.write_text(json.dumps({"imgHeight": 64, "imgWidth": 128, "objects": objects}))


def write_mat(raw: Path, split: str) -> None:
    cells = np.empty((1, len(PICTURES)), object)
    for i, (name, rows) in enumerate(PICTURES.items()):
        city, image = name.split("/")
        table = [[*row, 24000, *row[1:]] for row in rows]
        cells[0, i] = {
            "cityname": city,
            "im_name": f"{image}_leftImg8bit.png",
            "bbs": np.array(table, np.int16).reshape(-1, 10),
        }
    (raw / "annotations").mkdir()
    savemat(raw / "annotations" / f"anno_{split}.mat", {f"anno_{split}_aligned": cells})


@pytest.mark.parametrize("write", [write_json, write_mat])
@pytest.mark.parametrize("split", ["train", "val"])
def test_people_of_both_forms(tmp_path: Path, write: Any, split: str) -> None:
    write_pictures(tmp_path / "raw", split)
    write(tmp_path / "raw", split)
    done = convert("citypersons", tmp_path / "raw", tmp_path / "out", split=split)
    folder = f"CityPersons/{split}/images"
    assert read_jde(done.listing) == {
        f"{folder}/{name}_leftImg8bit.png": rows for name, rows in EXPECTED.items()
    }
    assert done.listing.name == f"citypersons.{split}"


def test_what_is_missing_or_wrong(tmp_path: Path) -> None:
    raw = tmp_path / "raw"

    def refuse(message: str) -> None:
        with pytest.raises(DataError, match=message):
            convert("citypersons", raw, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    refuse(r"raw: expected gtBboxCityPersons/train/ or annotations/anno_train\.mat")
    write_mat(raw_folder(raw), "train")
    refuse(r"aachen_000000_000019_leftImg8bit\.png: cannot be read")
    mat = raw / "annotations" / "anno_train.mat"
    savemat(mat, {"anno_train_aligned": np.array([[{"cityname": "ulm"}]], object)})
    refuse(r"anno_train\.mat: image 1: expected cityname, im_name and bbs with 10")
    savemat(mat, {"anno_train_aligned": 5})
    refuse(r"anno_train\.mat: image 1")
    write_pictures(raw, "train")
    write_json(raw, "train")
    path = raw / "gtBboxCityPersons/train/ulm/ulm_000002_000019_gtBboxCityPersons.json"
    whole = path.read_text()
    for text in (whole[:40], "", "[]", '{"objects": [{"bbox": [1, 2, 3, 4]}]}'):
        path.write_text(text)
        refuse(r"ulm_000002_000019_gtBboxCityPersons\.json: expected objects with label and bbox")
    path.write_text(whole.replace("sitting person", "cat"))
    refuse("unknown label 'cat'")
    path.write_text(whole.replace("[50, 6, 7, 8]", "[50, 6, 7]"))
    refuse("expected 4 columns, got 3")


def raw_folder(raw: Path) -> Path:
    raw.mkdir()
    return raw
