"""Images and sequences of a path of training data."""

from __future__ import annotations

import glob
from dataclasses import dataclass
from pathlib import Path

from jdetrt.errors import DataError
from jdetrt.runtime.sources.images import IMAGE_SUFFIXES
from jdetrt.training.data.labels import IMAGES, LABELS, label_path, text_lines
from jdetrt.training.data.yolo_labels import FOLDER as YOLO

__all__ = ["CocoFile", "Data", "JdeImages", "MotSequences", "YoloImages", "find"]

_FORMS = (
    "a list of images, a folder with images/ and labels_with_ids/ (JDE) or labels/ (YOLO), a MOT "
    "sequence with gt/gt.txt, a folder or a pattern of such sequences, a JSON file of COCO "
    "annotations"
)
# Lists as the reference and the recipe paper name them, by the names of `jdetrt data convert`.
_NAMES = {"eth": "ethz", "cuhksysu": "cuhk-sysu"}
_PARTS = ("train", "val", "valid", "test")


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


@dataclass(frozen=True, slots=True)
class YoloImages:
    """Images with label files in YOLO's form."""

    images: list[Path]
    folder: Path


@dataclass(frozen=True, slots=True)
class CocoFile:
    """Annotations in COCO's form."""

    file: Path
    root: Path | None  # of the images; None to look for it


Data = JdeImages | MotSequences | YoloImages | CocoFile


def find(path: str | Path, root: str | Path | None = None) -> Data:
    """Find the training data of a path.

    ===============================  ============================================================
    ``mot17.train``                  a list: one image a line, relative to ``root``
    ``citypersons/``                 a folder with ``images/`` and ``labels_with_ids/``
    ``MOT17-02/``                    a MOT sequence: a folder with ``gt/gt.txt``
    ``train/``                       a folder of such sequences
    ``"train/MOT17-*-FRCNN"``        those that a pattern finds
    ``own/``, ``own/images/train``   a folder with ``images/`` and ``labels/`` (YOLO), or a part
    ``instances_train.json``         annotations of COCO, or a folder with one such file
    ===============================  ============================================================

    Args:
        path: one of these.
        root: of the images of a list; default: the list's own folder.

    Raises:
        DataError: it is none of these, or is empty.
    """
    path = Path(path)
    name, _, split = path.name.partition(".")
    if name in _NAMES and not path.exists():
        path = path.with_name(f"{_NAMES[name]}.{split}")
    if path.is_dir():
        return _in_folder(path, None if root is None else Path(root))
    if path.suffix.lower() == ".json" and path.exists():
        return CocoFile(path, None if root is None else Path(root))
    if path.exists():
        return _in_list(path, path.parent if root is None else Path(root))
    folders = [folder for folder in map(Path, glob.glob(str(path))) if _is_sequence(folder)]
    if not folders:
        raise DataError(f"{path}: not found; name {_FORMS}")
    return MotSequences(sorted(folders))


def _in_folder(folder: Path, root: Path | None) -> Data:
    inside = folder / IMAGES
    if inside.is_dir() and (folder / LABELS).is_dir():
        images = _images(inside)
        return JdeImages(images, [str(folder)] * len(images), folder)
    if inside.is_dir() and (folder / YOLO).is_dir():
        _refuse_parts(folder, inside, [inside / part for part in _PARTS])
        return YoloImages(_images(inside), folder)
    if IMAGES in folder.parts and label_path(folder / "any", YOLO).parent.is_dir():
        return YoloImages(_images(folder), folder)
    if _is_sequence(folder):
        return MotSequences([folder])
    folders = sorted(inner for inner in folder.iterdir() if _is_sequence(inner))
    if folders:
        return MotSequences(folders)
    _refuse_parts(
        folder, folder, [folder / part for part in _PARTS if (folder / part / YOLO).is_dir()]
    )
    files = sorted(folder.glob("*.json")) or sorted(folder.glob("annotations/*.json"))
    if len(files) == 1:
        return CocoFile(files[0], root)
    if files:
        raise DataError(f"{folder}: has {len(files)} JSON files; name one, such as {files[0]}")
    raise DataError(f"{folder}: expected {_FORMS}")


def _refuse_parts(folder: Path, inside: Path, candidates: list[Path]) -> None:
    """Refuse to take the training and the validation part of a data set together."""
    parts = [part for part in candidates if part.is_dir()]
    if len(parts) > 1 or (parts and inside == folder):
        raise DataError(
            f"{folder}: has the part{'s' * (len(parts) > 1)} "
            f"{', '.join(part.name for part in parts)}; name one: {parts[0]}"
        )


def _images(folder: Path) -> list[Path]:
    images = sorted(path for path in folder.rglob("*") if _is_image(path))
    if not images:
        raise DataError(f"{folder}: no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return images


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
