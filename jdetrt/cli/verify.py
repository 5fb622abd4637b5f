"""``jdetrt verify``: one model against another, on frames."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jdetrt.cli.models import missing
from jdetrt.cli.paths import model_files, refuse_collisions, source_files
from jdetrt.shipped import resolve_checkpoint

if TYPE_CHECKING:
    from rich.table import Table

    from jdetrt.evaluation.agreement import Comparison, Limits
    from jdetrt.types import Frame

_FRACTION = click.FloatRange(0.0, 1.0)


@click.command()
@click.argument("model", type=resolve_checkpoint)
@click.option(
    "--against",
    type=resolve_checkpoint,
    required=True,
    metavar="MODEL",
    help="What it is compared with, the ONNX model that it was made from, say.",
)
@click.option(
    "--frames", multiple=True, required=True, metavar="SOURCE", help="Pictures, videos, sequences."
)
@click.option(
    "--limit", type=click.IntRange(1), default=100, show_default=True, help="Frames of each SOURCE."
)
@click.option(
    "--score-threshold",
    type=_FRACTION,
    default=0.1,
    show_default=True,
    help="Entries above it in either model are compared; 0 compares all.",
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16", "int8"]),
    help="Whose tolerance applies; default: the lower one of what the two models record.",
)
@click.option("--min-iou", type=_FRACTION, help="Least overlap of 99 of 100 pairs of boxes.")
@click.option("--max-score", type=_FRACTION, help="Largest difference of 99 of 100 scores.")
@click.option("--min-cosine", type=_FRACTION, help="Least median cosine of embeddings.")
@click.option("--min-cosine-p5", type=_FRACTION, help="Least cosine of 19 of 20 embeddings.")
@click.option("--max-unmatched", type=_FRACTION, help="Largest share of entries without a partner.")
@click.option(
    "--provider",
    type=click.Choice(["auto", "cpu", "cuda", "tensorrt"]),
    default="auto",
    show_default=True,
    help="What computes ONNX models.",
)
@click.option("--threads", type=click.IntRange(1, 1024), help="CPU threads; default: one a core.")
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path), help="Write the numbers here."
)
def command(
    model: Path,
    against: Path,
    frames: tuple[str, ...],
    limit: int,
    score_threshold: float,
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
    """Compare what two models give for the same frames; exit 1 past the tolerance.

    MODEL is a TensorRT plan, an ONNX model or a checkpoint, as is what it is compared with; of what
    ships, nano is the checkpoint and nano:WxH a model of that size. Entries are paired by the
    overlap of their boxes, not by rank.
    """
    from rich.console import Console

    try:
        from jdetrt.api import load
        from jdetrt.evaluation.agreement import precision_of, verify
    except ModuleNotFoundError as err:
        raise missing(err, "Comparing models") from err
    from jdetrt.evaluation.agreement import LIMITS
    from jdetrt.files import write_text

    inputs = {
        "MODEL": model_files(model),
        "--against": model_files(against),
        "--frames": itertools.chain.from_iterable(map(source_files, frames)),
    }
    refuse_collisions(inputs, {"--json": json_path})
    with ExitStack() as stack:
        session, reference = (
            stack.enter_context(load(path, provider=provider, threads=threads)).session
            for path in (model, against)
        )
        precision = precision or precision_of(session, reference)
        asked = {
            "iou": min_iou,
            "score": max_score,
            "cosine": min_cosine,
            "cosine_p5": min_cosine_p5,
            "unmatched": max_unmatched,
        }
        limits = LIMITS[precision]._replace(**{k: v for k, v in asked.items() if v is not None})
        found = verify(
            session,
            reference,
            _frames(frames, limit),
            score_threshold=score_threshold,
            edge=limits.score,
        )
    faults = found.faults(limits)
    click.echo(f"{model} against {against}: {found.frames} frames, {found.pairs} pairs")
    Console().print(comparison_table(found, limits))
    if json_path is not None:
        content = {
            "model": Path(model).name,
            "against": Path(against).name,
            "precision": precision,
            "score_threshold": score_threshold,
            **asdict(found),
            "limits": limits._asdict(),
            "agrees": not faults,
        }
        write_text(json_path, json.dumps(content, indent=2) + "\n")
        click.echo(f"Written: {json_path}")
    for fault in faults:
        click.echo(f"Past the tolerance of {precision}: {fault}", err=True)
    if not faults:
        click.echo(f"Within the tolerance of {precision}.")
    return 1 if faults else 0


def _frames(sources: tuple[str, ...], limit: int) -> Iterator[Frame]:
    from jdetrt.runtime.sources.open import open_source

    for uri in sources:
        with open_source(uri) as source:
            yield from itertools.islice(source, limit)


def comparison_table(found: Comparison, limits: Limits) -> Table:
    """What was found, beside what is allowed."""
    from rich.table import Table

    table = Table("", "worst", "1 of 100", "mean or median", "allowed")
    px, scores = found.boxes_px, found.scores
    table.add_row("boxes, px", f"{px.max:.4g}", f"{px.p99:.4g}", f"{px.mean:.4g}", "")
    table.add_row(
        "boxes, IoU", f"{found.iou_min:.4f}", f"{found.iou_p1:.4f}", "", f">= {limits.iou:g}"
    )
    table.add_row(
        "scores",
        f"{scores.max:.4g}",
        f"{scores.p99:.4g}",
        f"{scores.mean:.4g}",
        f"<= {limits.score:g}",
    )
    if found.cosine_min is not None:
        table.add_row(
            "embeddings, cosine",
            f"{found.cosine_min:.6f}",
            "",
            f"{found.cosine_median:.6f}",
            f">= {limits.cosine:g}",
        )
        table.add_row(
            "cosine of 19 of 20", f"{found.cosine_p5:.6f}", "", "", f">= {limits.cosine_p5:g}"
        )
    table.add_row(
        "without a partner", "", "", f"{found.unmatched:.2%}", f"<= {limits.unmatched:.2%}"
    )
    return table
