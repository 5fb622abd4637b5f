from pathlib import Path

import numpy as np
import pytest
from raw_data import read_jde, write_picture
from scipy.io import savemat

import jdetrt.training.convert.prw as module
from jdetrt.errors import DataError
from jdetrt.training.convert.datasets import convert

# Rows of id, x, y, w, h; the variable that the file of each frame has.
FRAMES: dict[str, tuple[str, list[list[float]]]] = {
    "c1s1_000151": ("box_new", [[932, 1.5, 2, 10, 20], [-2, 30, 5, 8, 16]]),
    "c1s1_000176": ("anno_file", [[-2, 50, 40, 30, 20]]),
    "c6s1_000001": ("anno_previous", [[5, 1, 2, 3, 4], [932, 5, 6, 7, 8]]),
    "c6s1_000026": ("box_new", []),
    "c2s1_000001": ("box_new", [[1, 1, 2, 3, 4]]),
    "c1s2_000001": ("box_new", [[2, 5, 6, 7, 8]]),
}
TEST = ["c2s1_000001", "c1s2_000001"]


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    raw = tmp_path / "raw"
    (raw / "annotations").mkdir(parents=True)
    for frame, (variable, rows) in FRAMES.items():
        write_picture(raw / "frames" / f"{frame}.jpg", 64, 48)
        table = np.array(rows, float).reshape(-1, 5)
        savemat(raw / "annotations" / f"{frame}.jpg.mat", {variable: table})
    for part, names in (("train", [name for name in FRAMES if name not in TEST]), ("test", TEST)):
        cells = np.empty((len(names), 1), object)
        cells[:, 0] = names
        savemat(raw / f"frame_{part}.mat", {f"img_index_{part}": cells})
    return raw


def test_train(raw: Path, tmp_path: Path) -> None:
    done = convert("prw", raw, tmp_path / "out")
    assert read_jde(done.listing) == {
        "PRW/train/images/c1s1_000151.jpg": [(0, 1.5, 2, 10, 20), (-1, 30, 5, 8, 16)],
        "PRW/train/images/c1s1_000176.jpg": [(-1, 50, 40, 30, 20)],
        "PRW/train/images/c6s1_000001.jpg": [(1, 1, 2, 3, 4), (0, 5, 6, 7, 8)],
    }
    assert done.identities == 2


def test_test_and_val(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = convert("prw", raw, tmp_path / "out", split="test")
    assert read_jde(done.listing) == {
        "PRW/test/images/c1s2_000001.jpg": [(0, 5, 6, 7, 8)],
        "PRW/test/images/c2s1_000001.jpg": [(1, 1, 2, 3, 4)],
    }
    monkeypatch.setattr(module, "_VALIDATION", 1)
    done = convert("prw", raw, tmp_path / "out", split="val")
    assert list(read_jde(done.listing)) == ["PRW/val/images/c1s2_000001.jpg"]


def test_what_is_missing_or_wrong(raw: Path, tmp_path: Path) -> None:
    def refuse(message: str) -> None:
        with pytest.raises(DataError, match=message):
            convert("prw", raw, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    path = raw / "annotations" / "c1s1_000176.jpg.mat"
    savemat(path, {"box_new": np.ones((2, 4))})
    refuse(r"c1s1_000176\.jpg\.mat: expected rows of id, x, y, w, h .*got 4")
    savemat(path, {"boxes": np.ones((2, 5))})
    refuse(r"176\.jpg\.mat: expected the variable box_new or anno_file or anno_previous, .* boxes")
    path.write_bytes(path.read_bytes()[:150])
    refuse(r"c1s1_000176\.jpg\.mat: not a MATLAB file")
    path.unlink()
    refuse(r"c1s1_000176\.jpg\.mat: cannot be read")
    (raw / "frames" / "c1s1_000151.jpg").unlink()
    refuse(r"c1s1_000151\.jpg: cannot be read")
    (raw / "frame_train.mat").unlink()
    refuse(r"frame_train\.mat: cannot be read")
