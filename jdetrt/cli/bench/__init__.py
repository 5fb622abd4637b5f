"""``jdetrt bench``: speed, power and accuracy, measured and written down as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from jdetrt.cli.bench.latency import BACKEND, CUDA_GRAPH, MODEL, PROVIDER, latency
from jdetrt.cli.bench.paper import density, table1
from jdetrt.cli.bench.report import compare, report
from jdetrt.cli.bench.streams import streams
from jdetrt.cli.bench.sweep import sweep
from jdetrt.cli.bench.table import JSON, Messages, numbers, print_table, write_result
from jdetrt.cli.models import missing
from jdetrt.cli.paths import model_files, refuse_collisions, sequence_files, source_files
from jdetrt.config import PRESETS


@click.group()
def command() -> None:
    """Measure speed on this machine; the JSON names the machine and the versions."""


@command.command()
@click.option(
    "--targets",
    default="10,20,61,120,250,500,1000",
    show_default=True,
    help="People per frame: comma-separated numbers.",
)
@click.option(
    "--preset",
    type=click.Choice(PRESETS),
    default="reference",
    show_default=True,
)
@click.option(
    "--frames",
    type=click.IntRange(1),
    default=150,
    show_default=True,
    help="Timed frames of each number.",
)
@click.option(
    "--dim",
    type=click.IntRange(2, 8192),
    default=512,
    show_default=True,
    help="Length of the embeddings.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@JSON
def association(
    targets: str, preset: str, frames: int, dim: int, seed: int, json_path: Path | None
) -> None:
    """Time association alone on synthetic crowds: milliseconds per frame against people."""
    from jdetrt.benchmarks.association import measure_crowds

    refuse_collisions({}, {"--json": json_path})
    result = measure_crowds(
        numbers(targets), preset=preset, frames=frames, embedding_dim=dim, seed=seed
    )
    print_table(
        result.rows,
        targets=("Targets", ""),
        median_ms=("Median ms", ".3f"),
        p90_ms=("p90 ms", ".3f"),
        p99_ms=("p99 ms", ".3f"),
        mean_ms=("Mean ms", ".3f"),
    )
    if result.growth is not None:
        click.echo(f"Cost grows with the number of targets to the power {result.growth:.2f}.")
    write_result(result, json_path)


@command.command()
@click.argument("root", type=click.Path(path_type=Path))
@click.option("--sequences", help="Sequences to use: comma-separated names (default: all).")
@click.option(
    "--repeats", type=click.IntRange(1), default=3, show_default=True, help="Timed passes."
)
@JSON
def trackers(root: Path, sequences: str | None, repeats: int, json_path: Path | None) -> None:
    """Compare motion-only tracking with the PyPI package 'trackers' on public detections.

    ROOT has <sequence>/det/det.txt, gt/gt.txt and seqinfo.ini.
    """
    from jdetrt.benchmarks.association import compare_trackers

    refuse_collisions({"ROOT": sequence_files(root)}, {"--json": json_path})
    names = None if sequences is None else [n.strip() for n in sequences.split(",") if n.strip()]
    result = compare_trackers(root, sequences=names, repeats=repeats)
    print_table(
        [{**row.combined, **_times(row)} for row in result.rows],
        tracker=("Tracker", ""),
        HOTA=("HOTA", ".1f"),
        MOTA=("MOTA", ".1f"),
        IDF1=("IDF1", ".1f"),
        IDSW=("IDSW", ""),
        median_ms=("p50 ms", ".3f"),
        p99_ms=("p99 ms", ".3f"),
        mean_ms=("Mean ms", ".3f"),
    )
    click.echo(f"The fastest other tracker takes {result.speedup:.1f} times as long as ours.")
    write_result(result, json_path)


def _times(row: Any) -> dict[str, Any]:
    names = ("tracker", "median_ms", "p99_ms", "mean_ms")
    return {name: getattr(row, name) for name in names}


@command.command()
@click.argument("source")
@MODEL
@click.option(
    "--frames",
    type=click.IntRange(2),
    default=60,
    show_default=True,
    help="Frames of each measurement.",
)
@click.option(
    "--repeats",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="Network alone, then everything.",
)
@click.option("--video", is_flag=True, help="Draw and write a video too, not only MOT text.")
@BACKEND
@PROVIDER
@CUDA_GRAPH
@JSON
def system(
    source: str,
    model: Path,
    frames: int,
    repeats: int,
    video: bool,
    backend: str,
    provider: str,
    cuda_graph: bool,
    json_path: Path | None,
) -> None:
    """Compare the speed of the network alone with that of the whole pipeline on SOURCE."""
    from jdetrt.benchmarks.latency import measure_system
    from jdetrt.benchmarks.result import LatencyConfig

    refuse_collisions(
        {"SOURCE": source_files(source), "--model": model_files(model)}, {"--json": json_path}
    )
    config = LatencyConfig(
        frames=frames,
        repeats=repeats,
        video=video,
        backend=backend,
        provider=provider,
        cuda_graph=cuda_graph,
    )
    result = measure_system(model, source, config)
    print_table(
        result.rows,
        network_fps=("Network FPS", ".2f"),
        system_fps=("System FPS", ".2f"),
        share=("Share", ".3f"),
    )
    click.echo(f"The pipeline reaches {100 * result.share:.1f} % of the network's speed.")
    write_result(result, json_path)


@command.command()
@click.option(
    "--epochs", type=click.IntRange(1), default=30, show_default=True, help="Of each network."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@JSON
def losses(epochs: int, seed: int, json_path: Path | None) -> None:
    """Train seven small networks on rendered clips: embedding losses and balances (table 3)."""
    try:
        from jdetrt.benchmarks.paper.losses import COLUMNS, compare_losses
    except ModuleNotFoundError as err:
        raise missing(err, "Training networks", "train") from err

    refuse_collisions({}, {"--json": json_path})
    result = compare_losses(epochs=epochs, seed=seed, progress=Messages())
    paper = {f"paper_{name}": (f"Paper's {name}", ".1f" * (name != "IDs")) for name in COLUMNS}
    print_table(
        [
            {**row, **{f"paper_{name}": row["paper"][name] for name in COLUMNS}}
            for row in result["rows"]
        ],
        identity=("Embedding loss", ""),
        balance=("Balance", ""),
        AP=("AP", ".1f"),
        TPR=("TPR", ".1f"),
        MOTA=("MOTA", ".1f"),
        IDs=("IDs", ""),
        **paper,
    )
    order = ", ".join(f"{name} {value:.2f}" for name, value in result["rank_correlation"].items())
    click.echo(f"Rank correlation with the paper's columns: {order}.")
    write_result(result, json_path)


for _command in (*(latency, sweep, report, compare, streams, table1, density),):
    command.add_command(_command)
