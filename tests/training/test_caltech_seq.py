import struct
from pathlib import Path

import pytest
from raw_data import jpeg

from jdetrt.errors import DataError
from jdetrt.training.convert.caltech import read_seq


def seq(frames: list[bytes], *, gap: int = 16, image_format: int = 102) -> bytes:
    """A .seq file field by field, in the order of the StreamPix manual."""
    header = struct.pack("<I", 0xFEED)
    header += "Norpix seq".encode("utf-16-le") + bytes(4)
    header += struct.pack("<iI", 3, 1024) + bytes(512)  # version, header size, description
    header += struct.pack("<9I", 64, 48, 24, 8, 9216, image_format, len(frames), 0, 9216)
    header += struct.pack("<d", 30.0)
    data = header.ljust(1024, b"\0")
    for number, frame in enumerate(frames):
        data += struct.pack("<I", len(frame) + 4) + frame
        data += struct.pack("<IHH", 1_200_000_000 + number, 33, 0).ljust(gap, b"\0")
    return data


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
