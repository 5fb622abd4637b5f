"""CUHK-SYSU (Xiao et al., CVPR 2017): person search in pictures from the street and from films.

Expected is a folder with ``Image/SSM/*.jpg`` and, in ``annotation/``, ``Images.mat`` (every box of
every picture), ``Person.mat`` (where each identified person appears) and ``pool.mat`` (the pictures
of the test set). The training set is the pictures that are not in the pool.

A box is of the person whose appearance has the same four numbers; the others are of nobody. The
reference's validation list holds the first 2 000 pictures of the test set by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jdetrt.errors import DataError
from jdetrt.training.convert.matlab import as_boxes, as_list, read_mat
from jdetrt.training.convert.writer import LabelledPicture

__all__ = ["cuhk_sysu"]

_VALIDATION = 2000  # pictures; reference data/cuhksysu.val

_Place = tuple[str, float, float, float, float]  # a picture, and a box in it


def cuhk_sysu(raw: Path, split: str) -> Iterator[LabelledPicture]:
    """The pictures of a split, in the order of their names.

    Raises:
        DataError: an annotation file is missing or malformed, or a person appears where there is
            no box.
    """
    folder = raw / "annotation"
    pool = {str(name) for name in as_list(read_mat(folder / "pool.mat", "pool"))}
    pictures = _pictures(folder / "Images.mat")
    people = _people(folder / "Person.mat", pictures)
    names = sorted(pictures.keys() - pool if split == "train" else pictures.keys() & pool)
    for name in names[:_VALIDATION] if split == "val" else names:
        boxes = pictures[name]
        if not boxes:
            continue
        yield LabelledPicture(
            name=name,
            source=raw / "Image" / "SSM" / name,
            boxes=as_boxes([place[1:] for place in boxes]),
            people=tuple(people.get(place) for place in boxes),
        )


def _pictures(path: Path) -> dict[str, list[_Place]]:
    """The places of every picture that have an area."""
    pictures = {}
    for picture in as_list(read_mat(path, "Img")):
        name, boxes = _fields(path, picture, "imname", "box")
        places = [_place(path, name, box) for box in as_list(boxes)]
        pictures[str(name)] = [place for place in places if place[3] > 0 and place[4] > 0]
    return pictures


def _people(path: Path, pictures: dict[str, list[_Place]]) -> dict[_Place, str]:
    """Who is where."""
    known = {place for places in pictures.values() for place in places}
    people = {}
    for person in as_list(read_mat(path, "Person")):
        identity, scenes = _fields(path, person, "idname", "scene")
        for scene in as_list(scenes):
            (picture,) = _fields(path, scene, "imname")
            place = _place(path, picture, scene)
            if place not in known:
                raise DataError(
                    f"{path}: {identity} is in {picture} at {place[1:]}, where Images.mat has no "
                    "box; are both files of one release?"
                )
            people[place] = str(identity)
    return people


def _fields(path: Path, struct: Any, *names: str) -> list[Any]:
    if not isinstance(struct, dict) or not struct.keys() >= set(names):
        raise DataError(f"{path}: expected structs with {', '.join(names)}")
    return [struct[name] for name in names]


def _place(path: Path, picture: Any, struct: Any) -> _Place:
    (box,) = _fields(path, struct, "idlocate")
    try:
        ((left, top, width, height),) = as_boxes(box).tolist()
    except (TypeError, ValueError) as err:
        raise DataError(f"{path}: {picture}: expected idlocate as x, y, w, h ({err})") from err
    return str(picture), left, top, width, height
