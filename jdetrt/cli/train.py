"""``jdetrt train``: from a recipe and data to a checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jdetrt.cli.models import missing

if TYPE_CHECKING:
    from rich.table import Table

    from jdetrt.training.network.model import JdeNetwork
    from jdetrt.training.progress import Report
    from jdetrt.training.recipe import Recipe

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("recipe")
@click.option("-o", "--output", type=_PATH, required=True, help="Folder of the run.")
@click.option(
    "--data-root",
    type=_PATH,
    default=Path(),
    help="Folder that the recipe's paths are relative to; default: this one.",
)
@click.option("--start", metavar="FILE", help="Weights to start from, in place of the recipe's.")
@click.option(
    "--validate",
    type=_PATH,
    metavar="SEQUENCE",
    help="MOT sequence to score the network on; best.safetensors is the one with the highest AP.",
)
@click.option("--resume", is_flag=True, help="Go on with the run in --output.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1 or auto.")
@click.option(
    "--workers",
    type=click.IntRange(0, 256),
    default=2,
    show_default=True,
    help="Processes that prepare pictures.",
)
@click.option("--cache", is_flag=True, help="Keep all pictures in memory.")
def command(
    recipe: str,
    output: Path,
    data_root: Path,
    start: str | None,
    validate: Path | None,
    resume: bool,
    device: str,
    workers: int,
    cache: bool,
) -> None:
    """Train a network.

    RECIPE is a TOML file, or 'paper' or 'nano' for those that come with jdetrt. For several GPUs:
    torchrun --nproc-per-node 4 -m jdetrt train RECIPE ...
    """
    import msgspec

    try:
        from jdetrt.training.data.training_set import open_training_set
        from jdetrt.training.distributed import processes
        from jdetrt.training.recipe import open_recipe
        from jdetrt.training.run_folder import check, prepare
        from jdetrt.training.train import train
    except ModuleNotFoundError as err:
        raise missing(err, "Training a network", "train") from err
    settings = open_recipe(recipe)
    if start is not None:
        settings = msgspec.structs.replace(settings, start=start)
    with processes(device) as process:
        check(output, resume=resume)
        score = None if validate is None else _scorer(settings, validate)
        data_set = open_training_set(settings, data_root, cache=cache)
        if process.first:
            if not resume:
                prepare(output, settings)
            click.echo(
                f"{len(data_set)} pictures an epoch, {data_set.identities} identities, "
                f"{settings.network.body} on {process.device}"
            )
        with _live(settings, shown=process.first) as report:
            trained = train(
                settings,
                data_set,
                output,
                process,
                workers=workers,
                resume=resume,
                validate=score,
                report=report,
            )
    if process.first:
        ap = "" if trained.score is None else f", AP {trained.score:.3f}"
        click.echo(f"{trained.best}: best of {trained.epochs} epochs{ap}; last: {trained.last}")


def _scorer(recipe: Recipe, sequence: Path) -> Callable[[JdeNetwork], Mapping[str, float]]:
    from jdetrt.evaluation.summary import quick_score
    from jdetrt.export.torch_session import TorchSession
    from jdetrt.runtime.sources.seqinfo import read_seqinfo
    from jdetrt.training.network.anchors import grids, network_anchors

    size = recipe.validation_size or recipe.network.size
    assert size is not None
    grids(*size)  # complain now rather than after the first epoch
    read_seqinfo(sequence)

    def score(network: JdeNetwork) -> Mapping[str, float]:
        anchors = network_anchors(recipe.network, size)
        with TorchSession(network, size, anchors, tracker=recipe.network.tracker) as session:
            return quick_score(session, sequence).to_dict()

    return score


@contextmanager
def _live(recipe: Recipe, *, shown: bool) -> Iterator[Callable[[Report], None]]:
    """A table of the run that is drawn anew; plain lines where there is no terminal."""
    if not shown:
        yield lambda _: None
        return
    from rich.console import Console
    from rich.live import Live

    console, begun = Console(), time.monotonic()
    if not console.is_terminal:
        yield lambda progress: click.echo(_line(progress, recipe))
        return
    scores: dict[str, float] = {}
    with Live(console=console, refresh_per_second=2) as live:

        def report(progress: Report) -> None:
            scores.update(progress.scores)
            if progress.losses:
                live.update(_table(progress, recipe, scores, time.monotonic() - begun))

        yield report


def _line(progress: Report, recipe: Recipe) -> str:
    if progress.scores:
        found = ", ".join(f"{name} {value:.4g}" for name, value in progress.scores.items())
        return f"after epoch {progress.epoch}: {found}"
    tasks = ", ".join(f"{name} {value:.4g}" for name, value in _by_task(progress.losses).items())
    return (
        f"epoch {progress.epoch + 1}/{recipe.schedule.epochs} step {progress.step}/{progress.steps}"
        f": {tasks}; rate {progress.rate:.2e}, {progress.speed:.1f} pictures/s"
    )


def _table(progress: Report, recipe: Recipe, scores: Mapping[str, float], seconds: float) -> Table:
    from rich.table import Table

    table = Table(show_header=False)
    rows = {
        "epoch": f"{progress.epoch + 1} of {recipe.schedule.epochs}",
        "step": f"{progress.step} of {progress.steps}",
        "learning rate": f"{progress.rate:.3g}",
        "pictures/s": f"{progress.speed:.1f}",
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
