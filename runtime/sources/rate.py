"""Frame rates: as people write them, as containers state them, as timestamps say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

from jdetrt.errors import DataError

__all__ = [
    "ASSUMED",
    "HIGHEST",
    "LOWEST",
    "choose_rate",
    "differ",
    "is_usual",
    "measured_rate",
    "parse_rate",
]

ASSUMED = 30.0  # frames per second, where nobody knows
LOWEST = 1e-3  # frames per second: one in a quarter of an hour; less is damage
HIGHEST = 1000.0  # frames per second; above it a container states its clock, not a rate
_USUAL = (1.0, 120.0)  # frames per second of a camera or a film
_TOLERANCE = 0.1  # share by which a stated rate may be off
_EXACT = [24000 / 1001, 24, 25, 30000 / 1001, 30, 48, 50, 60000 / 1001, 60, 100, 120]
_ROUNDING = 0.01  # share by which a few timestamps in milliseconds miss a rate


def parse_rate(text: str) -> float:
    """Read frames per second: ``25``, ``29.97`` or ``30000/1001``.

    Raises:
        DataError: it is no number above 0, or above `HIGHEST`.

    >>> round(parse_rate("30000/1001"), 3)
    29.97
    """
    try:
        rate = float(Fraction(text.strip())) if "_" not in text and len(text) < 40 else 0.0
    except (ValueError, ZeroDivisionError, OverflowError):
        rate = 0.0
    if not LOWEST <= rate <= HIGHEST:
        raise DataError(
            f"expected frames per second above 0 (at most {HIGHEST:g}), such as 25, 29.97 or "
            f"30000/1001, got {text.strip()[:40] or 'nothing'}"
        )
    return rate


def is_usual(rate: float) -> bool:
    """Tell whether a rate is one of cameras and films, and not a clock or nonsense."""
    return _USUAL[0] <= rate <= _USUAL[1]


def differ(rate: float, other: float) -> bool:
    """Tell whether two rates are not the same within 10 %."""
    return abs(rate - other) > _TOLERANCE * other


def measured_rate(stamps: Sequence[float]) -> float | None:
    """Mean rate of frames by their times in seconds; None where these do not rise.

    A rate within 1 % of a usual one is that.

    >>> measured_rate([0.0, 0.04, 0.081, 0.12])
    25.0
    """
    rising = len(stamps) > 2 and all(b > a for a, b in pairwise(stamps))
    if not rising:
        return None
    rate = (len(stamps) - 1) / (stamps[-1] - stamps[0])
    nearest = min(_EXACT, key=lambda exact: abs(exact - rate))
    return float(nearest) if abs(nearest - rate) <= _ROUNDING * nearest else rate


def choose_rate(stated: float, measured: float | None) -> tuple[float, str | None]:
    """Choose between the rate that a container states and that of its timestamps.

    Returns:
        The rate, and a sentence where it is not the stated one.

    >>> choose_rate(1000.0, 25.0)
    (25.0, 'states 1000 FPS, but its timestamps say 25; 25 is used')
    >>> choose_rate(29.97, None)
    (29.97, None)
    """
    number = "no frame rate" if not stated or math.isnan(stated) else f"{stated:g} FPS"
    if measured is None:
        if is_usual(stated):
            return stated, None
        return ASSUMED, f"states {number} and no timestamps; {ASSUMED:g} FPS are assumed"
    if 0 < stated <= HIGHEST and not differ(stated, measured):
        return stated, None
    return measured, (
        f"states {number}, but its timestamps say {measured:.4g}; {measured:.4g} is used"
    )
