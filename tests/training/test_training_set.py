"""All data sets of a recipe as one, and rendered clips behind them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest

from jdetrt.errors import ConfigError, DataError
from jdetrt.synthetic.clip import SyntheticClip
from jdetrt.training.data.training_set import SyntheticImages, open_training_set
from jdetrt.training.recipe import Recipe, SyntheticConfig

CLIPS = {"clips": 2, "frames": 3, "people": 3, "size": [96, 64]}


def recipe(**settings: Any) -> Recipe:
    return msgspec.convert(settings, Recipe)


def jde_folder(folder: Path, ids: list[list[int]]) -> None:
    """Images in which a person of each id stands."""
    for part in ("images", "labels_with_ids"):
        (folder / part).mkdir(parents=True)
    for number, people in enumerate(ids):
        grey = np.full((40, 60, 3), number, np.uint8)
        assert cv2.imwrite(str(folder / "images" / f"{number}.png"), grey)
        rows = [f"0 {identity} 0.5 0.5 0.2 0.6\n" for identity in people]
        (folder / "labels_with_ids" / f"{number}.txt").write_text("".join(rows))


def test_the_order_of_the_data_gives_the_ids_their_meaning(tmp_path: Path) -> None:
    jde_folder(tmp_path / "a", [[7, 3], [-1]])
    jde_folder(tmp_path / "b", [[3], [9], [5]])
    (tmp_path / "b.train").write_text("b/images/0.png\nb/images/2.png\n")
    data = open_training_set(
        recipe(
            data=[{"path": "a"}, {"path": "b.train", "root": "."}, {"path": "a", "repeat": 2}],
            synthetic=CLIPS,
        ),
        tmp_path,
    )
    rendered = SyntheticImages(msgspec.convert(CLIPS, SyntheticConfig))
    assert len(data) == 2 + 2 + 4 + 6
    assert data.identities == 2 + 2 + 2 + rendered.identities
    assert [data[i].ids.tolist() for i in range(8)] == [
        *([1, 0], [-1], [2], [3]),
        *([5, 4], [-1]) * 2,
    ]
    assert [int(data[i].image[0, 0, 0]) for i in range(4)] == [0, 1, 0, 2]
    for i in range(6):
        assert data[8 + i].ids.tolist() == (rendered[i].ids + 6).tolist()
        assert np.array_equal(data[8 + i].image, rendered[i].image)
    assert [data.successor(i) for i in (7, 8, 9, 10, 13)] == [None, 9, 10, None, None]


@pytest.mark.parametrize("cache", [False, True])
def test_pictures_are_the_same_from_memory(cache: bool, tmp_path: Path) -> None:
    jde_folder(tmp_path / "a", [[1], [2]])
    data = open_training_set(recipe(data=[{"path": "a"}]), tmp_path, cache=cache)
    if cache:
        (tmp_path / "a" / "images" / "1.png").unlink()
    assert data[1].image.shape == (40, 60, 3)


def test_settings_reach_their_data(tmp_path: Path) -> None:
    clip = SyntheticClip(seed=1, frames=3, size=(96, 64), people=3, moving_camera=False)
    data = open_training_set(recipe(synthetic={**CLIPS, "min_visibility": 0.9}), tmp_path)
    for index, (frame, truth) in enumerate(clip):
        sample = data[index]
        assert np.array_equal(sample.image, frame.image)
        assert len(sample.boxes) == (truth.visibility >= 0.9).sum()
        assert len(sample.ignore) == ((truth.visibility < 0.9) & (truth.visibility > 0)).sum()


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no training data: name at least one data set"):
        open_training_set(recipe(), tmp_path)
    with pytest.raises(DataError, match="nowhere"):
        open_training_set(recipe(data=[{"path": "nowhere"}]), tmp_path)
