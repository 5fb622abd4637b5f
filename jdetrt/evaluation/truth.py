"""Ground truth of a MOT sequence: the rows that count, and an account of the others."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from jdetrt.account import Account
from jdetrt.runtime.mot_classes import PEDESTRIAN, class_name
from jdetrt.runtime.mot_io import MotRows

__all__ = ["compare_ends", "counted_rows", "truth_account"]

# Frames at the end of a sequence without a result, while there are people; share of the sequence.
_EARLY, _EARLY_SHARE = 10, 0.1


def counted_rows(truth: MotRows, rules: str) -> npt.NDArray[np.bool_]:
    """Mask ``(N,)`` of the rows that count: any mark but 0; class 1 where the rules have classes.

    Args:
        truth: rows of a gt.txt; with classes, unless the rules are MOT15.
        rules: one of `jdetrt.evaluation.trackeval.RULES`.
    """
    marked: npt.NDArray[np.bool_] = truth.scores != 0
    return marked if rules == "MOT15" else marked & (truth.classes == PEDESTRIAN)


def truth_account(truth: MotRows, rules: str) -> Account:
    """Account of a ground truth: rows that count, and those that do not, by class and mark.

    What carries mark 0 and is no pedestrian is left out by design: cars, mannequins and occluders
    are in every ground truth.

    Args:
        truth: as for `counted_rows`.
        rules: as for `counted_rows`.
    """
    account = Account("ground-truth box", "ground-truth boxes")
    counts, marked = counted_rows(truth, rules), truth.scores != 0
    account.take(int(counts.sum()))
    for reason, number in truth.account.left_out.items():
        account.leave_out(reason, number)
    if rules == "MOT15" or truth.classes is None:
        account.leave_out("with mark 0", int((~counts).sum()))
    else:
        for kind in np.unique(truth.classes[~counts]).tolist():
            name = f"of {class_name(kind)}"
            here = truth.classes == kind
            unmarked = int((here & ~marked).sum())
            account.leave_out(f"{name} with mark 0", unmarked, by_design=kind != PEDESTRIAN)
            account.leave_out(name, int((here & marked & ~counts).sum()))
    odd = truth.scores[~np.isin(truth.scores, (0, 1))]
    if len(odd):
        account.note(
            f"{len(odd)} of {len(truth)} marks (column 7) are neither 0 nor 1, such as "
            f"{odd[0]:g}; every mark but 0 counts"
        )
    return account


def compare_ends(
    results: npt.NDArray[np.int64], truth: npt.NDArray[np.int64], length: int
) -> str | None:
    """Tell whether results break off long before the ground truth; a sentence, or None.

    Args:
        results: ``(N,)`` frame numbers of the rows of a results file.
        truth: ``(M,)`` frame numbers of the rows of the ground truth that count.
        length: of the sequence, in frames.
    """
    if not len(results) or not len(truth):
        return None
    last, end = int(results.max()), int(truth.max())
    if end - last <= max(_EARLY, _EARLY_SHARE * length):
        return None
    return (
        f"the results end with frame {last}, the ground truth with frame {end} of {length}; were "
        "they cut off?"
    )
