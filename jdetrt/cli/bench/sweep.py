"""``jdetrt bench sweep``: sizes, precisions and backends, and a recommendation."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jdetrt.cli import options as opt
from jdetrt.cli.paths import refuse_collisions, source_files
from jdetrt.cli.progress import ProgressBars
from jdetrt.cli.results import print_table
from jdetrt.config import TOP_K_LIMIT, ExportConfig
from jdetrt.errors import ConfigError, requiring
from jdetrt.shipped import resolve_checkpoint
from jdetrt.types import Size

if TYPE_CHECKING:
    from jdetrt.benchmarks.decide import Decision

__all__ = ["sweep"]

# Of the report's columns those that fit a terminal.
_SHOWN = ("Configuration", "System FPS", "Engine FPS", "HOTA", "MOTA", "AP50", "Watts", "Pareto")


@click.command(
    cls=opt.Command,
    renamed={
        "--frames": "--max-frames",
        "--calibration": "--calibration-source",
    },
)
@click.option(
    "--model",
    "models",
    type=resolve_checkpoint,
    metavar="FILE",
    multiple=True,
    required=True,
    shell_complete=opt.complete_model,
    help="A checkpoint (missing models and plans are built from it) or ONNX models, one per size. "
    "The model nano is built in.",
)
@click.option(
    "--source",
    required=True,
    metavar="SOURCE",
    shell_complete=opt.complete_file,
    help="Video, folder of images or MOT sequence to track.",
)
@click.option(
    "-o",
    "--output",
    type=opt.FILE,
    required=True,
    metavar="FILE",
    help="Result file (JSON). If it exists, the sweep resumes.",
)
@click.option(
    "--keep",
    type=opt.FILE,
    metavar="DIR",
    help="Folder for exported models and plans. Default: next to the result.",
)
@click.option(
    "--sizes",
    type=opt.parse_sizes,
    default="1088x608,864x480,576x320",
    show_default=True,
    metavar="WxH,...",
    help="Network input sizes to measure.",
)
@click.option(
    "--precisions",
    type=opt.names,
    default="fp32",
    show_default=True,
    metavar="P,...",
    help="Precisions to measure, such as fp32,fp16,int8.",
)
@click.option(
    "--backends",
    type=opt.names,
    default="onnxruntime",
    show_default=True,
    metavar="B,...",
    help="Backends to measure: onnxruntime, tensorrt, tensorrt-rtx.",
)
@click.option(
    "--gt",
    metavar="SEQUENCE",
    shell_complete=opt.complete_file,
    help="MOT sequence with ground truth to measure accuracy on.",
)
@click.option(
    "--accuracy",
    type=click.Choice(["HOTA", "MOTA", "IDF1", "AP50"]),
    default="HOTA",
    show_default=True,
    help="Score for the Pareto front and the recommendation.",
)
@click.option(
    "--min-fps",
    type=click.FloatRange(0),
    metavar="FPS",
    help="Recommend a configuration with at least this system FPS.",
)
@click.option(
    "--max-watts",
    type=click.FloatRange(0),
    metavar="WATTS",
    help="Recommend a configuration that draws at most this many watts.",
)
@click.option(
    "--calibration-source",
    "calibration",
    multiple=True,
    metavar="SOURCE",
    shell_complete=opt.complete_file,
    help="Source to calibrate INT8 models on, other than that of --gt; may be repeated.",
)
@click.option(
    "--calibration-frames",
    type=click.IntRange(1),
    default=200,
    show_default=True,
    metavar="N",
    help="Number of frames to calibrate INT8 models on.",
)
@opt.max_frames("Number of timed frames per run.", default=200, least=2)
@opt.WARM_UP
@opt.REPEATS
@click.option(
    "--cool-down",
    type=click.FloatRange(0),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="Pause between runs; longer while a sensor reads above its starting temperature.",
)
@opt.VIDEO
@click.option(
    "--top-k",
    type=click.IntRange(1, TOP_K_LIMIT),
    default=ExportConfig().top_k,
    show_default=True,
    metavar="N",
    help="Number of candidates that exported models output per image.",
)
@opt.seed("the order of the runs")
@opt.PRESET
@opt.PROVIDER
@opt.CUDA_GRAPH
def sweep(
    models: tuple[Path, ...],
    source: str,
    sizes: list[Size],
    precisions: list[str],
    backends: list[str],
    gt: str | None,
    output: Path,
    keep: Path | None,
    calibration: tuple[str, ...],
    calibration_frames: int,
    max_frames: int,
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
) -> int:
    """Measure every combination of size, precision and backend: speed, accuracy and power.

    Runs are in random order, with a pause before each. The result is written after each run, and an
    interrupted sweep resumes when it is started again. With --min-fps or --max-watts the sweep
    recommends a configuration and prints the command that tracks with it; if none qualifies, the
    exit code is 3.
    """
    if gt is None and (min_fps is not None or max_watts is not None):
        raise click.UsageError("A recommendation goes by accuracy: add --gt SEQUENCE.")
    with requiring("bench", "Sweeping"):
        from jdetrt.benchmarks.decide import decide
        from jdetrt.benchmarks.model_store import Configuration, ModelStore
        from jdetrt.benchmarks.result import SweepConfig
        from jdetrt.benchmarks.sweep import sweep as run_sweep

    folder = output.with_suffix("") if keep is None else keep
    refuse_collisions(
        {
            "--model": models,
            "--source": source_files(source),
            "--gt": source_files(gt) if gt else (),
        },
        {"--output": output},
    )
    with ProgressBars(calm=True) as bars:
        store = ModelStore(
            models,
            folder,
            top_k=top_k,
            calibration=calibration,
            calibration_frames=calibration_frames,
            cuda_graph=cuda_graph,
            progress=bars,
        )
        configurations = [
            Configuration(*one)
            for one in dict.fromkeys(itertools.product(sizes, precisions, backends))
        ]
        config = SweepConfig(
            frames=max_frames,
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
        result = run_sweep(store, configurations, source, output, config, gt=gt, progress=bars)
    print_sweep(result)
    click.echo(f"Written: {output}")
    if not result.measured:
        raise ConfigError(f"{output}: no configuration could be measured; see the reasons above")
    if min_fps is None and max_watts is None:
        return 0
    decision = decide(result.measured, min_fps=min_fps, max_watts=max_watts, accuracy=accuracy)
    _recommend(decision)
    return 0 if decision.row is not None else opt.WORSE


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


def _recommend(decision: Decision) -> None:
    if decision.row is None:
        click.echo(f"No recommendation: {decision.why}.")
        return
    click.echo(f"Recommended: {decision.row}: {decision.why}.")
    if decision.row.deploy:
        click.echo(f"  {decision.row.deploy}")
