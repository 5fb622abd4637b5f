"""Classes of the ground truth of MOT Challenge: column 8 of a gt.txt."""

from __future__ import annotations

__all__ = ["CLASSES", "PEDESTRIAN", "class_name"]

# arXiv 1603.00831, table 3, and the crowd of later ground truth
CLASSES = {
    1: "pedestrian",
    2: "person on a vehicle",
    3: "car",
    4: "bicycle",
    5: "motorbike",
    6: "non-motorised vehicle",
    7: "static person",
    8: "distractor",
    9: "occluder",
    10: "occluder on the ground",
    11: "full occluder",
    12: "reflection",
    13: "crowd",
}
PEDESTRIAN = 1


def class_name(number: int) -> str:
    """Name a class.

    >>> class_name(2), class_name(99)
    ('class 2 (person on a vehicle)', 'class 99')
    """
    name = f" ({CLASSES[number]})" if number in CLASSES else ""
    return f"class {number}{name}"
