from pathlib import Path

import pytest
from click.testing import CliRunner
from raw_data import read_jde, write_picture

from jdetrt.cli.data import convert as data_convert
from jdetrt.errors import ConfigError, DataError
from jdetrt.training.convert.datasets import DATA_SETS, convert


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = tmp_path / "raw" / "bahnhof"
    write_picture(folder / "image_00000001_0.png", 64, 48)
    (folder / "annot.idl").write_text('"left/image_00000001_0.png": (5, 10, 25, 40):-1;')
    return tmp_path / "raw"


def test_convert(raw: Path, tmp_path: Path) -> None:
    arguments = ["ethz", str(raw), "-o", str(tmp_path / "out"), "--link", "copy"]
    result = CliRunner().invoke(data_convert.convert, arguments, catch_exceptions=False)
    listing = tmp_path / "out" / "ethz.train"
    assert result.output == f"Written: {listing} (1 image, 1 box, 0 identities)\n"
    name = "ETHZ/train/images/bahnhof/image_00000001_0.png"
    assert read_jde(listing) == {name: [(-1, 5, 10, 20, 30)]}
    assert not (tmp_path / "out" / name).is_symlink()


def test_names_are_those_of_the_data_sets() -> None:
    assert tuple(DATA_SETS) == data_convert._NAMES


def test_splits_and_names(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ethz has no split 'val'; it has train"):
        convert("ethz", raw, tmp_path / "out", split="val")
    with pytest.raises(ConfigError, match="data set 'eth': expected one of ethz, citypersons"):
        convert("eth", raw, tmp_path / "out")
    with pytest.raises(DataError, match="nowhere: expected"):
        convert("ethz", tmp_path / "nowhere", tmp_path / "out")
