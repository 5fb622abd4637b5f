"""``jdetrt score``: HOTA, MOTA, IDF1 and the counts of tracking results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from jdetrt.cli import options as opt
from jdetrt.cli.paths import refuse_collisions, sequence_files
from jdetrt.cli.progress import ProgressBars
from jdetrt.cli.results import show, write_json

if TYPE_CHECKING:
    from rich.table import Table

    from jdetrt.evaluation.scores import Score, Scores

_F = TypeVar("_F", bound=Callable[..., Any])


def score_limits(function: _F) -> _F:
    """Options with the least HOTA, MOTA and IDF1."""
    for name in ("idf1", "mota", "hota"):
        option = click.option(
            f"--min-{name}",
            type=float,
            metavar="PERCENT",
            help=f"Smallest acceptable {name.upper()} of all sequences together.",
        )
        function = option(function)
    return function


@click.command(cls=opt.Command)
@click.argument(
    "gt_root",
    type=opt.FILE,
    help="Folder of ground truth: <sequence>/gt/gt.txt and <sequence>/seqinfo.ini; or a manifest "
    "of `jdetrt track --manifest` whose recordings have ground truth.",
)
@click.argument("results_dir", type=opt.FILE, help="Folder of tracks: <sequence>.txt.")
@opt.WORKERS
@opt.ADDRESS
@opt.RULES
@opt.SEQUENCES
@opt.flag("--only-present", "Skip sequences that have no results file.")
@opt.flag("--strict", "Refuse boxes with no area instead of leaving them out.")
@score_limits
@opt.JSON
def command(
    gt_root: Path,
    results_dir: Path,
    json_path: Path | None,
    rules: str,
    sequences: list[str] | None,
    only_present: bool,
    strict: bool,
    min_hota: float | None,
    min_mota: float | None,
    min_idf1: float | None,
    workers: int | None,
    address: str | None,
) -> int:
    """Score tracking results against ground truth with TrackEval.

    HOTA, MOTA and IDF1 are in percent. MT and ML count the people who are mostly tracked (in over
    80 % of their frames) and mostly lost (in under 20 %). The last row combines all boxes; it is
    not the mean of the other rows. If it is below a limit of --min-hota, --min-mota or --min-idf1,
    the exit code is 3.
    """
    from jdetrt.evaluation.trackeval import score

    failures: dict[str, str] = {}
    if gt_root.is_file():
        from jdetrt.recordings.manifest import read_manifest
        from jdetrt.recordings.pool import Workers
        from jdetrt.recordings.scoring import score_manifest

        refuse_collisions(
            {"the manifest": [gt_root], "RESULTS_DIR": results_dir.glob("*.txt")},
            {"--json": json_path},
        )
        with ProgressBars() as bars:
            listed = score_manifest(
                read_manifest(gt_root),
                results_dir,
                Workers(workers, address),
                rules=rules,
                names=sequences,
                only_present=only_present,
                strict=strict,
                progress=bars,
            )
        scores, failures = listed.scores, listed.failures
    elif workers is not None or address is not None:
        raise click.UsageError("--workers and --address belong to a manifest in place of GT_ROOT.")
    else:
        refuse_collisions(
            {"GT_ROOT": sequence_files(gt_root), "RESULTS_DIR": results_dir.glob("*.txt")},
            {"--json": json_path},
        )
        scores = score(
            gt_root,
            results_dir,
            rules=rules,
            sequences=sequences,
            only_present=only_present,
            strict=strict,
        )
    code = report(scores, json_path, failures=failures, HOTA=min_hota, MOTA=min_mota, IDF1=min_idf1)
    return 1 if failures else code


def report(
    scores: Scores,
    json_path: Path | None,
    notes: Sequence[str] = (),
    failures: Mapping[str, str] | None = None,
    **limits: float | None,
) -> int:
    """Print scores, what they were read from and the limits that are missed; return the exit code.

    Args:
        scores: of one sequence or several.
        json_path: of ``--json``.
        notes: on what was assumed, for the JSON.
        failures: errors by sequence that could not be scored.
        limits: the least of the combined scores, by name, in percent; None for no limit.
    """
    show(scores_table(scores))
    for name, accounts in scores.accounts().items():
        for account in accounts.values():
            if account.lost or account.by_design:
                click.echo(f"{name}: {account.summary()}")
    if scores.unscored:
        click.echo(f"Not scored, because they have no ground truth: {', '.join(scores.unscored)}")
    warnings = scores.warnings()
    failures = failures or {}
    result = scores.to_dict() | {"warnings": warnings, "notes": [*notes], "failures": failures}
    write_json({key: value for key, value in result.items() if value}, json_path)
    for warning in warnings:
        click.echo(f"Warning: {warning}", err=True)
    for name, error in failures.items():
        click.echo(f"Failed: {name}: {error}", err=True)
    values = scores.combined.to_dict()
    missed = {
        name: limit for name, limit in limits.items() if limit is not None and values[name] < limit
    }
    for name, limit in missed.items():
        click.echo(f"Below the limit: {name} is {values[name]:.3f} (limit {limit:g})", err=True)
    unread = any(frames.is_short for frames in scores.frames.values())
    return opt.WORSE if missed or unread else 0


def scores_table(scores: Scores) -> Table:
    """A row for each sequence, and one for all boxes together."""
    from rich.table import Table

    table = Table("Sequence", "Rules")
    for name in scores.combined.to_dict():
        table.add_column(name, justify="right", no_wrap=True)
    for name, one in scores.sequences.items():
        table.add_row(name, scores.rules[name], *_cells(one))
    table.add_section()
    table.add_row("COMBINED", "", *_cells(scores.combined))
    return table


def _cells(one: Score) -> list[str]:
    return [f"{v:.3f}" if isinstance(v, float) else str(v) for v in one.to_dict().values()]
