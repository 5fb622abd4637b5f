"""``jdetrt bench latency``: one model, in all detail."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from jdetrt.cli import options as opt
from jdetrt.cli.paths import model_files, refuse_collisions, source_files
from jdetrt.cli.progress import ProgressBars, phase
from jdetrt.cli.results import print_table, write_json

if TYPE_CHECKING:
    from jdetrt.benchmarks.result import Row, Run

__all__ = ["latency", "system"]


@click.command(cls=opt.Command, renamed={"--frames": "--max-frames"})
@opt.SOURCE
@opt.MODEL
@opt.max_frames("Number of timed frames.", default=200, least=2)
@opt.WARM_UP
@opt.REPEATS
@opt.VIDEO
@opt.PRESET
@opt.BACKEND
@opt.PROVIDER
@opt.DEVICE
@opt.CUDA_GRAPH
@opt.JSON
def latency(
    source: str,
    model: Path,
    max_frames: int,
    warm_up: int,
    repeats: int,
    video: bool,
    preset: str | None,
    backend: str,
    provider: str,
    cuda_graph: bool | None,
    json_path: Path | None,
) -> None:
    """Measure the time of each stage, FPS, and power while SOURCE is tracked.

    Stages are timed one after the other; system FPS is measured on the whole pipeline, whose
    stages overlap. The paper's FPS leaves out reading, letterboxing, drawing and writing.
    """
    from jdetrt.benchmarks.latency import measure_latency
    from jdetrt.benchmarks.result import LatencyConfig

    refuse_collisions(
        {"SOURCE": source_files(source), "--model": model_files(model)}, {"--json": json_path}
    )
    config = LatencyConfig(
        frames=max_frames,
        warm_up=warm_up,
        repeats=repeats,
        video=video,
        backend=backend,
        provider=provider,
        cuda_graph=cuda_graph,
        preset=preset,
    )
    with ProgressBars(calm=True) as bars, phase(bars, "Measuring"):
        result = measure_latency(model, source, config)
    [row] = result.rows
    _print_stages(row.runs[-1])
    print_table(
        [row],
        engine_fps=("Engine", ".2f"),
        association_fps=("Association", ".1f"),
        paper_fps=("Paper's", ".2f"),
        system_fps=("System", ".2f"),
    )
    click.echo(
        "Median FPS. Engine: the network (the paper's FPSD). Association: the tracker (FPSA). "
        "Paper's: the stages that the paper timed. System: everything from reading to writing."
    )
    _print_power(row)
    write_json(result, json_path)


def _print_power(row: Row) -> None:
    if row.watts is not None:
        click.echo(
            f"Power of {row.power_of}: {row.watts:.2f} W, {row.joules_per_frame:.3f} J per frame."
        )
        return
    why = "; ".join(f"{name}: {reason}" for name, reason in row.runs[-1].power.absent.items())
    click.echo(f"Power was not measured ({why}).")


def _print_stages(run: Run) -> None:
    names = ("mean", "std", "p50", "p90", "p95", "p99")
    stages = {**run.stages, "whole frame": run.frame_ms}
    print_table(
        [
            {"stage": stage, **{name: getattr(one, name, None) for name in names}}
            for stage, one in stages.items()
        ],
        stage=("Stage, ms", ""),
        mean=("Mean", ".3f"),
        std=("Std", ".3f"),
        p50=("p50", ".3f"),
        p90=("p90", ".3f"),
        p95=("p95", ".3f"),
        p99=("p99", ".3f"),
    )


@click.command(cls=opt.Command, renamed={"--frames": "--max-frames"})
@opt.SOURCE
@opt.MODEL
@opt.max_frames("Number of frames per measurement.", default=60, least=2)
@opt.REPEATS
@opt.VIDEO
@opt.BACKEND
@opt.PROVIDER
@opt.DEVICE
@opt.CUDA_GRAPH
@opt.JSON
def system(
    source: str,
    model: Path,
    max_frames: int,
    repeats: int,
    video: bool,
    backend: str,
    provider: str,
    cuda_graph: bool | None,
    json_path: Path | None,
) -> None:
    """Compare the speed of the network with that of the whole pipeline.

    Both are measured in turn on SOURCE, --repeats times.
    """
    from jdetrt.benchmarks.latency import measure_system
    from jdetrt.benchmarks.result import LatencyConfig

    refuse_collisions(
        {"SOURCE": source_files(source), "--model": model_files(model)}, {"--json": json_path}
    )
    config = LatencyConfig(
        frames=max_frames,
        repeats=repeats,
        video=video,
        backend=backend,
        provider=provider,
        cuda_graph=cuda_graph,
    )
    with ProgressBars(calm=True) as bars, phase(bars, "Measuring"):
        result = measure_system(model, source, config)
    print_table(
        result.rows,
        network_fps=("Network FPS", ".2f"),
        system_fps=("System FPS", ".2f"),
        share=("Share", ".3f"),
    )
    click.echo(f"The pipeline reaches {100 * result.share:.1f} % of the network's speed.")
    write_json(result, json_path)
