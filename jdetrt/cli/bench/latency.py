"""``jdetrt bench latency``: one model, in all detail."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from jdetrt.cli.bench.table import JSON, print_table, write_result
from jdetrt.cli.paths import model_files, refuse_collisions, source_files
from jdetrt.config import PRESETS
from jdetrt.shipped import resolve

if TYPE_CHECKING:
    from jdetrt.benchmarks.result import Row, Run

__all__ = ["BACKEND", "CUDA_GRAPH", "MODEL", "PRESET", "PROVIDER", "latency"]

MODEL = click.option(
    "--model",
    type=resolve,
    metavar="FILE",
    required=True,
    help="A model that jdetrt track takes, or nano or nano:WxH, which ship.",
)
PROVIDER = click.option(
    "--provider",
    type=click.Choice(["auto", "cpu", "cuda", "tensorrt"]),
    default="auto",
    show_default=True,
    help="ONNX Runtime execution provider.",
)
BACKEND = click.option(
    "--backend",
    type=click.Choice(["auto", "onnxruntime", "tensorrt", "tensorrt-rtx"]),
    default="auto",
    show_default=True,
    help="What runs the network, as in jdetrt track.",
)
CUDA_GRAPH = click.option(
    "--cuda-graph", is_flag=True, help="Replay plans as a CUDA graph, as in jdetrt track."
)
PRESET = click.option(
    "--preset",
    type=click.Choice(PRESETS),
    help="Association preset; default as in jdetrt track.",
)


@click.command()
@click.argument("source")
@MODEL
@click.option(
    "--frames",
    type=click.IntRange(2),
    default=200,
    show_default=True,
    help="Number of timed frames.",
)
@click.option(
    "--warm-up",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    help="Frames before the timed ones.",
)
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True)
@click.option("--video", is_flag=True, help="Encode a video too, not only MOT text.")
@PRESET
@BACKEND
@PROVIDER
@CUDA_GRAPH
@JSON
def latency(
    source: str,
    model: Path,
    frames: int,
    warm_up: int,
    repeats: int,
    video: bool,
    preset: str | None,
    backend: str,
    provider: str,
    cuda_graph: bool,
    json_path: Path | None,
) -> None:
    """Time each stage of tracking SOURCE, the three FPS, and the power they take.

    Stages are timed one after the other; system FPS is that of the whole pipeline, whose stages
    overlap. The paper's FPS leaves out reading, letterboxing, drawing and writing.
    """
    from jdetrt.benchmarks.latency import measure_latency
    from jdetrt.benchmarks.result import LatencyConfig

    refuse_collisions(
        {"SOURCE": source_files(source), "--model": model_files(model)}, {"--json": json_path}
    )
    config = LatencyConfig(
        frames=frames,
        warm_up=warm_up,
        repeats=repeats,
        video=video,
        backend=backend,
        provider=provider,
        cuda_graph=cuda_graph,
        preset=preset,
    )
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
        "Median FPS of the engine (the paper's FPSD), of the association (FPSA), of the stages "
        "that the paper timed, and of everything from reading to writing."
    )
    _print_power(row)
    write_result(result, json_path)


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
