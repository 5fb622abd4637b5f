"""``jdetrt evaluate``: detection, embeddings and tracking of a model on labelled data."""

from __future__ import annotations

import glob
import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any, TypeVar

import click

from jdetrt.account import Account
from jdetrt.cli import options as opt
from jdetrt.cli.paths import model_files, refuse_collisions
from jdetrt.cli.progress import OnFrame, ProgressBars, phase, watched
from jdetrt.cli.results import tell_notes, write_json
from jdetrt.cli.score import report, score_limits
from jdetrt.errors import requiring

if TYPE_CHECKING:
    from jdetrt.training.data.datasets import Mixture
    from jdetrt.training.data.sample import Sample
    from jdetrt.types import Session, Size

_F = TypeVar("_F", bound=Callable[..., Any])


@click.group(cls=opt.Group)
def command() -> None:
    """Measure the accuracy of a model on labelled data."""


def _options(function: _F) -> _F:
    """Options of every kind of evaluation."""
    for option in (opt.JSON, opt.THREADS, opt.DEVICE, opt.PROVIDER, opt.TRAINED_SIZE, opt.SIZE):
        function = option(function)
    return function


def _data_options(function: _F) -> _F:
    """Options of those that read data sets."""
    for option in (opt.ROOT, opt.batch("Images per batch."), opt.MIN_VISIBILITY):
        function = option(function)
    return function


@command.command()
@opt.ANY_MODEL
@opt.PATHS
@_data_options
@opt.share(
    "--score-threshold",
    "Score above which a detection counts for precision and recall.",
    default=0.5,
    metavar="SCORE",
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
    trained_size: Size | None,
    provider: str,
    threads: int | None,
    json_path: Path | None,
) -> int:
    """Measure average precision at an IoU of 0.5, precision and recall.

    AP50 is COCO's, over all images; "Reference AP" is the mean AP per image, as the reference
    implementation prints it. Regions that the data set marks as ignored do not count. Images that
    cannot be read are left out and counted; the exit code is then 3.
    """
    refuse(model, paths, json_path)
    with opened(model, size, trained_size, provider, threads) as session:
        from jdetrt.evaluation.detection import evaluate_detection

        samples, accounts = _samples(paths, root, min_visibility)
        scores = evaluate_detection(
            session,
            samples,
            size=size,
            batch=batch,
            score_threshold=score_threshold,
        ).to_dict()
    _print(
        ("AP50", scores["ap50"]),
        ("Reference AP", scores["reference_ap"]),
        (f"Precision at {score_threshold:g}", scores["precision"]),
        ("Recall", scores["recall"]),
        ("Images", scores["pictures"]),
        ("People", scores["people"]),
    )
    return conclude(scores, accounts, json_path)


