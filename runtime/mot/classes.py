"""Classes of the ground truth of MOT Challenge: column 8 of a gt.txt."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from jdetrt.account import Account
from jdetrt.runtime.mot.files import MotRows

__all__ = ["CLASSES", "PEDESTRIAN", "class_name", "leave_out_others"]

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


def leave_out_others(
    account: Account, rows: MotRows, people: npt.NDArray[np.bool_], *, by_class: bool
) -> None:
    """Count rows of a ground truth: people as taken, the others by their class and mark.

    What carries mark 0 and is no pedestrian is left out by design: cars, mannequins and occluders
    are in every ground truth. Marks (column 7) other than 0 and 1 are noted.

    Args:
        account: is completed.
        rows: of a gt.txt.
        people: ``(N,)`` mask of those that count.
        by_class: the class (column 8) plays a part.
    """
    marked = rows.scores != 0
    account.take(int(people.sum()))
    for reason, number in rows.account.left_out.items():
        account.leave_out(reason, number)
    if by_class and rows.classes is not None:
        for kind in np.unique(rows.classes[~people]).tolist():
            here = ~people & (rows.classes == kind)
            name, unmarked = f"of {class_name(kind)}", int((here & ~marked).sum())
            account.leave_out(f"{name} with mark 0", unmarked, by_design=kind != PEDESTRIAN)
            account.leave_out(name, int((here & marked).sum()))
    else:
        account.leave_out("with mark 0", int((~people).sum()))
    odd = rows.scores[~np.isin(rows.scores, (0, 1))]
    if len(odd):
        account.note(
            f"{len(odd)} of {len(rows)} marks (column 7) are neither 0 nor 1, such as "
            f"{odd[0]:g}; every mark but 0 counts"
        )
