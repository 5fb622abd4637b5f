"""The data sets of the paper (section 4.1, table 2) by name, with their converters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from jdetrt.errors import ConfigError
from jdetrt.training.convert.caltech import caltech
from jdetrt.training.convert.citypersons import citypersons
from jdetrt.training.convert.cuhk_sysu import cuhk_sysu
from jdetrt.training.convert.eth import eth
from jdetrt.training.convert.mot import mot16, mot17
from jdetrt.training.convert.prw import prw
from jdetrt.training.convert.writer import Converted, LabelledImage, Link, write_data_set

__all__ = ["DATA_SETS", "RawDataSet", "convert"]


@dataclass(frozen=True, slots=True)
class RawDataSet:
    """A downloaded data set."""

    folder: str  # its name below the folder that all data sets share
    splits: tuple[str, ...]
    images: Callable[[Path, str], Iterator[LabelledImage]]  # of a raw folder and a split


DATA_SETS = {
    "ethz": RawDataSet("ETHZ", ("train",), eth),
    "citypersons": RawDataSet("CityPersons", ("train", "val"), citypersons),
    "caltech": RawDataSet("Caltech", ("train", "val"), caltech),
    "mot16": RawDataSet("MOT16", ("train",), mot16),
    "mot17": RawDataSet("MOT17", ("train",), mot17),
    "cuhk-sysu": RawDataSet("CUHK-SYSU", ("train", "val", "test"), cuhk_sysu),
    "prw": RawDataSet("PRW", ("train", "val", "test"), prw),
}


def convert(
    name: str,
    raw: str | Path,
    root: str | Path,
    *,
    split: str = "train",
    link: Link = "symlink",
) -> Converted:
    """Convert a raw data set to JDE's form (``jdetrt.training.convert.writer``).

    Args:
        name: one of `DATA_SETS`.
        raw: folder of the download; the module of each data set describes its layout.
        root: folder that all data sets share; gets the list, such as ``mot17.train``, and the
            images and labels in this list.
        split: train, val or test, where the data set has it.
        link: of images, see ``write_data_set``.

    Raises:
        ConfigError: there is no such data set or split.
        DataError: a raw file is missing, damaged or malformed.
        OutputError: the folder cannot be written, or is not from a former call.
        MissingDependencyError: OpenCV, or SciPy for a data set that needs it, is not installed.
    """
    data_set = DATA_SETS.get(name)
    if data_set is None:
        raise ConfigError(f"data set {name!r}: expected one of {', '.join(DATA_SETS)}")
    if split not in data_set.splits:
        raise ConfigError(f"{name} has no split {split!r}; it has {', '.join(data_set.splits)}")
    return write_data_set(
        data_set.images(Path(raw), split),
        root,
        f"{data_set.folder}/{split}",
        f"{name}.{split}",
        link=link,
    )
