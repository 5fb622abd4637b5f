"""``jdetrt evaluate``: how well a model detects, tells apart and tracks people."""

from __future__ import annotations

import glob
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any, TypeVar

import click

from jdetrt.cli.export import parse_size
from jdetrt.cli.models import missing
from jdetrt.cli.paths import model_files, refuse_collisions
from jdetrt.config import PRESETS
from jdetrt.shipped import resolve_checkpoint

if TYPE_CHECKING:
    from jdetrt.training.data.sample import Sample
    from jdetrt.types import Session

_FILE = click.Path(path_type=Path)
_PRESETS = click.Choice(PRESETS)
_F = TypeVar("_F", bound=Callable[..., Any])

Size = tuple[int, int]


@click.group()
def command() -> None:
    """Measure how good a model is on labelled data.

    MODEL is a checkpoint (.safetensors, .pt, .weights), which torch runs, or a model that `jdetrt
    track` takes; of what ships, nano is the checkpoint and nano:WxH a model of that size (files of
    these names are ./nano and so on). PATH is a list of pictures, a folder with images/ and
    labels_with_ids/, a MOT sequence, or a folder of these.
    """


def _options(function: _F) -> _F:
    """What every kind of evaluation takes."""
    for option in (
        click.option("--json", "json_path", type=_FILE, help="Write the numbers here."),
        click.option(
            "--threads", type=click.IntRange(1, 1024), help="CPU threads; default: one a core."
        ),
        click.option(
            "--provider",
            type=click.Choice(["auto", "cpu", "cuda", "tensorrt"]),
            default="auto",
            show_default=True,
            help="What computes.",
        ),
        click.option(
            "--size",
            type=parse_size,
            metavar="WxH",
            help="Network width and height; default: what MODEL records.",
        ),
    ):
        function = option(function)
    return function


def _data_options(function: _F) -> _F:
    """What reading data sets takes."""
    for option in (
        click.option("--root", type=_FILE, help="Folder that lists of pictures are relative to."),
        click.option("--batch", type=click.IntRange(1), default=1, help="Pictures at a time."),
        click.option(
            "--min-visibility",
            type=click.FloatRange(0.0, 1.0),
            default=0.0,
            help="Of MOT sequences: people who can be seen less than this do not count.",
        ),
    ):
        function = option(function)
    return function


@command.command()
@click.argument("model", type=resolve_checkpoint)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@_data_options
@click.option(
    "--score-threshold",
    type=click.FloatRange(0.0, 1.0),
    default=0.5,
    show_default=True,
    help="For precision and recall.",
)
@_options
def detection(
    model: Path,
    paths: tuple[str, ...],
    root: Path | None,
    batch: int,
    min_visibility: float,
    score_threshold: float,
    size: Size | None,
    provider: str,
    threads: int | None,
    json_path: Path | None,
) -> None:
    """Measure average precision at an IoU of 0.5, precision and recall.

    AP is COCO's, over all pictures; ref. AP is what the reference implementation prints, a mean
    over pictures. Nothing counts in regions that the data set says to ignore.
    """
    _refuse(model, paths, json_path)
    with _opened(model, size, provider, threads) as session:
        from jdetrt.evaluation.detection import evaluate_detection

        scores = evaluate_detection(
            session,
            _samples(paths, root, min_visibility),
            size=size,
            batch=batch,
            score_threshold=score_threshold,
        ).to_dict()
    _print(
        ("AP50", scores["ap50"]),
        ("Ref. AP", scores["reference_ap"]),
        (f"Precision at {score_threshold:g}", scores["precision"]),
        ("Recall", scores["recall"]),
        ("Pictures", scores["pictures"]),
        ("People", scores["people"]),
    )
    _write(scores, json_path)


@command.command()
@click.argument("model", type=resolve_checkpoint)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@_data_options
@click.option(
    "--rule",
    type=click.Choice(["cells", "candidates"]),
    help="Whose embedding a person gets: of the cell in the middle (default, checkpoints only), or "
    "of the best candidate.",
)
@_options
def embedding(
    model: Path,
    paths: tuple[str, ...],
    root: Path | None,
    batch: int,
    min_visibility: float,
    rule: str | None,
    size: Size | None,
    provider: str,
    threads: int | None,
    json_path: Path | None,
) -> None:
    """Measure how well people are told apart: the true positive rate at false accept rates.

    Every identified person of the ground truth is compared with every other. Coverage is the share
    of them for whom the model had an embedding.
    """
    _refuse(model, paths, json_path)
    with _opened(model, size, provider, threads) as session:
        from jdetrt.evaluation.embedding import evaluate_embedding

        scores = evaluate_embedding(
            session,
            _samples(paths, root, min_visibility),
            size=size,
            batch=batch,
            rule=rule,
        ).to_dict()
    _print(
        *((f"TPR@{far}", rate) for far, rate in scores["tpr_at_far"].items()),
        ("Rule", scores["rule"]),
        ("Coverage", scores["coverage"]),
        ("Boxes", scores["boxes"]),
        ("Identities", scores["identities"]),
    )
    _write(scores, json_path)


