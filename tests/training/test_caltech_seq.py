from pathlib import Path

import pytest
from raw_data import jpeg, seq

from jdetrt.errors import DataError
from jdetrt.training.convert.caltech import read_seq

FRAMES = [jpeg(grey=grey) for grey in (0, 90, 200)]


@pytest.mark.parametrize("gap", [8, 16])
@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_frames_are_the_jpegs(tmp_path: Path, gap: int, count: int) -> None:
    (tmp_path / "a.seq").write_bytes(seq(FRAMES[:count], gap=gap))
    assert read_seq(tmp_path / "a.seq") == FRAMES[:count]


@pytest.mark.parametrize("gap", [8, 16])
def test_every_cut_is_noticed(tmp_path: Path, gap: int) -> None:
    path, whole = tmp_path / "a.seq", seq(FRAMES, gap=gap)
    for end in range(0, len(whole) - gap, 97):
        path.write_bytes(whole[:end])
        with pytest.raises(DataError, match=r"a\.seq: (not a \.seq|frame [1-3] of 3 is missing)"):
            read_seq(path)
    path.write_bytes(whole[:-gap])  # the last time stamp is of no use
    assert read_seq(path) == FRAMES


def test_other_files(tmp_path: Path) -> None:
    path = tmp_path / "a.seq"
    with pytest.raises(DataError, match=r"a\.seq: cannot be read"):
        read_seq(path)
    path.write_bytes(bytes(2048))
    with pytest.raises(DataError, match=r"a\.seq: not a \.seq video"):
        read_seq(path)
    path.write_bytes(seq(FRAMES, image_format=100))
    with pytest.raises(DataError, match="it has format 100"):
        read_seq(path)
