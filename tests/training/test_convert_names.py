"""Names in a download lead nowhere but into its folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from raw_data import jpeg, write_picture
from scipy.io import savemat

from jdetrt.errors import DataError
from jdetrt.training.convert.datasets import convert
from jdetrt.training.convert.names import inner_name
from jdetrt.training.convert.writer import LabelledImage, write_data_set

BAD = [
    "../../x.jpg",
    "/tmp/x.jpg",
    "a/../../x.jpg",
    "..",
    "..\\x.jpg",
    "C:\\x.jpg",
    "a\n/x.jpg",
    "",
]


@pytest.mark.parametrize("name", BAD)
def test_names_that_lead_out(name: str) -> None:
    with pytest.raises(DataError, match=r"^Images\.mat: names the image "):
        inner_name(name, "Images.mat")


@pytest.mark.parametrize("name", ["a.jpg", "city/b.png", "a..b/c.jpg", "...", "ä 1.jpg"])
def test_names_that_stay(name: str) -> None:
    assert inner_name(name, "a") == name


@pytest.mark.parametrize("name", BAD[:4])
def test_nothing_is_written_outside_whatever_a_converter_says(tmp_path: Path, name: str) -> None:
    image = LabelledImage(name, jpeg(), np.zeros((0, 4)), ())
    victim = tmp_path / "x.jpg"
    victim.write_text("mine")
    with pytest.raises(DataError, match="leads out of the folder"):
        write_data_set([image], tmp_path / "out", "Set/train", "set.train")
    assert victim.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["x.jpg"]


def _cells(names: list[str]) -> Any:
    cells = np.empty((len(names), 1), object)
    cells[:, 0] = names
    return cells


def _cuhk(raw: Path, name: str) -> None:
    box = np.zeros((1, 1), [("idlocate", object)])
    box[0, 0] = (np.array([[1, 2, 30, 30]]),)
    image = np.zeros((1, 1), [("imname", object), ("box", object)])
    image[0, 0] = (name, box)
    person = np.zeros((1, 0), [("idname", object), ("scene", object)])
    (raw / "annotation").mkdir(parents=True)
    savemat(raw / "annotation" / "Images.mat", {"Img": image})
    savemat(raw / "annotation" / "Person.mat", {"Person": person})
    savemat(raw / "annotation" / "pool.mat", {"pool": _cells(["other.jpg"])})


def _prw(raw: Path, name: str) -> None:
    (raw / "annotations").mkdir(parents=True)
    savemat(raw / "frame_train.mat", {"img_index_train": _cells([name])})


def _citypersons(raw: Path, name: str) -> None:
    image = np.zeros((1, 1), [("cityname", object), ("im_name", object), ("bbs", object)])
    image[0, 0] = ("..", name, np.array([[1, 1, 2, 30, 30, 1, 1, 2, 30, 30]]))
    (raw / "annotations").mkdir(parents=True)
    cell = np.empty((1, 1), object)
    cell[0, 0] = image
    savemat(raw / "annotations" / "anno_train.mat", {"anno_train_aligned": cell})


def _caltech(raw: Path, name: str) -> None:
    raw.mkdir()
    person = {"lbl": "person", "id": 1, "pos": [1, 2, 30, 60], "occl": 0, "posv": 0}
    content = {"set00": {name: {"frames": {"0": [person]}}}}
    (raw / "annotations.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("data_set", "write"),
    [("cuhk-sysu", _cuhk), ("prw", _prw), ("citypersons", _citypersons), ("caltech", _caltech)],
)
def test_no_converter_follows_such_a_name(
    tmp_path: Path, data_set: str, write: Callable[[Path, str], None]
) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    write(raw, "../../victim")
    with pytest.raises(DataError, match=r"names the image .*leads out of the folder"):
        convert(data_set, raw, out)
    assert not list(out.rglob("*.jpg"))


def _sequence(raw: Path, image_dir: str) -> Path:
    folder = raw / "train" / "MOT16-02"
    (folder / "gt").mkdir(parents=True)
    (folder / "gt" / "gt.txt").write_text("1,1,1,2,30,30,1,1,1\n")
    (folder / "seqinfo.ini").write_text(
        f"[Sequence]\nname=a\nimDir={image_dir}\nframeRate=30\nseqLength=1\nimWidth=64\n"
        "imHeight=48\nimExt=.jpg\n"
    )
    return folder


@pytest.mark.parametrize("image_dir", ["../../../outside", "/tmp", "img1/../../x", "a\\..\\b"])
def test_the_folder_of_the_images_is_inside_the_sequence(tmp_path: Path, image_dir: str) -> None:
    write_picture(tmp_path / "outside" / "000001.jpg", 64, 48)
    _sequence(tmp_path / "raw", image_dir)
    with pytest.raises(DataError, match="expected a name inside the folder of the sequence"):
        convert("mot16", tmp_path / "raw", tmp_path / "out")


def test_nor_is_it_a_link_out_of_the_download(tmp_path: Path) -> None:
    write_picture(tmp_path / "outside" / "000001.jpg", 64, 48)
    folder = _sequence(tmp_path / "raw", "img1")
    (folder / "img1").symlink_to(tmp_path / "outside")
    with pytest.raises(DataError, match="is, by a link, outside of"):
        convert("mot16", tmp_path / "raw", tmp_path / "out")
    (folder / "img1").unlink()
    (folder / "img1").symlink_to("../images")  # shared by the copies of a sequence
    write_picture(folder.parent / "images" / "000001.jpg", 64, 48)
    assert convert("mot16", tmp_path / "raw", tmp_path / "out").boxes == 1
