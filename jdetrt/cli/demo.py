"""``jdetrt demo``: the main job on a rendered clip."""

from __future__ import annotations

from pathlib import Path

import click

from jdetrt.cli.run_output import ProgressBar, print_summary


@click.command()
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo"),
    show_default=True,
    help="Folder for the clip and the results.",
)
@click.option("--frames", type=click.IntRange(1), default=300, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
def command(output: Path, frames: int, seed: int) -> None:
    """Render a clip of walking people, track them and write a video and a MOT file."""
    from jdetrt.demo import run_demo

    click.echo(f"Rendering {frames} frames of walking people, then tracking them ...")
    with ProgressBar("Tracking", frames, quiet=False) as bar:
        result = run_demo(output, frames=frames, seed=seed, on_frame=bar.advance)
    print_summary(result.report, str(result.clip), [result.video, result.mot])
    if result.model is None:
        click.echo(
            "There is no trained model in this repository yet: the detections are the clip's own\n"
            "ground truth with noise, misses and false alarms, and 'network' is the time to hand\n"
            "them out. Everything else is the real line."
        )
    else:
        click.echo(f"The network was the shipped model: {result.model}")
    click.echo(f"Score it: jdetrt score {output} {result.mot.parent}")
