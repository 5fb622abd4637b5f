"""``jdetrt bench table1`` and ``density``: measurements of the paper, repeated."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from jdetrt.cli.bench.latency import BACKEND, PROVIDER
from jdetrt.cli.bench.table import JSON, Messages, numbers, print_table, write_result
from jdetrt.cli.models import missing
from jdetrt.cli.paths import model_files, refuse_collisions, source_files
from jdetrt.errors import ConfigError
from jdetrt.shipped import resolve

__all__ = ["density", "table1"]

_FILE = click.Path(path_type=Path)


@click.command()
@click.option("--model", type=resolve, metavar="FILE", help="Detects in --low and --high.")
@click.option("--low", metavar="SEQUENCE", help="MOT sequence with few people; default: synthetic.")
@click.option("--high", metavar="SEQUENCE", help="MOT sequence with many; default: synthetic.")
@click.option(
    "--people",
    default="8,61",
    show_default=True,
    help="People visible at a time in the low- and high-density synthetic sequences.",
)
@click.option(
    "--frames",
    type=click.IntRange(10),
    default=300,
    show_default=True,
    help="Length of each synthetic sequence, in frames.",
)
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@BACKEND
@PROVIDER
@JSON
def table1(
    model: Path | None,
    low: str | None,
    high: str | None,
    people: str,
    frames: int,
    repeats: int,
    seed: int,
    backend: str,
    provider: str,
    json_path: Path | None,
) -> None:
    """Compare JDE's association with SORT and ByteTrack on the same detections (table 1).

    Detections are those of --model on the sequences that are named; of a density that is not named
    they are synthetic, with noisy embeddings.
    """
    try:
        from jdetrt.benchmarks.paper.table1 import compare_association, detect, synthetic_densities
    except ModuleNotFoundError as err:
        raise missing(err, "Synthetic crowds", "train") from err
    from jdetrt.engine.open import open_session

    named = {"low": low, "high": high}
    if model is None and any(named.values()):
        raise ConfigError("--low and --high need a --model that detects in them")
    refuse_collisions(
        {
            "--model": model_files(model) if model else (),
            "--low": source_files(low) if low else (),
            "--high": source_files(high) if high else (),
        },
        {"--json": json_path},
    )
    densities = numbers(people)
    if len(densities) != 2:
        raise click.BadParameter(f"--people: expected two numbers, got {people!r}")
    with TemporaryDirectory(prefix="jdetrt-crowds-") as temporary:
        sequences = synthetic_densities(densities[0], densities[1], Path(temporary), frames, seed)
        for name, sequence in named.items():
            if sequence is not None and model is not None:
                click.echo(f"detecting in {sequence}", err=True)
                with open_session(model, backend=backend, provider=provider) as session:
                    sequences[name] = detect(session, sequence)
        result = compare_association(sequences, repeats=repeats, progress=Messages())
    _print_table1(result["rows"])
    write_result(result, json_path)


@click.command()
@click.option(
    "--model", type=resolve, metavar="FILE", required=True, help="An ONNX model of jdetrt export."
)
@click.option(
    "--people", default="5,10,20,40,60,80,100", show_default=True, help="People per frame."
)
@click.option("--frames", type=click.IntRange(2), default=20, show_default=True)
@click.option(
    "--reid",
    default="resnet50",
    show_default=True,
    help="Body of the re-identification network: resnet50, resnet101, darknet53, nano.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@PROVIDER
@click.option("--png", type=_FILE, metavar="FILE", help="Draw the figure.")
@JSON
def density(
    model: Path,
    people: str,
    frames: int,
    reid: str,
    seed: int,
    provider: str,
    png: Path | None,
    json_path: Path | None,
) -> None:
    """Time a frame of JDE, and of detector plus re-identification, by people per frame (figure 3).

    Both run through ONNX Runtime, in turn. The people are synthetic: the networks run for
    their time, and synthetic detections are tracked.
    """
    try:
        from jdetrt.benchmarks.paper.density import draw_density, measure_density
    except ModuleNotFoundError as err:
        raise missing(err, "Comparing networks") from err

    refuse_collisions({"--model": model_files(model)}, {"--png": png, "--json": json_path})
    result = measure_density(
        model,
        people=numbers(people),
        frames=frames,
        reid=reid,
        provider=provider,
        seed=seed,
        progress=Messages(),
    )
    print_table(
        [
            {
                "people": row["people"],
                "jde": row["jde_ms"]["p50"],
                "separate": row["separate_ms"]["p50"],
                "ratio": row["separate_ms"]["p50"] / row["jde_ms"]["p50"],
            }
            for row in result["rows"]
        ],
        people=("People", ".1f"),
        jde=("JDE, ms", ".2f"),
        separate=("Detector + re-id, ms", ".2f"),
        ratio=("Ratio", ".2f"),
    )
    slope, paper = result["slope"], result["paper"]
    if slope["jde_ms"] is not None:
        click.echo(
            f"One more person costs {slope['jde_ms']:.3f} ms and {slope['separate_ms']:.3f} ms."
        )
    click.echo(
        f"The paper, at low density on a Titan Xp: {paper['jde_fps']:.0f} FPS and about "
        f"{paper['separate_fps']:.0f} FPS, a ratio of "
        f"{paper['jde_fps'] / paper['separate_fps']:.1f}."
    )
    if png is not None:
        draw_density(result, png)
        click.echo(f"Written: {png}")
    write_result(result, json_path)


def _print_table1(rows: list[dict[str, Any]]) -> None:
    empty = dict.fromkeys(("fps", "mota", "idf1"))
    flat = [
        {**row, **{f"paper_{name}": value for name, value in (row["paper"] or empty).items()}}
        for row in rows
    ]
    print_table(
        flat,
        density=("Density", ""),
        tracker=("Tracker", ""),
        people=("People", ".1f"),
        association_fps=("FPS", ".0f"),
        fps_with_network=("with network", ".1f"),
        MOTA=("MOTA", ".1f"),
        IDF1=("IDF1", ".1f"),
        HOTA=("HOTA", ".1f"),
        paper_fps=("Paper's FPS", ".1f"),
        paper_mota=("MOTA", ".1f"),
        paper_idf1=("IDF1", ".1f"),
    )
