"""Comparisons: known differences are found, noise is not taken for one, oranges are refused."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import numpy as np
import pytest
from scipy import stats

from jdetrt.benchmarks import compare as comparing
from jdetrt.benchmarks.compare import METRICS, Comparison, Pair, change, compare
from jdetrt.benchmarks.result import FPS, Result, Row, Run, Summary, SweepSettings
from jdetrt.errors import ConfigError, DataError
from jdetrt.machine.manifest import Machine
from jdetrt.machine.power import Power
from jdetrt.types import Size


def result(*rows: list[float], watts: float | None = None, **machine: Any) -> Result[Any]:
    """A sweep whose rows ran at these system rates."""
    spread = Summary.of([1.0])
    measured = []
    for number, rates in enumerate(rows):
        row = Row(size=Size(32 * (number + 1), 32), precision="fp32", backend="onnxruntime")
        row.accuracy = {"HOTA": 50.0, "AP50": None}
        for fps in rates:
            power = Power(watts=watts, joules_per_frame=watts and watts / fps)
            fields: Any = dict.fromkeys(FPS, fps)
            row.add(Run(**fields, power=power, stages={}, frame_ms=spread))
        measured.append(row)
    return Result(
        benchmark="sweep",
        machine=Machine(**{"cpu": "one", "commit": "abc", **machine}),
        settings=SweepSettings(source="clip", frames=10, model="m"),
        rows=measured,
    )


def verdicts(compared: Comparison, metric: str = "system_fps") -> list[str]:
    return [row.metrics[metric].verdict for row in compared.rows]


def test_the_interval_is_welchs() -> None:
    before, after = [10.0, 10.4, 9.9, 10.1], [9.0, 9.5, 8.9]
    # Written out: Welch 1947, on logarithms.
    x, y = np.log(before), np.log(after)
    parts = [one.var(ddof=1) / len(one) for one in (x, y)]
    freedom = sum(parts) ** 2 / sum(
        p**2 / (len(one) - 1) for p, one in zip(parts, (x, y), strict=True)
    )
    reach = stats.t.ppf(0.975, freedom) * np.sqrt(sum(parts))
    middle = y.mean() - x.mean()
    wanted = np.expm1([middle, middle - reach, middle + reach])
    np.testing.assert_allclose(change(before, after, 0.95), wanted, rtol=1e-9)


@pytest.fixture
def one_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare system FPS alone: here the other rates are the same numbers."""
    monkeypatch.setattr(comparing, "METRICS", {"system_fps": METRICS["system_fps"]})


@pytest.mark.usefixtures("one_metric")
def test_noise_is_no_difference_and_slower_is_slower() -> None:
    rng = np.random.default_rng(5)
    alarms = found = 0
    for _ in range(200):
        first, again, slowed = (
            list(rate * np.exp(rng.normal(0, 0.03, 5))) for rate in (20.0, 20.0, 16.0)
        )
        alarms += verdicts(compare(result(first), result(again))) != ["no difference"]
        found += verdicts(compare(result(first), result(slowed))) == ["slower"]
    assert alarms <= 16  # 5 % of 200, and what chance adds to it at most (binomial, 99 %)
    assert found >= 198


@pytest.mark.usefixtures("one_metric")
def test_a_long_table_has_no_more_false_alarms() -> None:
    rng = np.random.default_rng(6)
    alarms = 0
    for _ in range(100):
        a, b = (result(*(list(rng.normal(20, 1, 4)) for _ in range(10))) for _ in range(2))
        alarms += set(verdicts(compare(a, b))) != {"no difference"}
    assert alarms <= 11  # 5 % of 100, likewise


def test_what_is_real_but_too_small_to_matter_is_no_difference() -> None:
    a, b = result([20.0, 20.01, 20.02]), result([20.2, 20.21, 20.22])
    assert verdicts(compare(a, b)) == ["no difference"]
    assert verdicts(compare(a, b, least=0.005)) == ["faster"]
    [row] = compare(a, b).rows
    assert (row.metrics["system_fps"].low or 0) > 0


def test_a_change_of_exactly_the_least_one_is_a_difference() -> None:
    a, b = result([20.0, 20.0]), result([25.0, 25.0])
    [middle, *_] = change([20.0, 20.0], [25.0, 25.0], 0.95)
    assert verdicts(compare(a, b, least=middle)) == ["faster"]
    assert verdicts(compare(a, b, least=float(np.nextafter(middle, 1)))) == ["no difference"]
    [middle, *_] = change([25.0, 25.0], [20.0, 20.0], 0.95)
    assert verdicts(compare(b, a, least=-middle)) == ["slower"]


def test_repeatable_to_the_bit() -> None:
    assert verdicts(compare(result([20.0, 20.0]), result([20.0, 20.0]))) == ["no difference"]
    assert verdicts(compare(result([20.0, 20.0]), result([10.0, 10.0]))) == ["slower"]
    for one, two in (([20.0], [10.0]), ([20.0], [10.0, 10.1]), ([20.0, 20.1], [10.0])):
        assert verdicts(compare(result(one), result(two))) == ["too few runs"]
    same = result([20.0, 20.0])
    assert verdicts(compare(same, same, least=0)) == ["no difference"]


def test_power_and_accuracy_are_beside_it() -> None:
    a, b = result([20.0, 20.1, 20.2], watts=10.0), result([20.0, 20.1, 20.2], watts=15.0)
    compared = compare(a, b)
    assert verdicts(compared, "watts") == verdicts(compared, "joules_per_frame") == ["more"]
    assert compared.rows[0].accuracy == {"HOTA": Pair(50.0, 50.0)}
    without = compare(a, result([20.0, 20.1, 20.2]))
    assert "watts" not in without.rows[0].metrics


def test_apples_and_oranges() -> None:
    a = result([20.0, 21.0])
    b = result([20.0, 21.0], cpu="another", commit="def")
    with pytest.raises(DataError, match="cpu: one and another"):
        compare(a, b)
    compared = compare(a, b, anyway=True)
    assert compared.not_alike == ["cpu: one and another"]
    assert compared.changed == ["commit: abc and def"]
    other = copy.deepcopy(a)
    other.settings = msgspec.structs.replace(a.settings, frames=20)
    with pytest.raises(DataError, match="frames: 10 and 20"):
        compare(a, other)
    newer = copy.deepcopy(a)
    newer.settings = msgspec.structs.replace(a.settings, model="m2")
    assert compare(a, newer).changed == ["model: m and m2"]


def test_configurations_of_one_alone_are_named() -> None:
    a, b = result([20.0, 21.0], [10.0, 11.0]), result([20.0, 21.0])
    assert compare(a, b).only_a == ["64x32 fp32 onnxruntime"]
    assert compare(b, a).only_b == ["64x32 fp32 onnxruntime"]
    b.rows[0].size = Size(999, 32)
    with pytest.raises(DataError, match="no configuration in common"):
        compare(a, b)
    b.rows = []
    with pytest.raises(DataError, match="nothing to compare"):
        compare(a, b)
    with pytest.raises(ConfigError, match="expected a confidence"):
        compare(a, a, confidence=1.0)
    with pytest.raises(ConfigError, match="expected a confidence"):
        compare(a, a, least=-0.1)
