"""``jdetrt bench association``, ``trackers``, ``peers``: trackers and detectors beside others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from jdetrt.cli import options as opt
from jdetrt.cli.paths import refuse_collisions, sequence_files, source_files
from jdetrt.cli.progress import ProgressBars, phase
from jdetrt.cli.results import print_table, write_json
from jdetrt.config import PRESETS

__all__ = ["association", "peers", "trackers"]


@click.command(cls=opt.Command, renamed={"--frames": "--max-frames"})
@opt.option(
    "--targets",
    "People per frame: comma-separated numbers.",
    default="10,20,61,120,250,500,1000",
    metavar="N,...",
)
@opt.choice("--preset", "Association preset to time.", PRESETS, default="reference")
@opt.max_frames("Number of timed frames for each number of people.", default=150)
@opt.number("--dim", "Length of the embeddings.", least=2, most=8192, default=512)
@opt.seed("the crowds")
@opt.JSON
def association(
    targets: str, preset: str, max_frames: int, dim: int, seed: int, json_path: Path | None
) -> None:
    """Time association alone on synthetic crowds of growing size."""
    from jdetrt.benchmarks.association import measure_crowds

    refuse_collisions({}, {"--json": json_path})
    with ProgressBars(calm=True) as bars, phase(bars, "Measuring"):
        result = measure_crowds(
            opt.numbers(targets), preset=preset, frames=max_frames, embedding_dim=dim, seed=seed
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
    write_json(result, json_path)


@click.command(cls=opt.Command)
@click.argument(
    "root",
    type=opt.FILE,
    help="Folder of sequences: <sequence>/det/det.txt, gt/gt.txt and seqinfo.ini.",
)
@opt.SEQUENCES
@opt.REPEATS
@opt.JSON
def trackers(root: Path, sequences: list[str] | None, repeats: int, json_path: Path | None) -> None:
    """Compare the preset iou with the PyPI package 'trackers' on public detections."""
    from jdetrt.benchmarks.association import compare_trackers

    refuse_collisions({"ROOT": sequence_files(root)}, {"--json": json_path})
    with ProgressBars(calm=True) as bars, phase(bars, "Measuring"):
        result = compare_trackers(root, sequences=sequences, repeats=repeats)
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
    click.echo(f"The fastest other tracker takes {result.speedup:.1f} times as long as jdetrt iou.")
    write_json(result, json_path)


@click.command(cls=opt.Command)
@click.argument("sequence", type=opt.FILE, help="A MOT sequence with images and ground truth.")
@opt.option(
    "--model",
    "An ONNX model or a TensorRT plan of jdetrt; may be repeated. Built in: nano, nano:WxH.",
    to="models",
    multiple=True,
    default=("nano",),
    shell_complete=opt.complete_model,
    metavar="MODEL",
)
@opt.file(
    "--nanodet",
    "A published NanoDet ONNX file, whose class person is used; may be repeated.",
    multiple=True,
)
@opt.option(
    "--hog/--no-hog",
    "Also measure OpenCV's HOG detector, which is slow.",
    default=True,
)
@opt.max_frames("Number of frames to use. Default: all.", least=2)
@opt.THREADS
@opt.JSON
def peers(
    sequence: Path,
    models: tuple[str, ...],
    nanodet: tuple[Path, ...],
    hog: bool,
    max_frames: int | None,
    threads: int | None,
    json_path: Path | None,
) -> int:
    """Compare models with free detectors, tracked by the stock ByteTrack of 'trackers'.

    All run one after the other on the same cores. The public detections of SEQUENCE, if it has
    them, are measured too. In an image that cannot be read nobody is detected; the exit code is
    then 3.
    """
    from jdetrt.benchmarks.peers import measure_peers

    inputs = {"SEQUENCE": source_files(str(sequence)), "--nanodet": nanodet}
    refuse_collisions(inputs, {"--json": json_path})
    with ProgressBars(calm=True) as bars, phase(bars, "Measuring"):
        result = measure_peers(
            sequence, models, nanodet=nanodet, hog=hog, frames=max_frames, threads=threads
        )
    print_table(
        result.rows,
        detector=("Detector", ""),
        tracker=("Tracker", ""),
        ap50=("AP50", ".3f"),
        mota=("MOTA", ".1f"),
        idf1=("IDF1", ".1f"),
        hota=("HOTA", ".1f"),
        idsw=("IDSW", ""),
        fps=("FPS", ".1f"),
    )
    write_json(result, json_path)
    return opt.WORSE if result.read["images"]["left_out"] else 0


def _times(row: Any) -> dict[str, Any]:
    names = ("tracker", "median_ms", "p99_ms", "mean_ms")
    return {name: getattr(row, name) for name in names}
