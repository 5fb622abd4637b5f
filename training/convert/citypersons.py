"""CityPersons (Zhang et al., CVPR 2017): annotations of people in the images of Cityscapes.

Layout: a folder with ``leftImg8bit/<split>/<city>/*.png`` of Cityscapes and the annotations, as
Cityscapes publishes them, ``gtBboxCityPersons/<split>/<city>/*.json``, or the authors,
``annotations/anno_<split>.mat``. Both have the same content; the JSON files are preferred.

Labels are pedestrians, riders, sitting people and people in other postures (classes 1 to 4): the
box of the whole body for the first two, which may reach outside, of the visible part for the
others. Ignore regions (0: people on posters, reflections), groups (5) and images without people
are left out, as in the reference's lists (2 500 of 2 975 and 441 of 500 images). There are no
identities.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jdetrt.documents import decode_json
from jdetrt.errors import DataError
from jdetrt.inputs import LARGEST_JSON, read_bytes
from jdetrt.training.convert.matlab import as_boxes, as_list, read_mat
from jdetrt.training.convert.names import inner_name, one_line
from jdetrt.training.convert.writer import LabelledImage

__all__ = ["citypersons"]

_CLASSES = (1, 2, 3, 4)
_LABELS = frozenset({"pedestrian", "rider", "sitting person", "person (other)"})
_OTHER_LABELS = frozenset({"ignore", "person group"})
_COLUMNS = 10  # class, x, y, w, h, instance, and the visible box

_Content = dict[str, Any]
_Annotation = tuple[str, npt.NDArray[np.float64]]  # <city>/<image>, and its boxes


def citypersons(raw: Path, split: str) -> Iterator[LabelledImage]:
    """Images of a split with at least one person. Raises DataError."""
    folder = raw / "gtBboxCityPersons" / split
    table = raw / "annotations" / f"anno_{split}.mat"
    if folder.is_dir():
        annotations = _from_json(folder)
    elif table.exists():
        annotations = _from_mat(table, split)
    else:
        raise DataError(f"{raw}: expected {folder.relative_to(raw)}/ or {table.relative_to(raw)}")
    for name, boxes in annotations:
        if len(boxes):
            source = raw / "leftImg8bit" / split / name
            yield LabelledImage(name, source, boxes, (None,) * len(boxes))


def _from_json(folder: Path) -> Iterator[_Annotation]:
    ending = "_gtBboxCityPersons.json"
    for path in sorted(folder.glob(f"*/*{ending}")):
        image = path.name[: -len(ending)] + "_leftImg8bit.png"
        try:
            objects = decode_json(read_bytes(path, DataError, largest=LARGEST_JSON), _Content)[
                "objects"
            ]
            boxes = [one["bbox"] for one in objects if _is_person(one["label"])]
            table = as_boxes(boxes)
        except (ValueError, TypeError, KeyError) as err:
            raise DataError(
                f"{path}: expected objects with label and bbox [x, y, w, h] ({one_line(repr(err))})"
            ) from err
        yield f"{path.parent.name}/{image}", table


def _is_person(label: str) -> bool:
    if label not in _LABELS | _OTHER_LABELS:
        raise ValueError(f"unknown label {label!r}")
    return label in _LABELS


def _from_mat(path: Path, split: str) -> Iterator[_Annotation]:
    images: list[Any] = as_list(read_mat(path, f"anno_{split}_aligned"))
    for number, image in enumerate(images, start=1):
        try:
            rows = as_boxes(image["bbs"], _COLUMNS)
            name = f"{image['cityname']}/{image['im_name']}"
        except (ValueError, TypeError, KeyError, IndexError) as err:
            raise DataError(
                f"{path}: image {number}: expected cityname, im_name and bbs with {_COLUMNS} "
                f"columns ({one_line(err)})"
            ) from err
        yield inner_name(name, path), rows[np.isin(rows[:, 0], _CLASSES), 1:5]
