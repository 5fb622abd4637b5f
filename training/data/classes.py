"""Class of the boxes to train on: people, or one class of your own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from jdetrt.config import LabelConfig
from jdetrt.errors import DataError

__all__ = ["class_id", "refuse_empty"]

_PEOPLE = ("person", "people", "pedestrian", "human")
_REMEDY = "name the class to train on as ID:NAME (--label), such as --label"


def class_id(label: LabelConfig | None, names: Mapping[int, str], where: str) -> int:
    """Choose the class number of a data set with names.

    Args:
        label: the class to train on; None for people.
        names: of the classes by number, as the data set has them; may be empty.
        where: file of the names.

    Raises:
        DataError: no class is named like a person, or the number has another name.

    >>> class_id(None, {3: "car", 7: "Person"}, "data.yaml")
    7
    """
    if label is None:
        people = [number for number, name in names.items() if name.lower() in _PEOPLE]
        if names and not people:
            raise DataError(f"{where}: no class is a person ({_listed(names)}); {_example(names)}")
        return people[0] if people else 0
    if names and names.get(label.id, "").lower() != label.name.lower():
        raise DataError(
            f"{where}: class {label.id} is not '{label.name}' ({_listed(names)}); {_example(names)}"
        )
    return label.id


def refuse_empty(path: object, number: int, classes: Counter[int]) -> None:
    """Refuse a data set with boxes of other classes alone.

    Args:
        path: of the data set.
        number: of the class that was looked for.
        classes: boxes by class, as they were read.

    Raises:
        DataError: it has none of the class.
    """
    if classes and not classes[number]:
        boxes = ", ".join(f"{one} ({count})" for one, count in sorted(classes.items()))
        raise DataError(
            f"{path}: no box is of class {number}; classes and their boxes: {boxes}; {_REMEDY} "
            f"{classes.most_common(1)[0][0]}:NAME"
        )


def _listed(names: Mapping[int, str]) -> str:
    shown = [f"{number}: {name}" for number, name in sorted(names.items())]
    return ", ".join(shown[:10]) + (", ..." if len(shown) > 10 else "")


def _example(names: Mapping[int, str]) -> str:
    number, name = sorted(names.items())[0]
    return f"{_REMEDY} {number}:{name}"
