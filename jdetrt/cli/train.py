"""``jdetrt train``: a recipe and data to a checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jdetrt.cli import options as opt
from jdetrt.cli.progress import ProgressBars
from jdetrt.errors import requiring

if TYPE_CHECKING:
    from rich.table import Table

    from jdetrt.config import LabelConfig
    from jdetrt.size import Size
    from jdetrt.training.progress import Report


@click.command(cls=opt.Command, renamed={"--cache": "--cache-images"})
@click.argument(
    "recipe",
    required=False,
    shell_complete=opt.complete_file,
    help="A TOML file, or a built-in recipe: paper, nano, nano-research, nanodet-detection, "
    "nanodet-embedding, nano-efficientnet, nano-efficientnet-embedding or "
    "nano-efficientnet-large. Without one, --data trains the "
    "built-in nano further, and --resume uses the run's own.",
)
@opt.output("Folder of the run.", metavar="DIR")
@opt.DATA
@opt.LABEL
@opt.file(
    "--data-root",
    "Base folder of the paths in the recipe. Default: the current folder.",
    default=Path(),
    metavar="DIR",
    show_default=False,
)
@opt.source(
    "--start", "Weights to start from, instead of those that the recipe names.", metavar="FILE"
)
@opt.epochs("Number of epochs, instead of the recipe's.")
@opt.batch("Images per step, over all devices, instead of the recipe's.", default=None)
@opt.option(
    "--size",
    "Network input size, multiples of 32, instead of the recipe's.",
    type=opt.parse_size,
    metavar="WxH",
)
@opt.option(
    "--learning-rate",
    "Learning rate, instead of the recipe's.",
    type=click.FloatRange(0.0, min_open=True),
    metavar="RATE",
)
@opt.file(
    "--validate",
    "MOT sequence to score the network on after each epoch; best.safetensors is then the "
    "checkpoint with the highest AP.",
    metavar="SEQUENCE",
)
@opt.flag("--resume", "Resume the run in --output.")
@opt.option(
    "--device", "Device to train on: cpu, cuda, cuda:1 or auto.", default="auto", metavar="DEVICE"
)
@opt.number("--workers", "Number of processes that prepare images.", least=0, most=256, default=2)
@opt.flag("--cache-images", "Keep all images in memory.")
def command(
    recipe: str | None,
    output: Path,
    data: tuple[str, ...],
    label: LabelConfig | None,
    data_root: Path,
    start: str | None,
    epochs: int | None,
    batch: int | None,
    size: Size | None,
    learning_rate: float | None,
    validate: Path | None,
    resume: bool,
    device: str,
    workers: int,
    cache_images: bool,
) -> None:
    """Train a network.

    On images of your own: jdetrt train --data FOLDER -o run

    For several GPUs: torchrun --nproc-per-node 4 -m jdetrt train RECIPE ...
    """
    if recipe is None and not (resume or data):
        raise click.UsageError("Give a RECIPE, --data or --resume.")
    with requiring("train", "Training a network"):
        from jdetrt.functions.training import train
        from jdetrt.training.distributed import is_first

    first = is_first()
    with ProgressBars(quiet=not first) as bars:
        trained = train(
            recipe,
            output,
            data_root=data_root,
            start=start,
            epochs=epochs,
            batch=batch,
            size=size,
            learning_rate=learning_rate,
            data=data,
            label=label,
            validate=validate,
            resume=resume,
            device=device,
            workers=workers,
            cache=cache_images,
            report=_reporter(bars),
            announce=click.echo,
            progress=bars,
        )
    if first:
        ap = "" if trained.score is None else f", AP {trained.score:.1f} %"
        click.echo(f"{trained.best}: best of {trained.epochs} epochs{ap}; last: {trained.last}")


def _reporter(bars: ProgressBars) -> Callable[[Report], None]:
    """Show a table of the run above the bars; print plain lines where there is no terminal."""
    begun = time.monotonic()
    scores: dict[str, float] = {}

    def report(progress: Report) -> None:
        scores.update(progress.scores)
        if not bars.shown:
            click.echo(_line(progress))
        elif progress.losses:
            bars.show_above(_table(progress, scores, time.monotonic() - begun))

    return report


def _line(progress: Report) -> str:
    if progress.scores:
        found = ", ".join(f"{name} {value:.4g}" for name, value in progress.scores.items())
        return f"after epoch {progress.epoch}: {found}"
    tasks = ", ".join(f"{name} {value:.4g}" for name, value in _by_task(progress.losses).items())
    return (
        f"epoch {progress.epoch}/{progress.epochs} step {progress.step}/{progress.steps}"
        f": {tasks}; rate {progress.rate:.2e}, {progress.speed:.1f} images/s"
    )


def _table(progress: Report, scores: Mapping[str, float], seconds: float) -> Table:
    from rich.table import Table

    table = Table(show_header=False)
    rows = {
        "epoch": f"{progress.epoch} of {progress.epochs}",
        "step": f"{progress.step} of {progress.steps}",
        "learning rate": f"{progress.rate:.3g}",
        "images/s": f"{progress.speed:.1f}",
        "minutes": f"{seconds / 60:.1f}",
        **{name: f"{value:.4f}" for name, value in _by_task(progress.losses).items()},
        **{name: f"{value:.4g}" for name, value in scores.items()},
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _by_task(losses: Mapping[str, float]) -> dict[str, float]:
    """Means over the heads."""
    tasks: dict[str, list[float]] = {}
    for name, value in losses.items():
        tasks.setdefault(name.split("/")[0], []).append(value)
    return {task: sum(values) / len(values) for task, values in tasks.items()}
