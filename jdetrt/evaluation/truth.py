"""Ground truth of a MOT sequence: the rows that count, and an account of the others."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from jdetrt.account import Account
from jdetrt.runtime.mot.classes import PEDESTRIAN, leave_out_others
from jdetrt.runtime.mot.files import MotRows

__all__ = ["compare_ends", "counted_rows", "ends_early", "truth_account"]

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

    Args:
        truth: as for `counted_rows`.
        rules: as for `counted_rows`.
    """
    account = Account("ground-truth box", "ground-truth boxes")
    leave_out_others(account, truth, counted_rows(truth, rules), by_class=rules != "MOT15")
    return account


def ends_early(truth: npt.NDArray[np.int64], length: int) -> str | None:
    """Tell whether a ground truth breaks off long before its sequence; a sentence, or None.

    Args:
        truth: ``(N,)`` frame numbers of all its rows.
        length: of the sequence, in frames.
    """
    end = int(truth.max())
    if length - end <= max(_EARLY, _EARLY_SHARE * length):
        return None
    return f"the ground truth ends with frame {end} of {length}; was it cut off?"


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
