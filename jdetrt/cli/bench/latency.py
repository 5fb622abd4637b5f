"""``jdetrt bench latency`` and ``repeatability``: one model, in all detail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from jdetrt.cli.bench.table import JSON, print_table, write_result
from jdetrt.cli.paths import model_files, refuse_collisions, source_files
from jdetrt.config import PRESETS
from jdetrt.shipped import resolve

__all__ = ["BACKEND", "CUDA_GRAPH", "MODEL", "PRESET", "PROVIDER", "latency", "repeatability"]

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
    help="What computes in ONNX Runtime.",
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
    help="How to associate; by default as in jdetrt track.",
)


@click.command()
@click.argument("source")
@MODEL
@click.option(
    "--frames", type=click.IntRange(2), default=200, show_default=True, help="That count."
)
@click.option(
    "--warm-up", type=click.IntRange(1), default=20, show_default=True, help="Frames before them."
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

    Stages are timed one after the other; the system's FPS is that of the whole line with its
    overlap. The paper's FPS leaves out reading, letterboxing, drawing and writing.
    """
    from jdetrt.benchmarks.latency import measure_latency

    _refuse(source, model, json_path)
    result = measure_latency(
        model,
        source,
        frames=frames,
        warm_up=warm_up,
        repeats=repeats,
        video=video,
        backend=backend,
        provider=provider,
        cuda_graph=cuda_graph,
        preset=preset,
    )
    [row] = result["rows"]
    _print_stages(row["runs"][-1])
    print_rates([{"name": "median", **row}])
    print_power(row)
    write_result(result, json_path)


@click.command()
@click.argument("source")
@MODEL
@click.option(
    "--frames", type=click.IntRange(2), default=60, show_default=True, help="Of each run."
)
@click.option("--repeats", type=click.IntRange(2), default=5, show_default=True)
@click.option(
    "--slow-down",
    type=click.FloatRange(0, min_open=True),
    default=0.2,
    show_default=True,
    help="How much longer the network takes in the third, as a part of its time.",
)
@BACKEND
@PROVIDER
@JSON
def repeatability(
    source: str,
    model: Path,
    frames: int,
    repeats: int,
    slow_down: float,
    backend: str,
    provider: str,
    json_path: Path | None,
) -> None:
    """Measure a model, the same one again, and the same one slowed down on purpose.

    The first two should compare as no difference and the third as slower. It also says what
    measuring itself costs.
    """
    from jdetrt.benchmarks.repeatability import measure_repeatability

    _refuse(source, model, json_path)
    result = measure_repeatability(
        model,
        source,
        frames=frames,
        repeats=repeats,
        slow_down=slow_down,
        backend=backend,
        provider=provider,
        report=lambda line: click.echo(line, err=True),
    )
    print_rates(result["rows"])
    for name in ("again", "slowed"):
        for metric in ("system_fps", "engine_fps"):
            one = result[name][metric]
            click.echo(
                f"{name}, {metric}: {one['verdict']} ({100 * one['change']:+.1f} %, between "
                f"{100 * one['low']:+.1f} and {100 * one['high']:+.1f} %)"
            )
    overhead = result["overhead"]
    click.echo(
        f"Measuring costs {overhead['stage_us']:.1f} us a stage; a look at "
        f"{overhead['sensors']} sensors {overhead['sensors_ms']:.2f} ms."
    )
    write_result(result, json_path)


def print_rates(rows: list[dict[str, Any]]) -> None:
    """A row each: the rates that are always shown together."""
    print_table(
        rows,
        name=("", ""),
        engine_fps=("Engine", ".2f"),
        association_fps=("Association", ".1f"),
        paper_fps=("Paper's", ".2f"),
        system_fps=("System", ".2f"),
    )
    click.echo(
        "FPS of the engine (the paper's FPSD), of the association (FPSA), of what the paper's "
        "timer runs over, and of everything from reading to writing."
    )


def print_power(row: dict[str, Any]) -> None:
    """Power and energy, or why there are none."""
    if row["watts"] is not None:
        click.echo(
            f"Power of {row['power_of']}: {row['watts']:.2f} W, {row['joules_per_frame']:.3f} J a "
            "frame."
        )
        return
    absent = row["runs"][-1]["power"]["absent"]
    why = "; ".join(f"{name}: {reason}" for name, reason in absent.items())
    click.echo(f"Power was not measured ({why}).")


def _print_stages(run: dict[str, Any]) -> None:
    empty = dict.fromkeys(("mean", "std", "p50", "p90", "p95", "p99"))
    rows = [{"stage": name, **(one or empty)} for name, one in run["stages"].items()]
    rows.append({"stage": "whole frame", **run["frame_ms"]})
    print_table(
        rows,
        stage=("Stage, ms", ""),
        mean=("Mean", ".3f"),
        std=("Std", ".3f"),
        p50=("p50", ".3f"),
        p90=("p90", ".3f"),
        p95=("p95", ".3f"),
        p99=("p99", ".3f"),
    )


def _refuse(source: str, model: Path, json_path: Path | None) -> None:
    refuse_collisions(
        {"SOURCE": source_files(source), "--model": model_files(model)}, {"--json": json_path}
    )
