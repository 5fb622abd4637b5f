"""Units of confidences, by what a whole file holds."""

from __future__ import annotations

import numpy as np
import pytest

from jdetrt.errors import DataError
from jdetrt.runtime.confidences import Unit, to_scores


def scores(*values: float, unit: Unit = "auto") -> list[float]:
    return [round(float(score), 6) for score in to_scores(np.array(values, float), unit)[0]]


def note(*values: float) -> str | None:
    return to_scores(np.array(values, float))[1]


def test_scores_stay_as_they_are_and_nothing_is_said() -> None:
    assert scores(0, 0.3, 1) == [0, 0.3, 1]
    assert note(0, 0.3, 1.0009) is None
    assert scores() == []


def test_percentages() -> None:
    assert scores(8, 55.5, 100) == [0.08, 0.555, 1]
    assert "percentages" in (note(8, 55.5, 100) or "")
    assert scores(8, -1, 90) == [0.08, 1, 0.9]  # one states none


def test_a_slip_among_scores_counts_as_1() -> None:
    values = [0.5] * 200
    assert scores(*values, 37.0)[-1] == 1
    assert scores(*values, 37.0)[0] == 0.5
    assert note(*values, 37.0) == "1 of 201 confidences are above 1 and count as 1"
    assert scores(0.2, 1.02, 1.1) == [0.2, 1, 1]


def test_margins_have_negative_ones_among_them() -> None:
    assert scores(-0.5, 0, 2) == pytest.approx([1 / (1 + np.exp(0.5)), 0.5, 1 / (1 + np.exp(-2))])
    assert "margins" in (note(-0.5, 0, 2) or "")
    assert scores(-2000, 2000) == [0, 1]


def test_rows_of_minus_1_state_none() -> None:
    assert scores(-1, -1) == [1, 1]
    assert scores(-1, 0.4) == [1, 0.4]
    assert "1 of 2 rows state none" in (note(-1, 0.4) or "")


@pytest.mark.parametrize("values", [(3.5, 7.0), (8.0,), (0.3, 0.9, 1.7), (20.0, 120.0, 300.0)])
def test_what_could_be_anything_is_refused_with_the_remedy(values: tuple[float, ...]) -> None:
    with pytest.raises(DataError, match="--confidence-unit fraction, percent or margin"):
        scores(*values)


def test_a_stated_unit_is_believed_where_it_can_be() -> None:
    assert scores(3.5, unit="percent") == [0.035]
    assert scores(0.0, unit="margin") == [0.5]
    assert scores(1.05, 0.5, unit="fraction") == [1, 0.5]
    for value, unit in ((2.0, "fraction"), (-0.5, "fraction"), (150.0, "percent")):
        with pytest.raises(DataError, match=f"unit {unit}"):
            scores(value, unit=unit)  # type: ignore[arg-type]
