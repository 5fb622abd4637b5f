"""The recommendation: limits by the worst run, accuracy within noise, the same answer each time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import stdev
from typing import Any

import numpy as np
import pytest

from jdetrt.benchmarks.decide import (
    SINGLE_RUN,
    answer_of,
    decide,
    limits,
    mark_pareto,
    noise,
)
from jdetrt.benchmarks.result import (
    FPS,
    PERTURBED,
    Result,
    Row,
    Run,
    Summary,
    SweepSettings,
    read_result,
)
from jdetrt.errors import ConfigError
from jdetrt.machine.power import Power
from jdetrt.types import Size

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


def row(
    fps: float | Sequence[float],
    hota: float | None,
    watts: float | Sequence[float | None] | None = None,
    *,
    size: tuple[int, int] = (32, 32),
    perturbed: dict[str, list[float]] | None = None,
    **scores: float,
) -> Row:
    """A row with two runs, or one a speed."""
    made = Row(size=Size(*size), accuracy=None if hota is None else {"HOTA": hota, **scores})
    rates = [fps - 1, fps + 1] if isinstance(fps, (int, float)) else list(fps)
    powers = list(watts) if isinstance(watts, Sequence) else [watts] * len(rates)
    for rate, power in zip(rates, powers, strict=True):
        fields: Any = dict.fromkeys(FPS, float(rate))
        scope = None if power is None else "module"
        made.add(
            Run(
                **fields,
                power=Power(watts=power, scope=scope),
                stages={},
                frame_ms=Summary.of([1.0]),
            )
        )
    made.perturbed = perturbed
    return made


def around(mean: float, deviation: float = 1.0, runs: int = 20) -> list[float]:
    """Values with exactly this mean and standard deviation."""
    steps = np.linspace(-1, 1, runs)
    values: list[float] = (mean + deviation * steps / steps.std(ddof=1)).tolist()
    return values


def test_the_front_is_what_nothing_beats() -> None:
    rows = [row(10, 50), row(10, 50), row(10, 49), row(30, 20), row(5, 60), row(29, 20)]
    mark_pareto(rows)
    # By hand, from the definition.
    assert [one.pareto for one in rows] == [True, True, False, True, True, False]


def test_the_most_accurate_one_within_limits() -> None:
    rows = [row(10, 50, 20.0), row(26, 40, 14.0), row(40, 30, 9.0), row(26, 40, 12.0)]
    assert decide(rows).row is rows[0]
    assert decide(rows, min_fps=25).row is rows[1]
    decision = decide(rows, min_fps=25, max_watts=13)
    assert decision.row is rows[3]
    assert decision.why == "HOTA 40.0 at 26.0 FPS (slowest of 2 runs: 25.0), 12.0 W (module)"
    nothing = decide(rows, min_fps=100, max_watts=5)
    assert nothing.row is None
    assert nothing.why == (
        "none meets the limits: the fastest reaches 39.0 FPS in its slowest run, the lowest power "
        "is 9.0 W"
    )
    assert decide(rows, min_fps=100).why == (
        "none meets the limits: the fastest reaches 39.0 FPS in its slowest run"
    )


def test_a_limit_is_met_by_the_worst_run_and_up_to_its_value() -> None:
    accurate, other = row([24.9, 40, 40], 60, [5, 5, 9.1]), row([25, 25, 25], 40, [8, 9, 9])
    assert decide([accurate, other]).row is accurate
    assert decide([accurate, other], min_fps=24.9).row is accurate
    assert decide([accurate, other], min_fps=25).row is other
    assert decide([accurate, other], min_fps=25.01).row is None
    assert decide([accurate, other], max_watts=9.1).row is accurate
    assert decide([accurate, other], max_watts=9).row is other
    assert decide([accurate, other], max_watts=8.9).row is None
    # A run without a reading says nothing; the others do.
    assert decide([row([9, 9], 60, [None, 7])], max_watts=7).row is not None


def test_of_equally_accurate_ones_the_fastest_and_then_the_smaller() -> None:
    slow, fast = row(10, 40.0), row(30, 39.0)
    decision = decide([slow, fast])
    assert (decision.row, decision.equals) == (fast, (slow,))
    assert decision.why.endswith(
        "; another configuration is as accurate within noise and not faster"
    )
    third = decide([slow, fast, row(12, 39.5)])
    assert "2 other configurations are as accurate within noise" in third.why
    large, small = row(30, 40.0, size=(64, 64)), row(30, 39.9, size=(64, 32))
    assert decide([large, small]).row is small
    assert decide([large, row(30, 39.9, size=(64, 64))]).row is large


def test_noise_is_that_of_a_run_and_of_the_mean() -> None:
    def one(deviation: float, runs: int) -> Row:
        return row(10, 40, perturbed={"HOTA": around(40, deviation, runs)})

    # By hand: sqrt((9 + 16) / 2) + 2 sqrt(9 / 9 + 16 / 4).
    assert noise(one(3, 9), one(4, 4), "HOTA") == pytest.approx(12.5**0.5 + 2 * 5**0.5)
    # One that was measured once has the deviation of SINGLE_RUN, as one run.
    alone = row(10, 40)
    assert noise(alone, alone, "HOTA") == pytest.approx(SINGLE_RUN["HOTA"] * (1 + 2 * 2**0.5))
    assert noise(one(1e-6, 9), one(1e-6, 9), "HOTA") == 0.5
    assert noise(alone, alone, "AP50") == 0.5


@pytest.mark.parametrize(("less", "equal"), [(0.05, True), (-0.05, False)])
def test_the_limit_of_noise_itself(less: float, equal: bool) -> None:
    # Twenty runs of deviation 1: 1 + 2 sqrt(2 / 20).
    reach = 1 + 2 * (2 / 20) ** 0.5
    best = row(10, 40, perturbed={"HOTA": around(40)})
    other = row(30, 40, perturbed={"HOTA": around(40 - reach + less)})
    assert decide([best, other]).row is (other if equal else best)


def test_a_loss_of_exactly_noise_is_none() -> None:
    limit = noise(row(10, 40), row(10, 40), "MOTA")
    more = float(np.nextafter(limit, 99))
    for lead, equal in ((limit, True), (more, False)):
        better, worse = row(10, 40.0, MOTA=lead), row(30, 40.0, MOTA=0.0)
        assert decide([better, worse]).row is (worse if equal else better)


def test_a_clear_loss_in_another_score_is_not_equal() -> None:
    better, worse = row(10, 40.0, MOTA=48.0), row(30, 40.5, MOTA=40.0)
    assert decide([better, worse]).row is better
    # One that wins in one score and loses in another is as good.
    mixed = row(30, 40.5, MOTA=40.0, IDF1=70.0)
    assert decide([row(10, 40.0, MOTA=48.0, IDF1=40.0), mixed]).row is mixed


def test_what_was_not_measured_cannot_be_judged() -> None:
    with pytest.raises(ConfigError, match="sweep with --gt"):
        decide([row(10, None)])
    with pytest.raises(ConfigError, match="no power was measured"):
        decide([row(10, 50)], max_watts=10)
    with pytest.raises(ConfigError, match="accuracy 'F1'"):
        decide([row(10, 50)], accuracy="F1")
    # One without a reading does not count as frugal, and is counted.
    frugal = decide([row(10, 50), row(5, 40, 8.0)], max_watts=10)
    assert frugal.row == row(5, 40, 8.0)
    assert frugal.why.endswith("; 1 configuration could not be judged")


def test_the_record_keeps_question_answer_and_reason() -> None:
    rows = [row(10, 40, 8.0), row(30, 39, 8.0, size=(64, 32))]
    rows[1].deploy = "jdetrt track"
    answer = decide(rows, min_fps=5, max_watts=9).record()
    assert (answer.min_fps, answer.max_watts, answer.accuracy) == (5, 9, "HOTA")
    assert (answer.configuration, answer.deploy) == ("64x32 runs", "jdetrt track")
    assert answer.equals == ["32x32 runs"]
    assert limits(answer) == "at least 5 FPS and at most 9 W in every run"
    none = decide(rows, min_fps=99).record()
    assert (none.configuration, none.deploy, limits(none)) == (
        None,
        None,
        "at least 99 FPS in every run",
    )
    settings = SweepSettings(model="m", source="s")
    result: Result[Any] = Result(benchmark="sweep", settings=settings, rows=rows)
    unasked = answer_of(result)  # of a result of an earlier version
    assert unasked is not None
    assert (unasked.configuration, limits(unasked)) == ("64x32 runs", "none")
    result.rows = [row(10, None), rows[1]]  # of some the accuracy is missing
    unasked = answer_of(result)
    assert unasked is not None
    assert unasked.configuration == "64x32 runs"
    result.answer = none
    assert answer_of(result) is none
    assert answer_of(Result(benchmark="sweep", settings=settings, rows=[row(10, None)])) is None


def test_the_deviation_of_a_single_run_is_about_that_of_the_committed_ones() -> None:
    rows = json.loads((RESULTS / "int8-nano.json").read_text())["accuracy"]["rows"].values()
    for name, deviation in SINGLE_RUN.items():
        measured = max(stdev(one["shaken"][name.lower()]) for one in rows)
        assert deviation == pytest.approx(measured, rel=0.4)


def perturbed_again(rows: Sequence[Row], seed: int) -> None:
    """Draw other perturbed runs around each row's scores, as far apart as measured ones."""
    random = np.random.default_rng(seed)
    for one in rows:
        one.perturbed = {
            name: random.normal(value, SINGLE_RUN[name], 20).tolist()
            for name, value in (one.accuracy or {}).items()
            if name in PERTURBED and value is not None
        }


