"""Speed against resolution, precision and backend, with accuracy and power in the same row.

All configurations of one block run in random order, then again in another order, and so on: what
changes slowly (heat, other programs) then falls on all alike. The result is written after each run,
whole, and a sweep that was stopped goes on where it was.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jdetrt.benchmarks.decide import ACCURACIES, mark_pareto
from jdetrt.benchmarks.latency import measure_run, medians
from jdetrt.benchmarks.model_store import Artefacts, Configuration
from jdetrt.errors import ConfigError, DataError, JdetrtError
from jdetrt.evaluation.detection import evaluate_detection
from jdetrt.evaluation.tracking import evaluate_tracking
from jdetrt.files import write_text
from jdetrt.machine.cool_down import CoolDown
from jdetrt.machine.fingerprint import differences
from jdetrt.machine.manifest import manifest
from jdetrt.runtime.settings import tracker_config
from jdetrt.types import Session

__all__ = ["measure_accuracy", "read_result", "sweep"]


def sweep(
    artefacts: Artefacts,
    configurations: Sequence[Configuration],
    source: str,
    output: str | Path,
    *,
    gt: str | Path | None = None,
    frames: int = 200,
    warm_up: int = 20,
    repeats: int = 3,
    cool_down: float = 10.0,
    rest: float = 2.0,
    video: bool = False,
    provider: str = "auto",
    preset: str | None = None,
    accuracy: str = "HOTA",
    seed: int = 0,
    report: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Measure each configuration.

    One that cannot be made or run keeps its reason in its row (``error``), and the others go on.

    Args:
        artefacts: makes and opens the models.
        configurations: what to measure, without repetition.
        source: URI of a source that can be read again.
        output: the JSON file. One with the same settings, of the same machine, is gone on with.
        gt: a MOT sequence with pictures and ground truth, for the accuracy; None for speed alone.
        frames: that count, in each run.
        warm_up: frames before them.
        repeats: runs of each configuration.
        cool_down: seconds between two runs, or more while it is warm.
        rest: seconds of reading the sensors before and after each run.
        video: also draw and encode a video in the system's rate.
        provider: what computes, as in ``open_session``.
        preset: of the tracker; by default as in tracking.
        accuracy: what the Pareto front goes by, one of ``ACCURACIES``.
        seed: of the order.
        report: is told what comes next.

    Returns:
        JSON-ready: the machine, the settings, and a row a configuration: its ``model`` file and
        how to track with it (``deploy``), ``accuracy``, all ``runs`` with their medians, and
        whether it is on the Pareto front.

    Raises:
        ConfigError: a number that makes no measurement, or ``output`` has other settings.
        DataError: ``output`` is no result, or of another machine.
        OutputError: it cannot be written.
    """
    if not configurations or repeats < 1:
        raise ConfigError("expected at least one configuration, and 1 repeat or more")
    if accuracy not in ACCURACIES:
        raise ConfigError(f"accuracy '{accuracy}': expected {', '.join(ACCURACIES)}")
    settings = {
        "model": artefacts.name,
        "model_sha256": artefacts.digest,
        "top_k": artefacts.top_k,
        "calibration": [Path(source).name for source in artefacts.calibration],
        "calibration_frames": artefacts.calibration_frames,
        "source": Path(source).name,
        "gt": None if gt is None else Path(gt).name,
        "frames": frames,
        "warm_up": warm_up,
        "repeats": repeats,
        "cool_down": cool_down,
        "rest": rest,
        "video": video,
        "provider": provider,
        "cuda_graph": artefacts.cuda_graph,
        "preset": preset,
        "accuracy": accuracy,
        "seed": seed,
    }
    machine = manifest()
    result = _resume(Path(output), settings, machine)
    rows = [_row(result, wanted) for wanted in configurations]
    _prepare(artefacts, configurations, rows, source, provider, report)
    _save(output, result, accuracy)

    if gt is not None:
        for wanted, row in zip(configurations, rows, strict=True):
            if row["accuracy"] is None and row["error"] is None:
                report(f"accuracy of {wanted}")
                with _noting(row), artefacts.open(wanted, provider) as session:
                    row["accuracy"] = measure_accuracy(session, gt, preset=preset)
                _save(output, result, accuracy)

    wait = CoolDown(cool_down)
    for wanted, row, number in _order(configurations, rows, repeats, seed):
        report(f"run {number + 1} of {repeats}: {wanted}")
        wait()
        with _noting(row), artefacts.open(wanted, provider) as session:
            run = measure_run(
                session,
                source,
                frames=frames,
                warm_up=warm_up,
                video=video,
                preset=preset,
                rest=rest,
            )
            row["body"] = session.metadata.get("body")
            row["runs"].append({"commit": machine["commit"], **run})
            row.update(medians(row["runs"]))
        _save(output, result, accuracy)
    return result


