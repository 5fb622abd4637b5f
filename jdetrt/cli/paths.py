"""Files that a command reads, so that none of its outputs replaces them."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from jdetrt.cli.options import STDOUT
from jdetrt.engine.onnx_file import model_files
from jdetrt.errors import ConfigError, DataError
from jdetrt.inputs import open_regular

__all__ = ["model_files", "refuse_collisions", "sequence_files", "source_files"]

_SEQUENCE = ("seqinfo.ini", "gt/gt.txt", "det/det.txt")


def refuse_collisions(
    inputs: Mapping[str, Iterable[str | Path]], outputs: Mapping[str, Path | None]
) -> None:
    """No output takes the place of an input or of another output.

    Args:
        inputs: files and folders that the command reads, by the option that names them. They are
            only listed where an output exists, for else nothing is replaced.
        outputs: files or folders that it writes, by option; None for those not asked for.

    Raises:
        ConfigError: an output is an input, is a folder that holds one, is another output or lies in
            one, or is the working folder (as is an empty name); or ``--json`` is a file of another
            kind.
    """
    # os.path and not Path: a name that is too long, or a loop of links, is then simply not there.
    wanted = {
        option: (path, os.path.realpath(path))
        for option, path in outputs.items()
        if path not in (None, STDOUT)
    }
    places: dict[str, str] = {}
    for option, (path, place) in wanted.items():
        if place == os.path.realpath(""):
            raise ConfigError(f"{option} {path}: is the working folder; name something in it")
        for other_place, other in places.items():
            if place == other_place:
                raise ConfigError(f"{option} {path}: is also {other}; give it another name")
            if _lies_in(place, other_place) or _lies_in(other_place, place):
                raise ConfigError(f"{option} {path}: overlaps with {other}; name separate folders")
        places[place] = option
    standing = [option for option, (_, place) in wanted.items() if os.path.lexists(place)]
    if not standing:
        return
    read = [(os.path.realpath(path), option) for option in inputs for path in inputs[option]]
    for option in standing:
        path, place = wanted[option]
        for file, source in read:
            if file == place:
                raise ConfigError(f"{option} {path}: is also {source}; give it another name")
            if _lies_in(file, place):
                raise ConfigError(f"{option} {path}: holds files of {source}; give it another name")
    # `--json` may come without a value, and then takes the argument after it for one.
    if "--json" in standing and _is_not_json(wanted["--json"][1]):
        raise ConfigError(
            f"--json {wanted['--json'][0]}: exists and is not JSON; name another file, or - for "
            "standard output"
        )


def _is_not_json(path: str) -> bool:
    try:
        with open_regular(path) as file:
            return file.read(64).lstrip()[:1] not in (b"", b"{", b"[")
    except OSError:  # where it is written says what is wrong with it
        return False


def _lies_in(path: str, folder: str) -> bool:
    return path.startswith(folder + os.sep)


def source_files(source: str) -> Iterator[Path]:
    """The files of SOURCE; of a MOT sequence also its ground truth and its detections."""
    from jdetrt.runtime.sources.images import IMAGE_SUFFIXES
    from jdetrt.runtime.sources.seqinfo import read_seqinfo

    folder = pictures = Path(source)
    yield folder
    yield from map(Path, glob.iglob(source, recursive=True))
    yield from (folder / name for name in _SEQUENCE)
    yield from folder.glob("img1/*")
    suffixes = set(IMAGE_SUFFIXES)
    # What cannot be read here is refused, with its reason, where it is opened.
    with suppress(DataError):
        info = read_seqinfo(folder / "seqinfo.ini")
        pictures /= info.image_dir
        suffixes.add(info.extension.lower())
    with suppress(OSError):
        yield from (path for path in pictures.iterdir() if path.suffix.lower() in suffixes)


def sequence_files(root: Path) -> Iterator[Path]:
    """Ground truth, detections and seqinfo.ini of all sequences of a folder."""
    for name in _SEQUENCE:
        yield from root.glob(f"*/{name}")