@command.command()
@opt.ANY_MODEL
@opt.PATHS
@_data_options
@opt.choice(
    "--rule",
    "Where the embedding of a person comes from: the cell at the centre of the box, as the "
    "paper words it (checkpoints only; the reference code selects some other cells), or the best "
    "candidate. Default: cells for checkpoints, otherwise candidates.",
    ["cells", "candidates"],
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
    trained_size: Size | None,
    provider: str,
    threads: int | None,
    json_path: Path | None,
) -> int:
    """Measure how well embeddings tell people apart (TPR at FAR).

    The true positive rate at several false accept rates comes from comparing every pair of
    ground-truth boxes with an identity. Coverage is the share of these boxes for which the model
    has an embedding. Images that cannot be read are left out and counted; the exit code is then 3.
    """
    refuse(model, paths, json_path)
    with opened(model, size, trained_size, provider, threads) as session:
        from jdetrt.evaluation.embedding import evaluate_embedding

        samples, accounts = _samples(paths, root, min_visibility)
        scores = evaluate_embedding(
            session,
            samples,
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
    return conclude(scores, accounts, json_path)


@command.command()
@opt.ANY_MODEL
@click.argument(
    "sequences",
    metavar="SEQUENCE...",
    nargs=-1,
    required=True,
    shell_complete=opt.complete_file,
    help="MOT sequences with ground truth.",
)
@opt.PRESET
@opt.file("--config", "Read the tracker settings from a TOML file.")
@opt.RULES
@opt.file("--results", "Write the tracks into this folder.", metavar="DIR")
@score_limits
@_options
def tracking(
    model: Path,
    sequences: tuple[str, ...],
    preset: str | None,
    config: Path | None,
    rules: str,
    results: Path | None,
    size: Size | None,
    trained_size: Size | None,
    provider: str,
    threads: int | None,
    json_path: Path | None,
    min_hota: float | None,
    min_mota: float | None,
    min_idf1: float | None,
) -> int:
    """Track people through MOT sequences and score the tracks with TrackEval.

    HOTA, MOTA and IDF1 are in percent. The last row combines all boxes; it is not the mean of the
    other rows. If it is below a limit of --min-hota, --min-mota or --min-idf1, the exit code is 3.
    """
    refuse(model, sequences, json_path, {"--config": config}, {"--results": results})
    with opened(model, size, trained_size, provider, threads) as session:
        from jdetrt.cli.settings import tracker_settings
        from jdetrt.evaluation.tracking import evaluate_tracking
        from jdetrt.runtime.settings import assumptions, tracker_config

        settings = tracker_settings(config, preset, lambda: tracker_config(session, preset), {})
        notes = assumptions(session, tracker_given=bool(config or preset))
        tell_notes(notes)
        with ProgressBars(rate="FPS") as bars, phase(bars, "Tracking"):
            scores = evaluate_tracking(
                session,
                sequences,
                tracker=settings,
                size=size,
                rules=rules,
                results_dir=results,
                on_frame=OnFrame(bars, "Tracking"),
            )
    return report(scores, json_path, notes, HOTA=min_hota, MOTA=min_mota, IDF1=min_idf1)


@command.command(renamed={"--shakes": "--perturbed-runs"})
@opt.ANY_MODEL
@click.argument(
    "sequence", shell_complete=opt.complete_file, help="A MOT sequence with ground truth."
)
@opt.PRESET
@opt.number(
    "--perturbed-runs",
    "Also track N times with slightly perturbed boxes, to show how much of a score is chance.",
    to="perturbed_runs",
    least=2,
)
@_options
def summary(
    model: Path,
    sequence: str,
    preset: str | None,
    perturbed_runs: int | None,
    size: Size | None,
    trained_size: Size | None,
    provider: str,
    threads: int | None,
    json_path: Path | None,
) -> int:
    """Measure detection, embeddings and tracking in one pass over a MOT sequence.

    Images that cannot be read are left out and counted; the exit code is then 3.
    """
    refuse(model, [sequence], json_path)
    with opened(model, size, trained_size, provider, threads) as session:
        from jdetrt.evaluation.summary import PERTURBED_KEY, quick_score
        from jdetrt.runtime.settings import assumptions, tracker_config
        from jdetrt.runtime.sources.images import sequence_info

        tracker = tracker_config(session, preset)
        notes = assumptions(session, tracker_given=preset is not None)
        info = sequence_info(sequence)
        notes += info.notes if info else ()
        tell_notes(notes)
        images = Account("image")
        with ProgressBars() as bars, phase(bars, "Evaluating"):
            summary = quick_score(
                session,
                sequence,
                size=size,
                tracker=tracker,
                perturbed_runs=perturbed_runs or 0,
                images=images,
            )
    scores = summary.to_dict()
    assumed = {"notes": notes} if notes else {}
    titles = {"ap50": "AP50", "tpr": "TPR@0.1", "coverage": "Coverage"}
    rows: list[tuple[str, float | int | str]] = [
        (titles.get(name, name.upper()), value)
        for name, value in scores.items()
        if name != PERTURBED_KEY
    ]
    for name, values in (summary.perturbed or {}).items():
        rows.append((f"{name.upper()}, perturbed", f"{mean(values):.2f} ± {stdev(values):.2f}"))
    _print(*rows)
    return conclude(scores | assumed, [images], json_path)


@contextmanager
def opened(
    model: Path,
    size: Size | None,
    trained_size: Size | None,
    provider: str,
    threads: int | None,
) -> Iterator[Session]:
    """Open a model of any kind, for the time of a block."""
    with requiring("export", "Evaluating a checkpoint, or on labelled images,"):
        from jdetrt.api import load

        with load(
            model, size=size, trained_size=trained_size, provider=provider, threads=threads
        ) as detector:
            yield detector.session


def labelled(
    paths: Iterable[str], root: Path | None, min_visibility: float
) -> tuple[Mixture, list[Path], list[Account]]:
    """The images of all data sets, their paths, and the accounts of people and images."""
    from jdetrt.training.data.datasets import Mixture, labelled_images

    people, images = Account("person", "people"), Account("image")
    data_sets = [
        labelled_images(path, root, min_visibility=min_visibility, images=images) for path in paths
    ]
    for one in data_sets:
        people.add(one.account)
    return Mixture(data_sets), [path for one in data_sets for path in one.paths], [people, images]


def _samples(
    paths: Iterable[str], root: Path | None, min_visibility: float
) -> tuple[Iterator[Sample], list[Account]]:
    """The images of all data sets, with a progress bar; and the accounts of people and images."""
    from jdetrt.training.data.datasets import readable

    data, _, (people, images) = labelled(paths, root, min_visibility)

    def samples() -> Iterator[Sample]:
        with ProgressBars() as bars:
            every = watched(bars, "Evaluating", readable(data, images, people=people), len(data))
            yield from (sample for _, sample in every)

    return samples(), [people, images]


def conclude(scores: dict[str, Any], accounts: list[Account], json_path: Path | None) -> int:
    """Tell what was read, and write everything as JSON; return the exit code."""
    for account in accounts:
        if account.noun != "image" or account.lost:
            click.echo(f"Read: {account.summary()}")
        if account.noun != "image":  # of images the reader has told it
            tell_notes(account.notes)
        if account.lost and (warning := account.warning()) is not None:
            click.echo(f"Warning: {warning}", err=True)
    read = {account.many: account.to_dict() for account in accounts}
    write_json(scores | {"read": read}, json_path)
    return opt.WORSE if any(one.is_short for one in accounts) else 0


def refuse(
    model: Path,
    paths: Iterable[str],
    json_path: Path | None,
    inputs: dict[str, Path | None] | None = None,
    outputs: dict[str, Path | None] | None = None,
) -> None:
    """Refuse outputs that are among what is read."""
    read = {name: [path] for name, path in (inputs or {}).items() if path is not None}
    refuse_collisions(
        {
            "MODEL": model_files(model),
            "PATH": itertools.chain.from_iterable(map(data_files, paths)),
            **read,
        },
        {"--json": json_path, **(outputs or {})},
    )


def data_files(path: str) -> Iterator[Path]:
    """Files inside ``path`` that belong to a data set."""
    for folder in (Path(path), *map(Path, glob.iglob(path))):
        yield folder
        # Not JSON files: a result of an earlier run may be replaced.
        yield from (file for file in folder.rglob("*") if file.suffix.lower() != ".json")


def _print(*rows: tuple[str, float | int | str]) -> None:
    width = max(len(title) for title, _ in rows) + 2
    for title, value in rows:
        shown = f"{value:.4f}" if isinstance(value, float) else str(value)
        click.echo(f"{title:<{width}}{shown:>10}")
