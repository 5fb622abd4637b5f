"""``jdetrt bench table1``, ``density`` and ``losses``: measurements of the paper, repeated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from jdetrt.cli import options as opt
from jdetrt.cli.paths import model_files, refuse_collisions, source_files
from jdetrt.cli.progress import ProgressBars
from jdetrt.cli.results import print_table, write_json
from jdetrt.config import TrackerConfig
from jdetrt.errors import requiring
from jdetrt.files import scratch_folder
from jdetrt.shipped import resolve

__all__ = ["density", "losses", "table1"]


@click.command(cls=opt.Command, renamed={"--frames": "--max-frames"})
@opt.option(
    "--model",
    "Model that detects people in --low and --high.",
    type=resolve,
    metavar="MODEL",
    shell_complete=opt.complete_model,
)
@opt.source("--low", "MOT sequence with few people. Default: a synthetic one.", metavar="SEQUENCE")
@opt.source(
    "--high", "MOT sequence with many people. Default: a synthetic one.", metavar="SEQUENCE"
)
@opt.option(
    "--people",
    "People visible at a time in the low- and high-density synthetic sequences.",
    default="8,61",
    metavar="LOW,HIGH",
)
@opt.share(
    "--score-threshold",
    "Detections above this score go to all trackers, the others to none.",
    default=TrackerConfig().score_threshold,
    metavar="SCORE",
)
@opt.max_frames("Length of each synthetic sequence, in frames.", default=300, least=10)
@opt.REPEATS
@opt.seed("the synthetic sequences")
@opt.BACKEND
@opt.PROVIDER
@opt.JSON
def table1(
    model: Path | None,
    low: str | None,
    high: str | None,
    people: str,
    score_threshold: float,
    max_frames: int,
    repeats: int,
    seed: int,
    backend: str,
    provider: str,
    json_path: Path | None,
) -> int:
    """Compare JDE's association with SORT and ByteTrack (the paper's table 1).

    All trackers get the same detections, those above --score-threshold.

    For sequences named by --low and --high these come from --model; synthetic sequences have
    synthetic detections with noisy embeddings. In an image that cannot be read nobody is detected;
    the exit code is then 3.
    """
    with requiring("train", "Synthetic crowds"):
        from jdetrt.benchmarks.paper.table1 import compare_association, detect, synthetic_densities
    from jdetrt.engine.open import open_session

    named = {"low": low, "high": high}
    if model is None and any(named.values()):
        raise click.UsageError("--low and --high need --model.")
    refuse_collisions(
        {
            "--model": model_files(model) if model else (),
            "--low": source_files(low) if low else (),
            "--high": source_files(high) if high else (),
        },
        {"--json": json_path},
    )
    densities = opt.numbers(people)
    if len(densities) != 2:
        raise click.BadParameter(f"--people: expected two numbers, got {people!r}")
    with scratch_folder("crowds") as temporary:
        sequences = synthetic_densities(
            densities[0], densities[1], Path(temporary), max_frames, seed
        )
        for name, sequence in named.items():
            if sequence is not None and model is not None:
                click.echo(f"detecting in {sequence}", err=True)
                with open_session(model, backend=backend, provider=provider) as session:
                    sequences[name] = detect(session, sequence, score_threshold)
        with ProgressBars(calm=True) as bars:
            result = compare_association(
                sequences, score_threshold=score_threshold, repeats=repeats, progress=bars
            )
    _print_table1(result["rows"])
    write_json(result, json_path)
    read = [sequence.read for sequence in sequences.values() if sequence.read is not None]
    return opt.WORSE if any(images.is_short for images in read) else 0


@click.command(cls=opt.Command, renamed={"--frames": "--max-frames"})
@opt.MODEL
@opt.option(
    "--people",
    "People per frame: comma-separated numbers.",
    type=opt.numbers,
    default="5,10,20,40,60,80,100",
    metavar="N,...",
)
@opt.max_frames("Number of frames for each number of people.", default=20, least=2)
@opt.option(
    "--reid",
    "Body of the re-identification network: resnet50, resnet101, darknet53 or nano.",
    default="resnet50",
    metavar="BODY",
)
@opt.seed("the people")
@opt.PROVIDER
@opt.file("--png", "Draw the figure as a PNG image.")
@opt.JSON
def density(
    model: Path,
    people: list[int],
    max_frames: int,
    reid: str,
    seed: int,
    provider: str,
    png: Path | None,
    json_path: Path | None,
) -> None:
    """Compare JDE's time per frame with that of two networks (the paper's figure 3).

    The two networks are a detector and a re-identification network. All run in ONNX Runtime, in
    turn, with more and more people. The people are synthetic: the networks are only timed, and
    synthetic detections are tracked.
    """
    with requiring("export", "Comparing networks"):
        from jdetrt.benchmarks.paper.density import draw_density, measure_density

    refuse_collisions({"--model": model_files(model)}, {"--png": png, "--json": json_path})
    with ProgressBars(calm=True) as bars:
        result = measure_density(
            model,
            people=people,
            frames=max_frames,
            reid=reid,
            provider=provider,
            seed=seed,
            progress=bars,
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
            f"Each additional person costs {slope['jde_ms']:.3f} ms with JDE and "
            f"{slope['separate_ms']:.3f} ms with two networks."
        )
    click.echo(
        f"The paper reports {paper['jde_fps']:.0f} FPS and about {paper['separate_fps']:.0f} FPS "
        "(at low density on a Titan Xp), a ratio of "
        f"{paper['jde_fps'] / paper['separate_fps']:.1f}."
    )
    if png is not None:
        draw_density(result, png)
        click.echo(f"Written: {png}")
    write_json(result, json_path)


@click.command(cls=opt.Command)
@opt.epochs("Number of epochs for each network.", default=30)
@opt.seed("the clips and the training")
@opt.DATA
@opt.ROOT
@opt.file(
    "--validate",
    "MOT sequence to score the networks on. Default: a rendered clip.",
    metavar="SEQUENCE",
)
@opt.JSON
def losses(
    epochs: int,
    seed: int,
    data: tuple[str, ...],
    root: Path | None,
    validate: Path | None,
    json_path: Path | None,
) -> None:
    """Compare embedding losses by training seven small networks (the paper's table 3).

    The networks are trained on rendered clips, or on --data with --validate. The triplet losses
    need frames of videos, such as a list of images of MOT17.
    """
    if bool(data) != bool(validate):
        raise click.UsageError("Give --data and --validate together.")
    with requiring("train", "Training networks"):
        from jdetrt.benchmarks.paper.losses import COLUMNS, MGDA_NOTE, compare_losses

    refuse_collisions(
        {"--data": data, "--validate": source_files(str(validate)) if validate else ()},
        {"--json": json_path},
    )
    with ProgressBars(calm=True) as bars:
        result = compare_losses(
            epochs=epochs, seed=seed, data=data, root=root, validate=validate, progress=bars
        )
    paper = {f"paper_{name}": (f"Paper's {name}", ".1f" * (name != "IDs")) for name in COLUMNS}
    print_table(
        [
            {
                **row,
                "name": f"{row['identity']}, {row['balance']}",
                **{f"paper_{name}": row["paper"][name] for name in COLUMNS},
            }
            for row in result["rows"]
        ],
        name=("Embedding loss, balance", ""),
        AP=("AP", ".1f"),
        TPR=("TPR", ".1f"),
        MOTA=("MOTA", ".1f"),
        IDs=("IDs", ""),
        **paper,
    )
    order = ", ".join(f"{name} {value:.2f}" for name, value in result["rank_correlation"].items())
    click.echo(f"Rank correlation with the paper's columns: {order}.")
    click.echo(MGDA_NOTE)
    write_json(result, json_path)


def _print_table1(rows: list[dict[str, Any]]) -> None:
    empty = dict.fromkeys(("fps", "mota", "idf1"))
    flat = [
        {
            **row,
            "name": f"{row['density']}: {row['tracker']}",
            **{f"paper_{name}": value for name, value in (row["paper"] or empty).items()},
        }
        for row in rows
    ]
    print_table(
        flat,
        name=("Density", ""),
        people=("People", ".1f"),
        association_fps=("FPS", ".0f"),
        fps_with_network=("with network", ".1f"),
        MOTA=("MOTA", ".1f"),
        IDF1=("IDF1", ".1f"),
        HOTA=("HOTA", ".1f"),
        paper_fps=("Paper's FPS", ".1f"),
        paper_mota=("Paper's MOTA", ".1f"),
        paper_idf1=("Paper's IDF1", ".1f"),
    )
