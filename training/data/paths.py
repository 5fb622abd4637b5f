"""Images and sequences of a path of training data."""

from __future__ import annotations

import glob
from dataclasses import dataclass
from pathlib import Path

from jdetrt.errors import DataError
from jdetrt.runtime.sources.images import IMAGE_SUFFIXES
from jdetrt.training.data.labels import IMAGES, LABELS, text_lines

__all__ = ["JdeImages", "MotSequences", "find"]

_FORMS = (
    "a list of images, a folder with images/ and labels_with_ids/, a MOT sequence with "
    "gt/gt.txt, a folder or a pattern of such sequences"
)


@dataclass(frozen=True, slots=True)
class JdeImages:
    """Images with JDE label files."""

    images: list[Path]  # in order
    named_in: list[str]  # source of each, for messages: list:line, or the folder
    folder: Path | None  # of all images and labels; None for a list, which may name some of them


@dataclass(frozen=True, slots=True)
class MotSequences:
    """Folders of MOT Challenge sequences, in order of their names."""

    folders: list[Path]


def find(path: str | Path, root: str | Path | None = None) -> JdeImages | MotSequences:
    """Find the training data of a path.

    ===============================  ============================================================
    ``mot17.train``                  a list: one image a line, relative to ``root``
    ``citypersons/``                 a folder with ``images/`` and ``labels_with_ids/``
    ``MOT17-02/``                    a MOT sequence: a folder with ``gt/gt.txt``
    ``train/``                       a folder of such sequences
    ``"train/MOT17-*-FRCNN"``        those that a pattern finds
    ===============================  ============================================================

    Args:
        path: one of these.
        root: of the images of a list; default: the list's own folder.

    Raises:
        DataError: it is none of these, or is empty.
    """
    path = Path(path)
    if path.is_dir():
        return _in_folder(path)
    if path.exists():
        return _in_list(path, path.parent if root is None else Path(root))
    folders = [folder for folder in map(Path, glob.glob(str(path))) if _is_sequence(folder)]
    if not folders:
        raise DataError(f"{path}: not found; name {_FORMS}")
    return MotSequences(sorted(folders))


def _in_folder(folder: Path) -> JdeImages | MotSequences:
    inside = folder / IMAGES
    if inside.is_dir() and (folder / LABELS).is_dir():
        images = sorted(path for path in inside.rglob("*") if _is_image(path))
        if not images:
            raise DataError(f"{inside}: no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
        return JdeImages(images, [str(folder)] * len(images), folder)
    if _is_sequence(folder):
        return MotSequences([folder])
    folders = sorted(inner for inner in folder.iterdir() if _is_sequence(inner))
    if not folders:
        raise DataError(f"{folder}: expected {_FORMS}")
    return MotSequences(folders)


def _in_list(path: Path, root: Path) -> JdeImages:
    lines = list(text_lines(path))
    if not lines:
        raise DataError(f"{path}: is empty, expected one image per line")
    named_in = [f"{path}:{number}" for number, _ in lines]
    return JdeImages([root / line for _, line in lines], named_in, folder=None)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def _is_sequence(folder: Path) -> bool:
    return (folder / "gt" / "gt.txt").is_file()
