"""The learning rate against values worked out by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jdetrt.training.learner import rate
from jdetrt.training.recipe import ScheduleConfig


def rates(config: ScheduleConfig, steps: int) -> list[float]:
    return [rate(config, step, steps) for step in range(config.epochs * steps)]


def test_the_reference_falls_after_15_and_22_of_30_epochs() -> None:
    config = ScheduleConfig(burn_in=0)
    by_epoch = [rate(config, epoch * 7 + 6, 7) for epoch in range(30)]
    assert by_epoch == pytest.approx([1.0] * 15 + [0.1] * 7 + [0.01] * 8)
    assert rate(config, 15 * 7, 7) == pytest.approx(0.1)  # from the first step on


def test_burn_in_is_the_fourth_power_of_the_step() -> None:
    """Reference train.py: base * (i / burnin) ** 4, reached at the step of that number."""
    config = ScheduleConfig(epochs=2, burn_in=4, steps=())
    expected = [0, 1 / 256, 1 / 16, 81 / 256, 1, 1, 1, 1, 1, 1, 1, 1]
    assert rates(config, 6) == pytest.approx(expected)


def test_burn_in_is_an_epoch_at_most() -> None:
    config = ScheduleConfig(epochs=2, burn_in=1000, steps=(0.5,))
    assert rates(config, 2) == pytest.approx([0, 1 / 16, 0.1, 0.1])


def test_a_fall_may_be_in_the_burn_in_and_several_at_once() -> None:
    config = ScheduleConfig(epochs=3, burn_in=0, steps=(0.4, 0.5, 0.99))
    assert rates(config, 1) == pytest.approx([1, 0.01, 0.001])


def test_a_single_epoch_has_the_whole_rate() -> None:
    assert rates(ScheduleConfig(epochs=1, burn_in=0), 3) == pytest.approx([1, 1, 1])


def test_a_burn_in_over_several_epochs() -> None:
    config = ScheduleConfig(epochs=4, burn_in=1000, burn_in_epochs=2, steps=())
    assert rates(config, 2) == pytest.approx([0, 1 / 256, 1 / 16, 81 / 256, 1, 1, 1, 1])
    long = ScheduleConfig(epochs=4, burn_in=1000, burn_in_epochs=9, steps=())
    assert rates(long, 2) == rates(config, 2)  # half of the training at most


def test_cosine_by_hand() -> None:
    config = ScheduleConfig(epochs=2, burn_in=0, fall="cosine", final=0.2)
    # 0.2 + 0.8 * (1 + cos(k pi / 6)) / 2
    expected = [1, 0.946410, 0.8, 0.6, 0.4, 0.253590]
    assert rates(config, 3) == pytest.approx(expected, abs=1e-6)
    assert rate(config, 6, 3) == pytest.approx(0.2)


def test_cosine_under_the_burn_in() -> None:
    config = ScheduleConfig(epochs=2, burn_in=2, fall="cosine", final=0.2)
    assert rates(config, 3) == pytest.approx([0, 0.946410 / 16, 0.8, 0.6, 0.4, 0.25359], abs=1e-6)


@given(
    st.integers(1, 6), st.integers(0, 30), st.integers(1, 20), st.sampled_from(["steps", "cosine"])
)
def test_rates_rise_to_the_end_of_the_burn_in_and_never_after(
    epochs: int, burn_in: int, steps: int, fall: str
) -> None:
    config = ScheduleConfig(epochs=epochs, burn_in=burn_in, fall=fall)  # type: ignore[arg-type]
    found = rates(config, steps)
    assert all(0 <= share <= 1 for share in found)
    top = min(burn_in, steps)
    assert found[top:] == sorted(found[top:], reverse=True)
