"""``jdetrt score``: HOTA, MOTA, IDF1 and the counts of tracking results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from jdetrt.cli import options as opt
from jdetrt.cli.paths import refuse_collisions, sequence_files
from jdetrt.cli.results import show, write_json

if TYPE_CHECKING:
    from rich.table import Table

    from jdetrt.evaluation.trackeval import Score, Scores


@click.command(cls=opt.Command)
@click.argument(
    "gt_root",
    type=opt.FILE,
    help="Folder of ground truth: <sequence>/gt/gt.txt and <sequence>/seqinfo.ini.",
)
@click.argument("results_dir", type=opt.FILE, help="Folder of tracks: <sequence>.txt.")
@opt.RULES
@opt.SEQUENCES
@click.option("--only-present", is_flag=True, help="Skip sequences that have no results file.")
@opt.JSON
def command(
    gt_root: Path,
    results_dir: Path,
    json_path: Path | None,
    rules: str,
    sequences: list[str] | None,
    only_present: bool,
) -> None:
    """Score tracking results against ground truth with TrackEval.

    HOTA, MOTA and IDF1 are in percent. The last row combines all boxes; it is not the mean of the
    other rows.
    """
    from jdetrt.evaluation.trackeval import score

    refuse_collisions(
        {"GT_ROOT": sequence_files(gt_root), "RESULTS_DIR": results_dir.glob("*.txt")},
        {"--json": json_path},
    )
    scores = score(
        gt_root, results_dir, rules=rules, sequences=sequences, only_present=only_present
    )
    show(scores_table(scores))
    if scores.unscored:
        click.echo(f"Not scored, because they have no ground truth: {', '.join(scores.unscored)}")
    write_json(scores.to_dict(), json_path)


def scores_table(scores: Scores) -> Table:
    """A row for each sequence, and one for all boxes together."""
    from rich.table import Table

    table = Table("Sequence", "Rules")
    for name in ("HOTA", "MOTA", "IDF1", "IDSW", "FP", "FN"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, one in scores.sequences.items():
        table.add_row(name, scores.rules[name], *_cells(one))
    table.add_section()
    table.add_row("COMBINED", "", *_cells(scores.combined))
    return table


def _cells(one: Score) -> list[str]:
    return [f"{v:.3f}" if isinstance(v, float) else str(v) for v in one.to_dict().values()]