def measure_accuracy(
    session: Session, gt: str | Path, *, preset: str | None = None
) -> dict[str, float | int | None]:
    """HOTA, MOTA, IDF1 (percent), ID switches, false positives and negatives, AP50 (percent).

    AP50 is None where torch, which reads the labels, is not installed.

    Args:
        session: a JDE model. It stays open.
        gt: a MOT sequence with pictures and ground truth.
        preset: of the tracker; by default as in tracking.

    Raises:
        DataError: the ground truth is missing or wrong.
        MissingDependencyError: TrackEval is not installed.
        SessionError, SourceError: the model or the pictures fail.
    """
    settings = tracker_config(session, preset)
    scores = evaluate_tracking(session, [gt], tracker=settings).combined.to_dict()
    try:
        from jdetrt.training.data.datasets import open_data_set
    except ModuleNotFoundError:
        return {**scores, "AP50": None}
    data = open_data_set(gt)
    samples = (data[index] for index in range(len(data)))
    return {**scores, "AP50": 100 * evaluate_detection(session, samples).ap50}


def read_result(path: str | Path) -> dict[str, Any]:
    """A result of ``jdetrt bench``. Raises DataError where the file is none."""
    path = Path(path)
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        why = getattr(err, "strerror", None) or err
        raise DataError(f"{path}: is not a result of jdetrt bench ({why})") from err
    if not isinstance(result, dict) or not {"benchmark", "machine", "rows"} <= set(result):
        raise DataError(f"{path}: is not a result of jdetrt bench: no benchmark, machine or rows")
    return result


def _resume(output: Path, settings: dict[str, Any], machine: dict[str, Any]) -> dict[str, Any]:
    if not output.exists():
        return {"benchmark": "sweep", "machine": machine, "settings": settings, "rows": []}
    result = read_result(output)
    if result["benchmark"] != "sweep":
        raise DataError(f"{output}: is a result of another benchmark; name another file")
    # More repeats are a reason to go on; nothing else may differ.
    changed = [
        f"{name} {result['settings'].get(name)} there and {value} here"
        for name, value in settings.items()
        if name not in ("repeats", "accuracy") and result["settings"].get(name) != value
    ]
    if changed:
        raise ConfigError(
            f"{output}: was made with other settings ({'; '.join(changed)}); name another file, or "
            "delete it"
        )
    if other := differences(result["machine"], machine):
        raise DataError(
            f"{output}: was made on another machine, or in another state of it "
            f"({'; '.join(other)}); name another file"
        )
    result["settings"] = settings
    return result


def _row(result: dict[str, Any], wanted: Configuration) -> dict[str, Any]:
    key = {
        "size": list(wanted.size),
        "precision": wanted.precision,
        "backend": wanted.backend,
    }
    for row in result["rows"]:
        if all(row[name] == value for name, value in key.items()):
            found: dict[str, Any] = row
            found["error"] = None  # what failed before is tried again
            return found
    fresh = {**key, "model": None, "deploy": None, "error": None, "accuracy": None, "runs": []}
    result["rows"].append(fresh)
    return fresh


def _prepare(
    artefacts: Artefacts,
    configurations: Sequence[Configuration],
    rows: Sequence[dict[str, Any]],
    source: str,
    provider: str,
    report: Callable[[str], None],
) -> None:
    """Make all models first: what makes them heats the machine and fills its memory."""
    for wanted, row in zip(configurations, rows, strict=True):
        report(f"preparing {wanted}")
        with _noting(row):
            row["model"] = artefacts.prepare(wanted).name
            row["deploy"] = artefacts.deploy_command(wanted, source, provider)


@contextmanager
def _noting(row: dict[str, Any]) -> Iterator[None]:
    """Note an error of ours in a row, and go on."""
    try:
        yield
    except JdetrtError as err:
        row["error"] = f"{type(err).__name__}: {err}"


def _order(
    configurations: Sequence[Configuration],
    rows: Sequence[dict[str, Any]],
    repeats: int,
    seed: int,
) -> Iterator[tuple[Configuration, dict[str, Any], int]]:
    """The runs that are missing, in blocks of random order."""
    for number in range(repeats):
        block = list(zip(configurations, rows, strict=True))
        random.Random(f"{seed} {number}").shuffle(block)
        for wanted, row in block:
            if row["error"] is None and len(row["runs"]) <= number:
                yield wanted, row, number


def _save(output: str | Path, result: dict[str, Any], accuracy: str) -> None:
    mark_pareto(result["rows"], accuracy)
    write_text(output, json.dumps(result, indent=2) + "\n")
