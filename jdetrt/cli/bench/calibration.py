"""``jdetrt bench calibration-memory``: memory by the number of frames."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from jdetrt.cli.bench.table import JSON, numbers, print_table, write_result
from jdetrt.cli.models import missing
from jdetrt.cli.paths import model_files, refuse_collisions, source_files
from jdetrt.shipped import resolve

if TYPE_CHECKING:
    from jdetrt.calibration.ranges.ranges import Method

__all__ = ["calibration_memory"]


@click.command("calibration-memory")
@click.argument("sources", nargs=-1, metavar="[SOURCE]...")
@click.option(
    "--model",
    type=resolve,
    metavar="FILE",
    required=True,
    help="ONNX file, or nano or nano:WxH, which ship.",
)
@click.option(
    "--counts",
    type=numbers,
    default="1,10,50",
    show_default=True,
    metavar="N,...",
    help="Numbers of frames.",
)
@click.option(
    "--method",
    type=click.Choice(["min-max", "percentile", "entropy", "mse"]),
    default="entropy",
    show_default=True,
)
@JSON
def calibration_memory(
    sources: tuple[str, ...], model: Path, counts: list[int], method: str, json_path: Path | None
) -> None:
    """Measure INT8 ranges on more and more frames of SOURCE, and the memory that it takes.

    Without SOURCE pictures are made up.
    """
    try:
        from jdetrt.benchmarks.calibration_memory import measure_memory
    except ModuleNotFoundError as err:
        raise missing(err, "Measuring INT8 ranges", "export") from err

    refuse_collisions(
        {
            "SOURCE": [path for source in sources for path in source_files(source)],
            "--model": model_files(model),
        },
        {"--json": json_path},
    )
    result = measure_memory(model, counts, sources=sources, method=cast("Method", method))
    print_table(
        result["rows"],
        frames=("Frames", ""),
        tensors=("Tensors", ""),
        start_mib=("At start MiB", ".0f"),
        peak_mib=("Peak MiB", ".0f"),
        seconds=("Seconds", ".1f"),
    )
    if result["mib_a_frame"] is not None:
        click.echo(f"A frame more takes {result['mib_a_frame']:.2f} MiB more.")
    write_result(result, json_path)