@command.command()
@click.argument("model", type=resolve_checkpoint)
@click.argument("sequences", metavar="SEQUENCE...", nargs=-1, required=True)
@click.option("--preset", type=_PRESETS, help="How to associate; by default as in jdetrt track.")
@click.option("--config", type=_FILE, help="Settings of the preset (TOML).")
@click.option(
    "--rules",
    type=click.Choice(["auto", "MOT15", "MOT16", "MOT17", "MOT20"]),
    default="auto",
    show_default=True,
    help="Which ground-truth classes are ignored, as in jdetrt score.",
)
@click.option("--results", type=_FILE, metavar="DIR", help="Keep the tracks here.")
@_options
def tracking(
    model: Path,
    sequences: tuple[str, ...],
    preset: str | None,
    config: Path | None,
    rules: str,
    results: Path | None,
    size: Size | None,
    provider: str,
    threads: int | None,
    json_path: Path | None,
) -> None:
    """Track people through MOT sequences and score the tracks with TrackEval.

    HOTA, MOTA and IDF1 are in percent. The last row is over all boxes, not a mean of the rows.
    """
    from jdetrt.cli.run_output import ProgressBar

    _refuse(model, sequences, json_path, {"--config": config}, {"--results": results})
    with _opened(model, size, provider, threads) as session:
        from rich.console import Console

        from jdetrt.cli.score import scores_table
        from jdetrt.cli.settings import tracker_settings
        from jdetrt.evaluation.tracking import evaluate_tracking
        from jdetrt.runtime.settings import tracker_config

        settings = tracker_settings(config, preset, lambda: tracker_config(session, preset), {})
        with ProgressBar("Tracking", None, quiet=False) as bar:
            scores = evaluate_tracking(
                session,
                sequences,
                tracker=settings,
                size=size,
                rules=rules,
                results_dir=results,
                on_frame=bar.advance,
            )
    Console().print(scores_table(scores))
    _write(scores.to_dict(), json_path)


@command.command()
@click.argument("model", type=resolve_checkpoint)
@click.argument("sequence")
@click.option("--preset", type=_PRESETS, help="How to associate; by default as in jdetrt track.")
@click.option(
    "--shakes",
    type=click.IntRange(2),
    metavar="N",
    help="Also track N times with boxes shaken a little, which shows how much is chance.",
)
@_options
def summary(
    model: Path,
    sequence: str,
    preset: str | None,
    shakes: int | None,
    size: Size | None,
    provider: str,
    threads: int | None,
    json_path: Path | None,
) -> None:
    """Measure everything in one pass over a MOT sequence."""
    _refuse(model, [sequence], json_path)
    with _opened(model, size, provider, threads) as session:
        from jdetrt.evaluation.summary import quick_score
        from jdetrt.runtime.settings import tracker_config

        tracker = tracker_config(session, preset)
        found = quick_score(session, sequence, size=size, tracker=tracker, shakes=shakes or 0)
    scores = found.to_dict()
    titles = {"ap50": "AP50", "tpr": "TPR@0.1", "coverage": "Coverage"}
    rows: list[tuple[str, float | int | str]] = [
        (titles.get(name, name.upper()), value)
        for name, value in scores.items()
        if name != "shaken"
    ]
    for name, values in (found.shaken or {}).items():
        rows.append((f"{name.upper()}, shaken", f"{mean(values):.2f} ± {stdev(values):.2f}"))
    _print(*rows)
    _write(scores, json_path)


@contextmanager
def _opened(
    model: Path, size: Size | None, provider: str, threads: int | None
) -> Iterator[Session]:
    try:
        from jdetrt.api import load

        with load(model, size=size, provider=provider, threads=threads) as detector:
            yield detector.session
    except ModuleNotFoundError as err:
        raise missing(err, "Evaluating a checkpoint, or on labelled pictures,") from err


def _samples(paths: Iterable[str], root: Path | None, min_visibility: float) -> Iterator[Sample]:
    """The pictures of all data sets, with a progress bar on a terminal."""
    from rich.console import Console
    from rich.progress import track

    from jdetrt.training.data.datasets import Mixture, open_data_set

    data = Mixture([open_data_set(path, root, min_visibility=min_visibility) for path in paths])
    console = Console(stderr=True)
    quiet = not console.is_terminal
    for index in track(range(len(data)), "Evaluating", console=console, disable=quiet):
        yield data[index]


def _refuse(
    model: Path,
    paths: Iterable[str],
    json_path: Path | None,
    inputs: dict[str, Path | None] | None = None,
    outputs: dict[str, Path | None] | None = None,
) -> None:
    read = {name: [path] for name, path in (inputs or {}).items() if path is not None}
    refuse_collisions(
        {
            "MODEL": model_files(model),
            "PATH": itertools.chain.from_iterable(map(_data_files, paths)),
            **read,
        },
        {"--json": json_path, **(outputs or {})},
    )


def _data_files(path: str) -> Iterator[Path]:
    """What a data set is made of, as far as it is inside of ``path``."""
    for found in (Path(path), *map(Path, glob.iglob(path))):
        yield found
        # A JSON is none of it: an earlier one of ours may be replaced.
        yield from (inner for inner in found.rglob("*") if inner.suffix.lower() != ".json")


def _print(*rows: tuple[str, float | int | str]) -> None:
    width = max(len(title) for title, _ in rows) + 2
    for title, value in rows:
        shown = f"{value:.4f}" if isinstance(value, float) else str(value)
        click.echo(f"{title:<{width}}{shown:>10}")


def _write(numbers: dict[str, Any], path: Path | None) -> None:
    from jdetrt.files import write_text

    if path is not None:
        write_text(path, json.dumps(numbers, indent=2) + "\n")
        click.echo(f"Written: {path}")
