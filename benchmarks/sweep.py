"""Speed against resolution, precision and backend, with accuracy and power in the same row.

All configurations of one block run in random order, then again in another order, and so on: what
changes slowly (heat, other programs) then falls on all alike. The result is written after each run,
whole, and a sweep that was stopped resumes.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from jdetrt.benchmarks.accuracy import measure_accuracy
from jdetrt.benchmarks.decide import mark_pareto
from jdetrt.benchmarks.latency import measure_run
from jdetrt.benchmarks.model_store import Configuration, ModelStore
from jdetrt.benchmarks.result import (
    Result,
    Row,
    SweepConfig,
    SweepSettings,
    read_result,
    write_result,
)
from jdetrt.errors import ConfigError, DataError, JdetrtError
from jdetrt.machine.cool_down import CoolDown
from jdetrt.machine.manifest import differences
from jdetrt.progress import NO_PROGRESS, Progress

__all__ = ["sweep"]

SweepResult = Result[SweepSettings]
# More repeats are a reason to resume; another question is answered from what was measured.
_MAY_CHANGE = ("repeats", "accuracy", "perturbed_runs")


def sweep(
    store: ModelStore,
    configurations: Sequence[Configuration],
    source: str,
    output: str | Path,
    config: SweepConfig,
    *,
    gt: str | Path | None = None,
    progress: Progress = NO_PROGRESS,
) -> SweepResult:
    """Measure each configuration.

    One that cannot be made or run keeps its reason in its row (``error``), and the others go on.

    Args:
        store: makes and opens the models.
        configurations: to measure, without repetition.
        source: URI of a source that can be read again.
        output: the JSON file. One with the same settings, of the same machine, is resumed.
        config: of the runs.
        gt: a MOT sequence with images and ground truth, for the accuracy; None for speed alone.
        progress: phases "models", "accuracy" and "runs", and a message for each configuration.

    Raises:
        ConfigError: no configuration, or ``output`` has other settings.
        DataError: ``output`` is no result, or of another machine.
        OutputError: it cannot be written.
    """
    if not configurations:
        raise ConfigError("expected at least one configuration")
    settings = SweepSettings(
        model=store.name,
        model_sha256=store.digest,
        trained_size=store.trained_size,
        top_k=store.top_k,
        calibration=[Path(uri).name for uri in store.calibration],
        calibration_frames=store.calibration_frames,
        source=Path(source).name,
        gt=None if gt is None else Path(gt).name,
        **msgspec.structs.asdict(config),
    )
    output = Path(output)
    fresh = Result(benchmark="sweep", settings=settings, rows=[])
    result = _resume(output, fresh)
    pairs = [(target, _row(result, target)) for target in configurations]

    def save() -> None:
        mark_pareto(result.rows, config.accuracy)
        write_result(output, result)

    # All models first: making them heats the machine and fills its memory.
    for target, row in _phase("models", pairs, progress):
        progress.message(f"preparing {target}")
        with _noting(row):
            row.model = store.prepare(target).name
            row.deploy = store.deploy_command(target, source, config.provider)
    save()

    if gt is not None:
        todo = [pair for pair in pairs if _lacks_accuracy(pair[1], config.perturbed_runs)]
        for target, row in _phase("accuracy", todo, progress):
            progress.message(f"accuracy of {target}")
            with _noting(row), store.open(target, config.provider) as session:
                row.accuracy, row.perturbed = measure_accuracy(
                    session, gt, preset=config.preset, perturbed_runs=config.perturbed_runs
                )
            save()

    commit = fresh.machine.commit  # a resumed file has the machine of its first run
    wait = CoolDown(config.cool_down)
    for target, row in _phase("runs", _order(pairs, config.repeats, config.seed), progress):
        if row.error is not None:
            continue
        progress.message(f"run {len(row.runs) + 1} of {config.repeats}: {target}")
        wait()
        with _noting(row), store.open(target, config.provider) as session:
            run = measure_run(session, source, config)
            run.commit = commit
            row.body = session.metadata.get("body")
            row.add(run)
        save()
    return result


def _lacks_accuracy(row: Row, perturbed_runs: int) -> bool:
    runs = len((row.perturbed or {}).get("HOTA", ()))
    return row.error is None and (row.accuracy is None or runs != perturbed_runs)


def _resume(output: Path, fresh: SweepResult) -> SweepResult:
    if not output.exists():
        return fresh
    result = read_result(output)
    if result.benchmark != "sweep":
        raise DataError(f"{output}: is the result of another benchmark; name another file")
    before, now = (msgspec.to_builtins(one.settings) for one in (result, fresh))
    changed = [
        f"{name} {before[name]} there and {value} here"
        for name, value in now.items()
        if name not in _MAY_CHANGE and before[name] != value
    ]
    if changed:
        raise ConfigError(
            f"{output}: was made with other settings ({'; '.join(changed)}); name another file, or "
            "delete it"
        )
    if other := differences(result.machine, fresh.machine):
        raise DataError(
            f"{output}: was made on another machine, or with this machine in another state "
            f"({'; '.join(other)}); name another file"
        )
    result.settings, result.answer = fresh.settings, None
    return result


def _row(result: SweepResult, target: Configuration) -> Row:
    for row in result.rows:
        if str(row) == str(target):
            row.error = None  # tried again
            return row
    row = Row(size=target.size, precision=target.precision, backend=target.backend)
    result.rows.append(row)
    return row


def _phase(
    name: str, pairs: Sequence[tuple[Configuration, Row]], progress: Progress
) -> Iterator[tuple[Configuration, Row]]:
    progress.start(name, len(pairs))
    for done, pair in enumerate(pairs, start=1):
        yield pair
        progress.advance(name, done)
    progress.finish(name)


@contextmanager
def _noting(row: Row) -> Iterator[None]:
    """Note an error of ours in a row, and go on."""
    try:
        yield
    except JdetrtError as err:
        row.error = f"{type(err).__name__}: {err}"


def _order(
    pairs: Sequence[tuple[Configuration, Row]], repeats: int, seed: int
) -> list[tuple[Configuration, Row]]:
    """Order the missing runs: in blocks, each shuffled."""
    order = []
    for number in range(repeats):
        block = list(pairs)
        random.Random(f"{seed} {number}").shuffle(block)
        order += [pair for pair in block if pair[1].error is None and len(pair[1].runs) <= number]
    return order
