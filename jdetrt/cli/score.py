"""``jdetrt score``: HOTA, MOTA, IDF1 and the counts of tracking results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jdetrt.cli.paths import refuse_collisions, sequence_files

if TYPE_CHECKING:
    from rich.table import Table

    from jdetrt.evaluation.trackeval import Score, Scores


@click.command()
@click.argument("gt_root", type=click.Path(path_type=Path))
@click.argument("results_dir", type=click.Path(path_type=Path))
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write them here too.")
@click.option(
    "--rules",
    type=click.Choice(["auto", "MOT15", "MOT16", "MOT17", "MOT20"]),
    default="auto",
    show_default=True,
    help="Which ground-truth classes are ignored; auto looks at the class column and the name.",
)
@click.option("--sequences", help="Score these only: names with commas between them.")
@click.option("--only-present", is_flag=True, help="Leave out sequences without a results file.")
def command(
    gt_root: Path,
    results_dir: Path,
    json_path: Path | None,
    rules: str,
    sequences: str | None,
    only_present: bool,
) -> None:
    """Score tracking results against ground truth with TrackEval.

    GT_ROOT has <sequence>/gt/gt.txt and <sequence>/seqinfo.ini; RESULTS_DIR has <sequence>.txt.
    HOTA, MOTA and IDF1 are in percent. The last row is over all boxes, not a mean of the rows.
    """
    from rich.console import Console

    from jdetrt.evaluation.trackeval import score
    from jdetrt.files import write_text

    refuse_collisions(
        {"GT_ROOT": sequence_files(gt_root), "RESULTS_DIR": results_dir.glob("*.txt")},
        {"--json": json_path},
    )
    names = None if sequences is None else [n.strip() for n in sequences.split(",") if n.strip()]
    scores = score(gt_root, results_dir, rules=rules, sequences=names, only_present=only_present)
    Console().print(scores_table(scores))
    if scores.unscored:
        click.echo(f"Not scored, there is no ground truth for: {', '.join(scores.unscored)}")
    if json_path is not None:
        write_text(json_path, json.dumps(scores.to_dict(), indent=2) + "\n")
        click.echo(f"Written: {json_path}")


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
