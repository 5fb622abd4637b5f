"""``jdetrt bench streams``: several videos through one network."""

from __future__ import annotations

import itertools
from pathlib import Path

import click

from jdetrt.cli import options as opt
from jdetrt.cli.paths import model_files, refuse_collisions, source_files
from jdetrt.cli.progress import ProgressBars
from jdetrt.cli.results import print_table, write_json

__all__ = ["streams"]


@click.command(cls=opt.Command, renamed={"--frames": "--max-frames"})
@click.argument(
    "sources",
    metavar="SOURCE...",
    nargs=-1,
    required=True,
    shell_complete=opt.complete_file,
    help="Videos, folders of images or MOT sequences; reused if there are more streams.",
)
@opt.MODEL
@opt.option(
    "--streams",
    "Numbers of simultaneous streams to measure.",
    to="counts",
    type=opt.numbers,
    default="1,2,4",
    metavar="N,...",
)
@opt.max_frames("Number of frames per stream.", default=60, least=3)
@opt.REPEATS
@opt.BACKEND
@opt.PROVIDER
@opt.DEVICE
@opt.JSON
def streams(
    sources: tuple[str, ...],
    model: Path,
    counts: list[int],
    max_frames: int,
    repeats: int,
    backend: str,
    provider: str,
    json_path: Path | None,
) -> None:
    """Track several streams at once through one network, each with its own tracker.

    A model exported with --dynamic-batch processes one frame of every stream as a batch; any other
    model processes the frames one after the other.
    """
    from jdetrt.benchmarks.streams import measure_streams

    refuse_collisions(
        {
            "SOURCE": itertools.chain.from_iterable(map(source_files, sources)),
            "--model": model_files(model),
        },
        {"--json": json_path},
    )
    with ProgressBars(calm=True) as bars:
        result = measure_streams(
            model,
            sources,
            counts,
            frames=max_frames,
            repeats=repeats,
            backend=backend,
            provider=provider,
            progress=bars,
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
    write_json(result, json_path)
