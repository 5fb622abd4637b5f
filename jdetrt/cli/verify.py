"""``jdetrt verify``: two models on the same frames."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jdetrt.cli import options as opt
from jdetrt.cli.paths import model_files, refuse_collisions, source_files
from jdetrt.cli.progress import ProgressBars, watched
from jdetrt.cli.results import plural, show, tell_notes, write_json
from jdetrt.errors import SessionError, requiring
from jdetrt.file_check import check
from jdetrt.file_kind import CHECKPOINTS, kind_of
from jdetrt.shipped import resolve_checkpoint
from jdetrt.size import Size

if TYPE_CHECKING:
    from rich.table import Table

    from jdetrt.evaluation.agreement import Comparison
    from jdetrt.evaluation.tolerance import Limits
    from jdetrt.runtime.sources.open import Source
    from jdetrt.types import Frame, Session


@click.command(cls=opt.Command, renamed={"--frames": "--source", "--limit": "--max-frames"})
@opt.ANY_MODEL
@opt.option(
    "--against",
    "Model to compare with, such as the ONNX model that a plan was built from.",
    type=resolve_checkpoint,
    required=True,
    metavar="MODEL",
    shell_complete=opt.complete_model,
)
@opt.source(
    "--source",
    "Video, images or MOT sequence to run both models on; may be repeated.",
    to="sources",
    multiple=True,
    required=True,
)
@opt.max_frames("Number of frames to use from each source.", default=100)
@opt.SIZE
@opt.TRAINED_SIZE
@opt.share(
    "--score-threshold",
    "Compare candidates above this score in either model; 0 compares all. Default: 0.1; for "
    "INT8 the people that the other model detects with a score above 0.5, as `jdetrt calibrate` "
    "does.",
    metavar="SCORE",
)
@opt.choice(
    "--precision",
    "Precision whose tolerances apply. Default: the lower of the two models' precisions.",
    ["fp32", "fp16", "int8"],
)
@opt.share(
    "--min-iou", "Smallest acceptable 1st-percentile overlap of paired boxes.", metavar="IOU"
)
@opt.share("--max-score", "Largest acceptable 99th-percentile difference in score.", metavar="DIFF")
@opt.share(
    "--min-cosine", "Smallest acceptable median cosine between embeddings.", metavar="COSINE"
)
@opt.share(
    "--min-cosine-p5",
    "Smallest acceptable 5th-percentile cosine between embeddings.",
    metavar="COSINE",
)
@opt.share(
    "--max-unmatched",
    "Largest acceptable share of candidates that have no match in the other model.",
    metavar="SHARE",
)
@opt.PROVIDER
@opt.DEVICE
@opt.THREADS
@opt.JSON
def command(
    model: Path,
    against: Path,
    sources: tuple[str, ...],
    max_frames: int,
    size: Size | None,
    trained_size: Size | None,
    score_threshold: float | None,
    precision: str | None,
    min_iou: float | None,
    max_score: float | None,
    min_cosine: float | None,
    min_cosine_p5: float | None,
    max_unmatched: float | None,
    provider: str,
    threads: int | None,
    json_path: Path | None,
) -> int:
    """Compare the outputs of two models on the same frames.

    Candidates are paired by the overlap of their boxes, not by rank. If a difference is outside the
    tolerance, or frames of a source cannot be read, the exit code is 3. The --min and --max options
    replace single tolerances.
    """
    with requiring("export", "Comparing models"):
        from jdetrt.api import load
        from jdetrt.evaluation.agreement import verify
        from jdetrt.evaluation.tolerance import precision_of
    from jdetrt.evaluation.tolerance import LIMITS, few
    from jdetrt.runtime.sources.open import account_of

    opened: list[Source] = []
    inputs = {
        "MODEL": model_files(model),
        "--against": model_files(against),
        "--source": itertools.chain.from_iterable(map(source_files, sources)),
    }
    refuse_collisions(inputs, {"--json": json_path})
    for path in (model, against):
        check(path, "verify", SessionError)
    with ExitStack() as stack:
        sessions: dict[Path, Session] = {}
        for path in sorted({model, against}, key=lambda path: kind_of(path) in CHECKPOINTS):
            if sessions and kind_of(path) in CHECKPOINTS:  # as the model beside it was exported
                [other] = sessions.values()
                size, trained_size = _recorded_sizes(other, size, trained_size)
            detector = load(
                path, size=size, trained_size=trained_size, provider=provider, threads=threads
            )
            sessions[path] = stack.enter_context(detector).session
        session, reference = sessions[model], sessions[against]
        notes = []
        if precision is None and not any(
            "precision" in one.metadata for one in (session, reference)
        ):
            notes.append("neither model records its precision; the fp32 tolerance applies")
        precision = precision or precision_of(session, reference)
        asked = {
            "iou": min_iou,
            "score": max_score,
            "cosine": min_cosine,
            "cosine_p5": min_cosine_p5,
            "unmatched": max_unmatched,
        }
        limits = LIMITS[precision]._replace(**{k: v for k, v in asked.items() if v is not None})
        comparison = verify(
            session,
            reference,
            stack.enter_context(_frames(sources, max_frames, opened)),
            score_threshold=score_threshold,
            edge=limits.score,
            people=precision == "int8" and score_threshold is None,
        )
    accounts = [account_of(source) for source in opened]
    notes += [note for account in accounts for note in account.notes]
    faults = comparison.faults(limits)
    warning = few(comparison.pairs, comparison.frames, comparison.population)
    warnings = [] if warning is None else [warning]
    click.echo(
        f"{model} against {against}: {plural(comparison.frames, 'frame')}, {comparison.compared}"
    )
    show(comparison_table(comparison, limits))
    result = {
        "model": model.name,
        "against": against.name,
        "precision": precision,
        **asdict(comparison),
        "limits": limits._asdict(),
        "agrees": not faults,
        "read": {
            uri: {account.many: account.to_dict()}
            for uri, account in zip(sources, accounts, strict=True)
        },
        "notes": notes,
        "warnings": warnings,
    }
    write_json(result, json_path)
    tell_notes(notes)
    for warning in warnings:
        click.echo(f"Warning: {warning}", err=True)
    for fault in faults:
        click.echo(f"Outside the {precision} tolerance: {fault}", err=True)
    if not faults:
        click.echo(f"Within the {precision} tolerance.")
    return opt.WORSE if faults or any(account.is_short for account in accounts) else 0


def _recorded_sizes(
    session: Session, size: Size | None, trained_size: Size | None
) -> tuple[Size | None, Size | None]:
    """Size and size of training; what is not given is that of an exported model."""
    from jdetrt.documents import decode_json

    height, width = session.inputs[0].shape[2:]
    if size is None and min(width, height) > 0:
        size = Size(width, height)
    recorded = session.metadata.get("anchor_size")
    if trained_size is None and recorded is not None:
        with suppress(ValueError):  # a damaged record says nothing
            trained_size = decode_json(recorded, Size)
    return size, trained_size


@contextmanager
def _frames(
    sources: tuple[str, ...], max_frames: int, opened: list[Source]
) -> Iterator[Iterator[Frame]]:
    """The first frames of each source, with a progress bar; ``opened`` gets the sources."""
    from jdetrt.runtime.sources.open import open_source

    def frames(bars: ProgressBars) -> Iterator[Frame]:
        for uri in sources:
            with open_source(uri) as source:
                opened.append(source)
                total = min(source.length or max_frames, max_frames)
                yield from watched(bars, source.uri, itertools.islice(source, max_frames), total)

    with ProgressBars() as bars:
        yield frames(bars)


def comparison_table(comparison: Comparison, limits: Limits) -> Table:
    """Differences, with their limits."""
    from rich.table import Table

    one, px, scores = comparison, comparison.boxes_px, comparison.scores
    table = Table("", "worst", "percentile", "mean or median", "limit")
    rows = [
        ("boxes, px", f"{px.max:.4g}", f"p99 {px.p99:.4g}", f"{px.mean:.4g}", ""),
        ("boxes, IoU", f"{one.iou_min:.4f}", f"p1 {one.iou_p1:.4f}", "", f"p1 >= {limits.iou:g}"),
        (
            *("scores", f"{scores.max:.4g}", f"p99 {scores.p99:.4g}", f"{scores.mean:.4g}"),
            f"p99 <= {limits.score:g}",
        ),
    ]
    if one.cosine_min is not None:
        rows.append(
            (
                *("embeddings, cosine", f"{one.cosine_min:.6f}", f"p5 {one.cosine_p5:.6f}"),
                f"{one.cosine_median:.6f}",
                f"median >= {limits.cosine:g}, p5 >= {limits.cosine_p5:g}",
            )
        )
    rows.append(("unmatched", "", "", f"{one.unmatched:.2%}", f"<= {limits.unmatched:.2%}"))
    for row in rows:
        table.add_row(*row)
    return table
