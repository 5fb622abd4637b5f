"""``jdetrt demo``: the main job on a rendered clip."""

from __future__ import annotations

from pathlib import Path

import click

from jdetrt.cli import options as opt
from jdetrt.cli.progress import OnFrame, ProgressBars
from jdetrt.cli.results import plural, print_run


@click.command(cls=opt.Command, renamed={"--frames": "--max-frames"})
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo"),
    show_default=True,
    metavar="DIR",
    help="Folder for the clip and the results.",
)
@opt.max_frames("Length of the clip, in frames.", default=300)
@opt.seed("the clip and its noise")
def command(output: Path, max_frames: int, seed: int) -> None:
    """Render a clip of walking people, track them, and write a video and a MOT file."""
    from jdetrt.demo import run_demo

    click.echo(f"Rendering {plural(max_frames, 'frame')} of walking people, then tracking them ...")
    with ProgressBars(rate="FPS") as bars:
        bars.start("Tracking", max_frames)
        result = run_demo(output, frames=max_frames, seed=seed, on_frame=OnFrame(bars, "Tracking"))
    print_run(result.report, str(result.clip))
    for path in (result.video, result.mot):
        click.echo(f"Written: {path}")
    if result.model is None:
        click.echo(
            "This installation has no trained model: the detections are the clip's own\n"
            "ground truth with noise, misses and false alarms, and 'network' is only the time\n"
            "to look them up. Everything else is the real pipeline."
        )
    else:
        click.echo(f"The network was the built-in model: {result.model}")
    click.echo(f"Next (with the extra bench): jdetrt score {output} {result.mot.parent}")
