from pathlib import Path
from typing import Any

import numpy as np
import pytest
from raw_data import read_jde, write_picture
from scipy.io import savemat

import jdetrt.training.convert.cuhk_sysu as module
from jdetrt.errors import DataError
from jdetrt.training.convert.datasets import convert

PICTURES: dict[str, list[list[int]]] = {
    "s1.jpg": [[1, 2, 10, 20], [30, 5, 8, 16]],
    "s2.jpg": [[-4, 40, 12, 24]],
    "s3.jpg": [[5, 6, 7, 8], [20, 6, 7, 8], [1, 1, 0, 9]],  # the last has no area
    "s10.jpg": [[9, 9, 9, 9]],
    "s4.jpg": [],
}
PEOPLE: dict[str, list[tuple[str, list[int]]]] = {
    "p7": [("s2.jpg", [-4, 40, 12, 24]), ("s1.jpg", [30, 5, 8, 16])],
    "p8": [("s3.jpg", [20, 6, 7, 8]), ("s10.jpg", [9, 9, 9, 9])],
    "p9": [("s1.jpg", [1, 2, 10, 20])],
}
POOL = ["s3.jpg", "s10.jpg"]


def structs(rows: list[dict[str, Any]]) -> Any:
    """A struct array of one row, as MATLAB has it."""
    names = list(rows[0]) if rows else ["idlocate", "ishard"]
    array = np.zeros((1, len(rows)), [(name, object) for name in names])
    for i, row in enumerate(rows):
        array[0, i] = tuple(row.values())
    return array


def box(numbers: list[int]) -> Any:
    return np.array([numbers], np.int16)


def write_raw(
    raw: Path, people: dict[str, list[tuple[str, list[int]]]] = PEOPLE, suffix: str = ""
) -> Path:
    for name in PICTURES:
        write_picture(raw / "Image" / "SSM" / name, 64, 48)
    folder = raw / "annotation"
    folder.mkdir(exist_ok=True)
    images = [
        {
            "imname": name,
            "nAppear": len(boxes),
            "box": structs([{f"idlocate{suffix}": box(one), "ishard": 0} for one in boxes]),
        }
        for name, boxes in PICTURES.items()
    ]
    savemat(folder / "Images.mat", {"Img": structs(images)})
    persons = [
        {
            "idname": name,
            "nAppear": len(scenes),
            "scene": structs(
                [{"imname": at, "idlocate": box(one), "ishard": 0} for at, one in scenes]
            ),
        }
        for name, scenes in people.items()
    ]
    savemat(folder / "Person.mat", {"Person": structs(persons)})
    pool = np.empty((len(POOL), 1), object)
    pool[:, 0] = POOL
    savemat(folder / "pool.mat", {"pool": pool})
    return raw


def test_train_is_what_is_not_in_the_pool(tmp_path: Path) -> None:
    raw = write_raw(tmp_path / "raw")
    done = convert("cuhk-sysu", raw, tmp_path / "out")
    assert read_jde(done.listing) == {
        "CUHK-SYSU/train/images/s1.jpg": [(0, 1, 2, 10, 20), (1, 30, 5, 8, 16)],
        "CUHK-SYSU/train/images/s2.jpg": [(1, -4, 40, 12, 24)],
    }
    assert done.identities == 2


def test_test_and_val(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = write_raw(tmp_path / "raw")
    done = convert("cuhk-sysu", raw, tmp_path / "out", split="test")
    assert read_jde(done.listing) == {
        "CUHK-SYSU/test/images/s10.jpg": [(0, 9, 9, 9, 9)],
        "CUHK-SYSU/test/images/s3.jpg": [(-1, 5, 6, 7, 8), (0, 20, 6, 7, 8)],
    }
    monkeypatch.setattr(module, "_VALIDATION", 1)
    done = convert("cuhk-sysu", raw, tmp_path / "out", split="val")
    assert list(read_jde(done.listing)) == ["CUHK-SYSU/val/images/s10.jpg"]


@pytest.mark.parametrize("name", ["pool", "Images", "Person"])
def test_missing_and_truncated_files(tmp_path: Path, name: str) -> None:
    raw = write_raw(tmp_path / "raw")
    path = raw / "annotation" / f"{name}.mat"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=rf"{name}\.mat: not a MATLAB file"):
        convert("cuhk-sysu", raw, tmp_path / "out")
    path.unlink()
    with pytest.raises(DataError, match=rf"{name}\.mat: cannot be read"):
        convert("cuhk-sysu", raw, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    def refuse(message: str, **how: Any) -> None:
        with pytest.raises(DataError, match=message):
            convert("cuhk-sysu", write_raw(tmp_path / "raw", **how), tmp_path / "out")

    stranger = {"p1": [("s2.jpg", [1, 1, 1, 1])]}
    refuse(r"Person\.mat: p1 is in s2\.jpg at \(1\.0, .* has no box", people=stranger)
    short = {"p1": [("s2.jpg", [1, 1, 1])]}
    refuse(r"Person\.mat: s2\.jpg: expected idlocate as x, y, w, h", people=short)
    refuse(r"Images\.mat: expected structs with idlocate", suffix="d")