def test_a_small_gain_does_not_outweigh_a_clear_loss() -> None:
    # 704x384 and 864x480 of nano in INT8, as they were measured once: HOTA +0.6, MOTA -3.5.
    smaller = row([36.8, 40.1, 22.95, 37, 34.6], 38.8, size=(704, 384), MOTA=44.8, IDF1=52.4)
    larger = row([26.2, 30.9, 27.5, 28.5, 23.3], 38.2, size=(864, 480), MOTA=48.3, IDF1=52.5)
    assert decide([smaller, larger], min_fps=20).row is larger
    assert decide([smaller, larger], min_fps=23).row is larger  # which the other misses once
    assert decide([smaller, larger], min_fps=25).row is None  # as both do
    for seed in range(10):
        perturbed_again([smaller, larger], seed)
        assert decide([smaller, larger], min_fps=20).row is larger


@pytest.mark.parametrize("min_fps", [15, 20, 25, 40])
def test_ten_repetitions_of_the_committed_sweep_have_one_answer(min_fps: float) -> None:
    rows = read_result(RESULTS / "sweep-nano-epyc-2core.json").measured
    assert len({row.size for row in rows}) == 5
    answers = set()
    for seed in range(10):
        perturbed_again(rows, seed)
        answers.add(str(decide(rows, min_fps=min_fps).row))
    assert len(answers) == 1


def test_ten_repetitions_of_a_synthetic_sweep_have_one_answer() -> None:
    # Three sizes, each in two precisions that differ by less than noise.
    rows = [
        row(fps * speed, hota - loss, size=(width, 32), MOTA=hota - loss, IDF1=hota - loss)
        for width, fps, hota in ((96, 10, 44.0), (64, 20, 40.0), (32, 40, 30.0))
        for speed, loss in ((1.0, 0.0), (1.6, 0.3))
    ]
    for min_fps, best in ((None, rows[1]), (17, rows[3]), (35, rows[5])):
        for seed in range(10):
            perturbed_again(rows, seed)
            assert decide(rows, min_fps=min_fps).row is best
