"""``jdetrt bench sweep``: sizes, precisions and backends, and a recommendation."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import click

from jdetrt.cli.bench.latency import CUDA_GRAPH, PRESET, PROVIDER
from jdetrt.cli.bench.table import Messages, print_table, sizes
from jdetrt.cli.models import missing
from jdetrt.cli.paths import refuse_collisions, source_files
from jdetrt.config import TOP_K_LIMIT, ExportConfig
from jdetrt.shipped import resolve_checkpoint
from jdetrt.types import Size

__all__ = ["sweep"]

_FILE = click.Path(path_type=Path)
# Of the report's columns those that fit a terminal.
_SHOWN = ("Configuration", "System FPS", "Engine FPS", "HOTA", "MOTA", "AP50", "Watts", "Pareto")


def _words(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


@click.command()
@click.option(
    "--model",
    "models",
    type=resolve_checkpoint,
    metavar="FILE",
    multiple=True,
    required=True,
    help="A checkpoint (missing models and plans are built from it) or ONNX models, one per size. "
    "nano is built in.",
)
@click.option("--source", required=True, help="Source to track, as in jdetrt track.")
@click.option(
    "--sizes", type=sizes, default="1088x608,864x480,576x320", show_default=True, metavar="WxH,..."
)
@click.option("--precisions", type=_words, default="fp32", show_default=True, metavar="P,...")
@click.option("--backends", type=_words, default="onnxruntime", show_default=True, metavar="B,...")
@click.option("--gt", metavar="SEQUENCE", help="MOT sequence with ground truth, for the accuracy.")
@click.option(
    "-o",
    "--output",
    type=_FILE,
    required=True,
    metavar="FILE",
    help="Result file (JSON). If it exists, the sweep resumes.",
)
@click.option(
    "--keep",
    type=_FILE,
    metavar="DIR",
    help="Folder for exported models and plans (default: next to the result).",
)
@click.option(
    "--calibration",
    multiple=True,
    metavar="SOURCE",
    help="Source that INT8 models are calibrated on; not the one that accuracy is measured on.",
)
@click.option(
    "--calibration-frames", type=click.IntRange(1), default=200, show_default=True, metavar="N"
)
@click.option("--frames", type=click.IntRange(2), default=200, show_default=True)
@click.option("--warm-up", type=click.IntRange(1), default=20, show_default=True)
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True)
@click.option(
    "--cool-down",
    type=click.FloatRange(0),
    default=10.0,
    show_default=True,
    help="Pause between runs, in seconds; longer while a sensor reads above its starting "
    "temperature.",
)
@click.option("--video", is_flag=True, help="Encode a video too, not only MOT text.")
@click.option("--top-k", type=click.IntRange(1, TOP_K_LIMIT), default=ExportConfig().top_k)
@click.option("--seed", type=click.IntRange(0), default=0, help="Seed of the run order.")
@click.option(
    "--accuracy",
    type=click.Choice(["HOTA", "MOTA", "IDF1", "AP50"]),
    default="HOTA",
    show_default=True,
    help="Score that the Pareto front and the recommendation use.",
)
@click.option(
    "--min-fps",
    type=click.FloatRange(0),
    help="Recommend a configuration with at least this system FPS.",
)
@click.option(
    "--max-watts",
    type=click.FloatRange(0),
    help="Recommend a configuration that draws at most this many watts.",
)
@PRESET
@PROVIDER
@CUDA_GRAPH
def sweep(
    models: tuple[Path, ...],
    source: str,
    sizes: list[tuple[int, int]],
    precisions: list[str],
    backends: list[str],
    gt: str | None,
    output: Path,
    keep: Path | None,
    calibration: tuple[str, ...],
    calibration_frames: int,
    frames: int,
    warm_up: int,
    repeats: int,
    cool_down: float,
    video: bool,
    top_k: int,
    seed: int,
    accuracy: str,
    min_fps: float | None,
    max_watts: float | None,
    preset: str | None,
    provider: str,
    cuda_graph: bool,
) -> None:
    """Measure every combination of size, precision and backend: speed, accuracy and power.

    Runs come in random order, with repeats and a pause before each. FILE is written after each run,
    and a sweep that was stopped resumes when it is called again. With --min-fps or --max-watts it
    recommends a configuration and gives the command that tracks with it.
    """
    try:
        from jdetrt.benchmarks.decide import decide
        from jdetrt.benchmarks.model_store import Configuration, ModelStore
        from jdetrt.benchmarks.result import SweepConfig
        from jdetrt.benchmarks.sweep import sweep as run_sweep
    except ModuleNotFoundError as err:
        raise missing(err, "Sweeping", "bench") from err

    folder = output.with_suffix("") if keep is None else keep
    refuse_collisions(
        {
            "--model": models,
            "--source": source_files(source),
            "--gt": source_files(gt) if gt else (),
        },
        {"--output": output},
    )
    store = ModelStore(
        models,
        folder,
        top_k=top_k,
        calibration=calibration,
        calibration_frames=calibration_frames,
        cuda_graph=cuda_graph,
        progress=Messages(),
    )
    configurations = [
        Configuration(Size(*size), *rest)
        for size, *rest in dict.fromkeys(itertools.product(sizes, precisions, backends))
    ]
    config = SweepConfig(
        frames=frames,
        warm_up=warm_up,
        repeats=repeats,
        cool_down=cool_down,
        video=video,
        provider=provider,
        cuda_graph=cuda_graph,
        preset=preset,
        accuracy=accuracy,
        seed=seed,
    )
    result = run_sweep(store, configurations, source, output, config, gt=gt, progress=Messages())
    print_sweep(result)
    click.echo(f"Written: {output}")
    if min_fps is not None or max_watts is not None:
        _answer(decide(result.measured, min_fps=min_fps, max_watts=max_watts, accuracy=accuracy))


def print_sweep(result: Any) -> None:
    """The rows that ran as a table, then why the others did not."""
    from jdetrt.benchmarks.report.page import COLUMNS, failures

    columns = [column for column in COLUMNS if column.title in _SHOWN]
    if result.measured:
        print_table(
            [{column.title: column.value(row) for column in columns} for row in result.measured],
            **{column.title: (column.title, column.form) for column in columns},
        )
    for line in failures(result):
        click.echo(f"Not measured: {line}", err=True)


def _answer(decision: Any) -> None:
    if decision.row is None:
        click.echo(f"Recommended: {decision.why}.")
        return
    click.echo(f"Recommended: {decision.row}: {decision.why}.")
    if decision.row.deploy:
        click.echo(f"  {decision.row.deploy}")
