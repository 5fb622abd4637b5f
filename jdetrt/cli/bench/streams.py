"""``jdetrt bench streams``: several videos through one network."""

from __future__ import annotations

import itertools
from pathlib import Path

import click

from jdetrt.cli.bench.latency import BACKEND, MODEL, PROVIDER
from jdetrt.cli.bench.table import JSON, Messages, numbers, print_table, write_result
from jdetrt.cli.paths import model_files, refuse_collisions, source_files

__all__ = ["streams"]


@click.command()
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@MODEL
@click.option(
    "--streams",
    "counts",
    default="1,2,4",
    show_default=True,
    help="Numbers of simultaneous streams.",
)
@click.option(
    "--frames", type=click.IntRange(3), default=60, show_default=True, help="Frames per stream."
)
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True)
@BACKEND
@PROVIDER
@JSON
def streams(
    sources: tuple[str, ...],
    model: Path,
    counts: str,
    frames: int,
    repeats: int,
    backend: str,
    provider: str,
    json_path: Path | None,
) -> None:
    """Track several streams at once through one network, each with a tracker of its own.

    With more streams than SOURCEs, sources are used again. A model that was exported with
    --dynamic-batch takes a frame of every stream at a time; another takes one after the other.
    """
    from jdetrt.benchmarks.streams import measure_streams

    refuse_collisions(
        {
            "SOURCE": itertools.chain.from_iterable(map(source_files, sources)),
            "--model": model_files(model),
        },
        {"--json": json_path},
    )
    result = measure_streams(
        model,
        sources,
        numbers(counts),
        frames=frames,
        repeats=repeats,
        backend=backend,
        provider=provider,
        progress=Messages(),
    )
    print_table(
        result.rows,
        streams=("Streams", ""),
        batch=("Batch", ".2f"),
        fps=("FPS of all", ".2f"),
        fps_per_stream=("FPS of one", ".2f"),
    )
    if not result.batched:
        click.echo("The model takes one frame at a time; export it with --dynamic-batch.")
    write_result(result, json_path)
