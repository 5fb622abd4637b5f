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
from jdetrt.errors import ConfigError, requiring
from jdetrt.shipped import resolve_checkpoint
from jdetrt.size import Size

if TYPE_CHECKING:
    from jdetrt.benchmarks.result import Answer, Result, Row

__all__ = ["sweep"]


@click.command(
    cls=opt.Command,
    renamed={
        "--frames": "--max-frames",
        "--calibration": "--calibration-source",
    },
)
@opt.option(
    "--model",
    "A checkpoint (missing models and plans are built from it) or ONNX models, one per size. "
    "The model nano is built in.",
    to="models",
    type=resolve_checkpoint,
    metavar="MODEL",
    multiple=True,
    required=True,
    shell_complete=opt.complete_model,
)
@opt.source("--source", "Video, folder of images or MOT sequence to track.", required=True)
@opt.output("Result file (JSON). If it exists, the sweep resumes.")
@opt.file(
    "--keep", "Folder for exported models and plans. Default: next to the result.", metavar="DIR"
)
@opt.option(
    "--sizes",
    "Network input sizes to measure.",
    type=opt.parse_sizes,
    default="1088x608,864x480,576x320",
    metavar="WxH,...",
)
@opt.TRAINED_SIZE
@opt.option(
    "--precisions",
    "Precisions to measure, such as fp32,fp16,int8. Default: fp16 and int8 for TensorRT, fp32 "
    "and int8 for ONNX Runtime; int8 only with --calibration-source.",
    type=opt.names,
    metavar="P,...",
)
@opt.option(
    "--backends",
    "Backends to measure: onnxruntime, tensorrt, tensorrt-rtx. Default: TensorRT on a machine "
    "with an NVIDIA GPU and TensorRT, otherwise ONNX Runtime.",
    type=opt.names,
    metavar="B,...",
)
@opt.source("--gt", "MOT sequence with ground truth to measure accuracy on.", metavar="SEQUENCE")
@opt.choice(
    "--accuracy",
    "Score for the Pareto front and the recommendation.",
    ["HOTA", "MOTA", "IDF1", "AP50"],
    default="HOTA",
)
@opt.number(
    "--perturbed-runs",
    "Number of times to track slightly perturbed boxes, whose mean score is the accuracy; 0 "
    "scores a single run. Default: 20, or 0 if --gt is more than one sequence.",
    least=0,
)
@opt.option(
    "--min-fps",
    "Recommend a configuration with at least this system FPS in its slowest run.",
    type=click.FloatRange(0),
    metavar="FPS",
)
@opt.option(
    "--max-watts",
    "Recommend a configuration that draws at most this many watts in every run.",
    type=click.FloatRange(0),
    metavar="WATTS",
)
@opt.source(
    "--calibration-source",
    "Source to calibrate INT8 models on, not the sequence of --gt; may be repeated.",
    to="calibration",
    multiple=True,
)
@opt.number("--calibration-frames", "Number of frames to calibrate INT8 models on.", default=200)
@opt.max_frames("Number of timed frames per run.", default=200, least=2)
@opt.WARM_UP
@opt.REPEATS
@opt.option(
    "--cool-down",
    "Pause between runs; longer while a sensor reads above its starting temperature.",
    type=click.FloatRange(0),
    default=10.0,
    metavar="SECONDS",
)
@opt.VIDEO
@opt.TOP_K
@opt.seed("the order of the runs")
@opt.PRESET
@opt.PROVIDER
@opt.DEVICE
@opt.CUDA_GRAPH
def sweep(
    models: tuple[Path, ...],
    source: str,
    sizes: list[Size],
    trained_size: Size | None,
    precisions: list[str] | None,
    backends: list[str] | None,
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
    perturbed_runs: int | None,
    min_fps: float | None,
    max_watts: float | None,
    preset: str | None,
    provider: str,
    cuda_graph: bool | None,
) -> int:
    """Measure every combination of size, precision and backend: speed, accuracy and power.

    Runs are in random order, with a pause before each. The result is written after each run, and an
    interrupted sweep resumes when it is started again. With --gt the sweep recommends a
    configuration and prints the command that tracks with it: of those whose slowest run meets
    --min-fps and --max-watts, the fastest that is as accurate as the best within noise. If none
    meets the limits, the exit code is 3.
    """
    if gt is None and (min_fps is not None or max_watts is not None):
        raise click.UsageError("A recommendation needs accuracy: add --gt SEQUENCE.")
    with requiring("bench", "Sweeping"):
        from jdetrt.benchmarks.decide import decide
        from jdetrt.benchmarks.defaults import default_backends, default_precisions
        from jdetrt.benchmarks.model_store import Configuration, ModelStore
        from jdetrt.benchmarks.result import SweepConfig, write_result
        from jdetrt.benchmarks.sweep import sweep as run_sweep

    backends = backends or default_backends()
    if precisions is None:
        precisions = default_precisions(backends, calibration=bool(calibration))
        if not calibration:
            click.echo("INT8 is not measured: it needs --calibration-source SOURCE.", err=True)
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
            trained_size=trained_size,
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
            perturbed_runs=_perturbed_runs(gt) if perturbed_runs is None else perturbed_runs,
            seed=seed,
        )
        result = run_sweep(store, configurations, source, output, config, gt=gt, progress=bars)
    _print(result, accuracy)
    click.echo(f"Written: {output}")
    if not result.measured:
        raise ConfigError(f"{output}: no configuration could be measured; see the reasons above")
    if gt is None:
        return 0
    decision = decide(result.measured, min_fps=min_fps, max_watts=max_watts, accuracy=accuracy)
    result.answer = decision.record()
    write_result(output, result)
    _recommend(result.answer)
    return 0 if decision.row is not None else opt.WORSE


def _perturbed_runs(gt: str | None) -> int:
    """20 runs over one sequence; what several add up to is scored once."""
    return 20 if gt is not None and (Path(gt) / "gt" / "gt.txt").is_file() else 0


def _print(result: Result[Any], accuracy: str) -> None:
    """The rows that ran as a table, then why the others did not."""
    from jdetrt.benchmarks.report.table import failures

    if result.measured:
        powered = any(row.watts is not None for row in result.measured)
        scores = dict.fromkeys((accuracy, "MOTA", "AP50"))
        print_table(
            [_cells(row, accuracy) for row in result.measured],
            name=("Configuration", ""),
            slowest=("Slowest", ".1f"),
            fps=("FPS", ".1f"),
            **{score: (score, "" if score == accuracy else ".1f") for score in scores},
            **({"watts": ("Watts", ".1f")} if powered else {}),
            pareto=("Pareto", ""),
        )
    for line in failures(result):
        click.echo(f"Not measured: {line}", err=True)


def _cells(row: Row, accuracy: str) -> dict[str, Any]:
    """Cells of the terminal's table: the columns that decide."""
    from jdetrt.benchmarks.report.table import score_text

    return {
        "name": str(row),
        "slowest": row.slowest,
        "fps": row.system_fps,
        **{name: row.score(name) for name in ("MOTA", "AP50")},
        accuracy: score_text(row, accuracy),
        "watts": row.watts,
        "pareto": None if row.pareto is None else "yes" if row.pareto else "no",
    }


def _recommend(answer: Answer) -> None:
    from jdetrt.benchmarks.decide import limits

    if answer.configuration is None:
        click.echo(f"No recommendation: {answer.why}. Limits: {limits(answer)}.")
        return
    click.echo(f"Recommended: {answer.configuration}: {answer.why}. Limits: {limits(answer)}.")
    if answer.deploy:
        click.echo(f"  {answer.deploy}")
