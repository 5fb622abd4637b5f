"""Result of ``selftest gpu``: rows as of ``bench latency``, the steps, and what they show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from jdetrt.benchmarks.result import LatencySettings, Result, Row
from jdetrt.documents import read_json
from jdetrt.errors import ConfigError, DataError
from jdetrt.machine.manifest import differences

__all__ = ["Check", "SelftestResult", "SelftestSettings", "StepResult", "network_fps", "resume"]

_CONTENT = "a result of jdetrt selftest gpu"
# A longer run goes on where a shorter one ended.
_MAY_CHANGE = ("minutes", "metadata")


class SelftestSettings(LatencySettings, kw_only=True, frozen=True):
    """Options of ``selftest gpu``; ``model`` has the networks, ``backend`` is TensorRT.

    Attributes:
        minutes: budget of a run.
        tensorrt: its version.
        optimization_level: of the builds; None for TensorRT's own.
    """

    minutes: float
    tensorrt: str
    optimization_level: int | None = None


class StepResult(msgspec.Struct, kw_only=True):
    """One step.

    Attributes:
        name: such as ``"build nano-576x320.fp16"``.
        key: hash of the model and of all else that its result depends on.
        state: ``"skipped"`` also stands for one that no longer fitted into the time.
        seconds: what it took; None for one that was not begun.
        estimate: seconds that it was expected to take.
        reason: why it failed or was skipped.
        facts: what it found out, by name.
    """

    name: str
    key: str
    state: Literal["done", "failed", "skipped"]
    estimate: float
    seconds: float | None = None
    reason: str | None = None
    facts: dict[str, Any] = {}


class Check(msgspec.Struct):
    """A limit and what was measured; ``value`` is in the words of ``text``."""

    name: str
    text: str
    met: bool


class SelftestResult(Result[SelftestSettings], kw_only=True):
    """Rows of the timed plans, all steps in the order of their worth, and the limits."""

    steps: list[StepResult] = msgspec.field(default_factory=list)
    checks: list[Check] = msgspec.field(default_factory=list)

    def step(self, name: str) -> StepResult | None:
        """The result of a step; None where there is none."""
        return next((step for step in self.steps if step.name == name), None)

    def in_state(self, state: str) -> list[StepResult]:
        """Steps that ended so."""
        return [step for step in self.steps if step.state == state]

    def put(self, step: StepResult, rows: Sequence[Row] = ()) -> None:
        """Note a step in place of its earlier result, and its rows in place of theirs."""
        names = [one.name for one in self.steps]
        if step.name in names:
            self.steps[names.index(step.name)] = step
        else:
            self.steps.append(step)
        new = {str(row) for row in rows}
        self.rows = [row for row in self.rows if str(row) not in new] + list(rows)


def network_fps(row: Row) -> float | None:
    """Runs a second of the network alone, by the clock of the GPU and without copies; a median."""
    means = [stage.mean for run in row.runs if (stage := run.stages.get("network")) is not None]
    middle = float(np.median(means)) if means else 0.0
    return 1e3 / middle if middle > 0 else None


def resume(output: Path, fresh: SelftestResult) -> SelftestResult:
    """Give the result that is there, if it is of this machine and these settings, else a new one.

    Raises:
        ConfigError: it has other settings.
        DataError: it is no such result, or of another machine.
    """
    if not output.exists():
        return fresh
    result = read_json(output, SelftestResult, DataError, _CONTENT, "name another file")
    if result.benchmark != fresh.benchmark:
        raise DataError(f"{output}: is not {_CONTENT}; name another file")
    if other := differences(result.machine, fresh.machine):
        raise DataError(
            f"{output}: was made on another machine, or with this machine in another state "
            f"({'; '.join(other)}); name another file"
        )
    before, now = (msgspec.to_builtins(one.settings) for one in (result, fresh))
    changed = [
        f"{name} {before.get(name)} there and {value} here"
        for name, value in now.items()
        if name not in _MAY_CHANGE and before.get(name) != value
    ]
    if changed:
        raise ConfigError(
            f"{output}: was made with other settings ({'; '.join(changed)}); name another file, or "
            "delete it"
        )
    result.settings = fresh.settings
    return result
