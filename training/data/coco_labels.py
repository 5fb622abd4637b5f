"""Labels in COCO's form: one JSON file with images, annotations and categories.

``bbox`` is left, top, width and height in pixels; crowds (``iscrowd``) are ignored regions. An
annotation may have a ``track_id`` or ``instance_id``, the identity.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np

from jdetrt.config import LabelConfig
from jdetrt.documents import read_json
from jdetrt.errors import DataError
from jdetrt.runtime.mot.files import are_shares, suspect_corners
from jdetrt.training.data.classes import class_id
from jdetrt.training.data.labels import Labels

__all__ = ["read_coco"]

_PREFIXES = ("instances_", "annotations_", "_annotations.coco", "labels_")


_Number = Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]  # exact in every tool's numbers


class _Image(msgspec.Struct):
    id: _Number
    file_name: str
    width: float | None = None
    height: float | None = None


_FARTHEST = 1e6  # pixels


class _Annotation(msgspec.Struct):
    image_id: _Number
    category_id: _Number
    bbox: tuple[float, float, float, float]
    iscrowd: int = 0
    track_id: _Number | None = None
    instance_id: _Number | None = None


class _Category(msgspec.Struct):
    id: _Number
    name: str


class _Coco(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


def read_coco(
    path: Path, root: Path | None, label: LabelConfig | None, classes: Counter[int]
) -> tuple[list[tuple[Path, Labels]], int]:
    """Read a file of annotations.

    Args:
        path: the JSON file.
        root: folder of the images; None to look for it beside the file.
        label: the class to take; None for people.
        classes: gets the number of boxes by class.

    Returns:
        Image and labels, in order of the file, and the number of the class.

    Raises:
        DataError: it is another file, an image is missing, a box has no area, or all boxes are
            corners or shares of the image.
    """
    content = read_json(path, _Coco, DataError, "a file of COCO annotations")
    if not content.images:
        raise DataError(f"{path}: has no images")
    number = class_id(label, {one.id: one.name for one in content.categories}, str(path))
    folder = _image_folder(path, root, content.images[0].file_name)
    by_image: dict[int, list[_Annotation]] = defaultdict(list)
    for index, one in enumerate(content.annotations):
        classes[one.category_id] += 1
        if not (max(map(abs, one.bbox)) <= _FARTHEST and min(one.bbox[2:]) > 0):
            raise DataError(
                f"{path}: annotations[{index}].bbox: expected width and height above 0, got "
                f"{list(one.bbox)}; delete the annotation"
            )
        if one.category_id == number:
            by_image[one.image_id].append(one)
    if unknown := by_image.keys() - {image.id for image in content.images}:
        raise DataError(f"{path}: annotations of image {min(unknown)}, which is not in its images")
    _refuse_other_forms(path, content.images, by_image)
    labelled = []
    for image in content.images:
        file = folder / image.file_name
        if not file.is_file():
            raise DataError(f"{path}: {file} does not exist; is the root right?")
        labelled.append((file, _labels(by_image.get(image.id, []))))
    return labelled, number


def _refuse_other_forms(
    path: Path, images: list[_Image], by_image: dict[int, list[_Annotation]]
) -> None:
    """Raise where all boxes are shares of the image, or corners as far as its size tells it."""
    rows = [(one.bbox, image) for image in images for one in by_image.get(image.id, [])]
    boxes = np.array([box for box, _ in rows], np.float64).reshape(-1, 4)
    if are_shares(boxes):
        raise DataError(f"{path}: all boxes are smaller than a pixel; expected pixels, not shares")
    sides = np.array([(one.width or 0, one.height or 0) for _, one in rows]).reshape(-1, 2)
    known = (sides > 0).all(axis=1)
    if (doubt := suspect_corners(boxes[known], sides[known], "those of bbox")) is not None:
        raise DataError(f"{path}: {doubt}")


def _labels(annotations: list[_Annotation]) -> Labels:
    corners = np.array([one.bbox for one in annotations], np.float32).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    crowd = np.array([bool(one.iscrowd) for one in annotations], bool)
    ids = [
        next((i for i in (one.track_id, one.instance_id) if i is not None), -1)
        for one in annotations
    ]
    known = np.maximum(np.array(ids, np.int64), -1)
    return Labels(corners[~crowd], known[~crowd], corners[crowd])


def _image_folder(path: Path, root: Path | None, name: str) -> Path:
    """Folder that the names of images are relative to."""
    stem = path.stem
    for prefix in _PREFIXES:
        stem = stem.removeprefix(prefix)
    around = (path.parent, path.parent.parent)
    folders = (
        [root]
        if root
        else [base / inside for base in around for inside in ("", "images", stem, f"images/{stem}")]
    )
    for folder in folders:
        if (folder / name).is_file():
            return folder
    places = ", ".join(str(folder) for folder in folders)
    raise DataError(f"{path}: the image {name} is not there; looked in {places}; name its root")
