"""Confidences of detection files, which come in several units, as scores from 0 to 1."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from jdetrt.errors import DataError

__all__ = ["Unit", "to_scores"]

_F64 = npt.NDArray[np.float64]

Unit = Literal["auto", "fraction", "percent", "margin"]

_ROUNDING = 1e-3  # confidences as little above 1 are 1
_NEARLY = 1.1  # up to here a score that should end at 1 may reach
_FEW, _SMALL = 0.01, 10  # of all rows: slips in a file of scores; at most one in so few
_PERCENT = 50.0  # percentages of detections that are sure of anything reach beyond this


def to_scores(values: _F64, unit: Unit = "auto") -> tuple[_F64, str | None]:
    """Bring the confidences of a whole file into 0..1.

    Detectors before the deep ones (DPM in MOT17) give margins, not probabilities: any real number,
    0 at their own decision. The logistic function keeps the order and puts that decision at 0.5.
    With "auto" the values decide: within 0 to 1 they are scores; up to 100, most of them above 1,
    percentages; with negative ones, margins. A row of -1 in a file of scores states no confidence
    and counts in full.

    Args:
        values: ``(N,)``, finite.
        unit: of the values.

    Returns:
        Scores ``(N,)``, and a sentence on what was assumed; None where the values say it.

    Raises:
        DataError: the values do not fit the unit, or with "auto" fit none.

    >>> to_scores(np.array([0.2, 1.0004]))
    (array([0.2, 1. ]), None)
    >>> to_scores(np.array([8.0, 90.0]))
    (array([0.08, 0.9 ]), 'confidences from 8 to 90 are taken as percentages')
    >>> to_scores(np.array([-0.4, 0.0, 2.5]))[0].round(3).tolist()
    [0.401, 0.5, 0.924]
    >>> to_scores(np.array([-1.0, -1.0]))[0].tolist()
    [1.0, 1.0]
    """
    if not len(values):
        return values, None
    low, high = float(values.min()), float(values.max())
    span = f"confidences from {low:g} to {high:g}"
    if unit == "auto":
        return _by_evidence(values, span)
    if unit == "margin":
        return _logistic(values), None
    limit = 1.0 if unit == "fraction" else 100.0
    if low < 0 or high > limit * _NEARLY:
        raise DataError(f"{span} are not between 0 and {limit:g}, as those of unit {unit} are")
    return np.minimum(values / limit, 1.0), None


def _by_evidence(values: _F64, span: str) -> tuple[_F64, str | None]:
    unknown = values == -1
    if unknown.all():
        return np.ones_like(values), "no row states a confidence (all are -1): all count in full"
    stated = values[~unknown]
    if stated.min() < 0:
        return _logistic(values), f"{span} are taken as margins, 0 becomes a score of 0.5"
    above = stated > 1 + _ROUNDING
    slips = len(stated) >= _SMALL and above.sum() <= max(1, _FEW * len(stated))
    if not above.any() or stated.max() <= _NEARLY or slips:
        notes = []
        if above.any():
            notes.append(f"{above.sum()} of {len(stated)} confidences are above 1 and count as 1")
        if unknown.any():
            notes.append(f"{unknown.sum()} of {len(values)} rows state none (-1) and count in full")
        return np.where(unknown, 1.0, np.minimum(values, 1.0)), "; ".join(notes) or None
    if _PERCENT < stated.max() <= 100 and np.median(stated) > 1:
        return np.where(unknown, 1.0, values / 100), f"{span} are taken as percentages"
    raise DataError(
        f"{span}: neither 0 to 1, nor percentages, nor margins with negative ones among them; "
        "state which they are: --confidence-unit fraction, percent or margin"
    )


def _logistic(values: _F64) -> _F64:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * values)))  # no overflow
