"""CUHK-SYSU (Xiao et al., CVPR 2017): person search in images from the street and from films.

Layout: a folder with ``Image/SSM/*.jpg`` and, in ``annotation/``, ``Images.mat`` (every box of
every image), ``Person.mat`` (the appearances of each identified person) and ``pool.mat`` (the
images of the test set). All other images are the training set.

A box belongs to the person whose appearance has the same four numbers; other boxes have no
identity. The reference's validation list holds the first 2 000 images of the test set by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jdetrt.errors import DataError
from jdetrt.training.convert.matlab import as_boxes, as_list, read_mat
from jdetrt.training.convert.names import inner_name, one_line
from jdetrt.training.convert.writer import LabelledImage

__all__ = ["cuhk_sysu"]

_VALIDATION = 2000  # images; reference data/cuhksysu.val

_Place = tuple[str, float, float, float, float]  # an image, and a box in it


def cuhk_sysu(raw: Path, split: str) -> Iterator[LabelledImage]:
    """Images of a split, in the order of their names. Raises DataError."""
    folder = raw / "annotation"
    pool = {str(name) for name in as_list(read_mat(folder / "pool.mat", "pool"))}
    images = _pictures(folder / "Images.mat")
    people = _people(folder / "Person.mat", images)
    names = sorted(images.keys() - pool if split == "train" else images.keys() & pool)
    for name in names[:_VALIDATION] if split == "val" else names:
        boxes = images[name]
        if not boxes:
            continue
        yield LabelledImage(
            name=name,
            source=raw / "Image" / "SSM" / name,
            boxes=as_boxes([place[1:] for place in boxes]),
            people=tuple(people.get(place) for place in boxes),
        )


def _pictures(path: Path) -> dict[str, list[_Place]]:
    """Boxes of every image that have an area."""
    images = {}
    for image in as_list(read_mat(path, "Img")):
        name, boxes = _fields(path, image, "imname", "box")
        places = [_place(path, name, box) for box in as_list(boxes)]
        images[inner_name(name, path)] = [
            place for place in places if place[3] > 0 and place[4] > 0
        ]
    return images


def _people(path: Path, images: dict[str, list[_Place]]) -> dict[_Place, str]:
    """Identity of each box of an identified person."""
    known = {place for places in images.values() for place in places}
    people = {}
    for person in as_list(read_mat(path, "Person")):
        identity, scenes = _fields(path, person, "idname", "scene")
        for scene in as_list(scenes):
            (image,) = _fields(path, scene, "imname")
            place = _place(path, image, scene)
            if place not in known:
                raise DataError(
                    f"{path}: {identity} is in {image} at {place[1:]}, where Images.mat has no "
                    "box; are both files of one release?"
                )
            people[place] = str(identity)
    return people


def _fields(path: Path, struct: Any, *names: str) -> list[Any]:
    if not isinstance(struct, dict) or not struct.keys() >= set(names):
        raise DataError(f"{path}: expected structs with {', '.join(names)}")
    return [struct[name] for name in names]


def _place(path: Path, image: Any, struct: Any) -> _Place:
    (box,) = _fields(path, struct, "idlocate")
    try:
        ((left, top, width, height),) = as_boxes(box).tolist()
    except (TypeError, ValueError) as err:
        raise DataError(
            f"{path}: {image}: expected idlocate as x, y, w, h ({one_line(err)})"
        ) from err
    return str(image), left, top, width, height
