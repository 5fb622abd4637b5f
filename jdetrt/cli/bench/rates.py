"""``jdetrt bench rates`` and ``camera-motion``: frames that are missing, cameras that move."""

from __future__ import annotations

from pathlib import Path

import click

from jdetrt.cli import options as opt
from jdetrt.cli.paths import refuse_collisions, sequence_files
from jdetrt.cli.progress import ProgressBars, phase
from jdetrt.cli.results import print_table, write_json
from jdetrt.shipped import resolve

__all__ = ["camera_motion", "rates"]


@click.command(cls=opt.Command)
@click.argument(
    "root",
    type=opt.FILE,
    help="Folder of sequences: <sequence>/det/det.txt, gt/gt.txt and seqinfo.ini. With --model: "
    "one sequence with images.",
)
@opt.SEQUENCES
@opt.option(
    "--model",
    "Track the detections of this model, with its own tracker settings.",
    type=resolve,
    metavar="MODEL",
    shell_complete=opt.complete_model,
)
@opt.option(
    "--rates",
    "Frame rates to thin 30 FPS sequences to; others are thinned in proportion.",
    default="30,15,10,7.5,5",
    metavar="FPS,...",
)
@opt.seed("the random drops")
@opt.JSON
def rates(
    root: Path,
    sequences: list[str] | None,
    model: Path | None,
    rates: str,
    seed: int,
    json_path: Path | None,
) -> None:
    """Compare tracking with the package 'trackers' at lower rates and with dropped frames.

    Sequences are thinned evenly and at random; the trackers get the timestamps of random drops. One
    walker and a crowd of 14 with dropped frames are measured too.
    """
    from jdetrt.benchmarks.rates import from_files, from_model, measure_rates

    refuse_collisions({"ROOT": sequence_files(root)}, {"--json": json_path})
    with ProgressBars(calm=True) as bars, phase(bars, "Measuring"):
        if model is None:
            given, settings = from_files(root, sequences), None
        else:
            given, settings = from_model(model, root)
        result = measure_rates(given, rates=_rates(rates), settings=settings, seed=seed)
    print_table(
        result.rows,
        rate=("FPS", "g"),
        drops=("Drops", ""),
        tracker=("Tracker", ""),
        HOTA=("HOTA", ".1f"),
        MOTA=("MOTA", ".1f"),
        IDF1=("IDF1", ".1f"),
        IDSW=("IDSW", ""),
    )
    print_table(
        result.drops,
        scene=("Scene", ""),
        drops=("Drops", ""),
        tracker=("Tracker", ""),
        people=("People", ""),
        ids=("Ids", ""),
        switches=("Switches", ""),
    )
    write_json(result, json_path)


def _rates(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise click.BadParameter(f"expected numbers such as 30,15,7.5, got {text}") from None


@click.command(cls=opt.Command, name="camera-motion")
@click.argument("sequence", type=opt.FILE, help="MOT sequence with images and ground truth.")
@opt.MODEL
@opt.max_frames("Number of frames to use. Default: all.")
@opt.seed("the camera's shake")
@opt.JSON
def camera_motion(
    sequence: Path, model: Path, max_frames: int | None, seed: int, json_path: Path | None
) -> None:
    """Compare tracking with and without camera-motion compensation.

    A virtual camera pans, zooms and shakes within the frames of SEQUENCE. Ground truth and MODEL's
    detections move exactly with it; the compensation sees only its images.
    """
    from jdetrt.benchmarks.camera_motion import measure_camera_motion
    from jdetrt.benchmarks.rates import from_model

    refuse_collisions({"SEQUENCE": sequence_files(sequence)}, {"--json": json_path})
    with ProgressBars(calm=True) as bars, phase(bars, "Measuring"):
        given, settings = from_model(model, sequence)
        (one,) = given.values()
        result = measure_camera_motion(one, settings, max_frames=max_frames, seed=seed)
    print_table(
        result.rows,
        path=("Camera", ""),
        camera_motion=("Compensation", ""),
        HOTA=("HOTA", ".1f"),
        MOTA=("MOTA", ".1f"),
        IDF1=("IDF1", ".1f"),
        IDSW=("IDSW", ""),
        moves_px=("Moves px", ".1f"),
        off_px=("Off px", ".2f"),
        ms=("ms", ".2f"),
    )
    write_json(result, json_path)
