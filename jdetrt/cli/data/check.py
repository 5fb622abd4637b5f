"""``jdetrt data check``: faults of training data."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jdetrt.account import listed
from jdetrt.cli import options as opt
from jdetrt.cli.paths import refuse_collisions
from jdetrt.cli.results import show, tell_notes, write_json

if TYPE_CHECKING:
    from rich.table import Table

    from jdetrt.config import LabelConfig, TrainingSet
    from jdetrt.training.data.check import Report


@click.command(cls=opt.Command)
@opt.PATHS
@opt.ROOT
@opt.LABEL
@opt.flag("--decode", "Decode whole images, not only their headers.")
@opt.JSON
def check(
    paths: tuple[str, ...],
    root: Path | None,
    label: LabelConfig | None,
    decode: bool,
    json_path: Path | None,
) -> int:
    """List every fault in training data, with its line number.

    If there are any, the exit code is 3. Training refuses malformed rows and missing files, but it
    accepts doubtful data: a repeated id or box in an image, a box far outside the image, labels
    without an image.

    Lists of the paper's data sets (mot17.train) are compared with its table 2.
    """
    from jdetrt.training.data.check import check as check_data

    refuse_collisions({"PATH": paths}, {"--json": json_path})
    reports = {path: check_data(path, root, decode=decode, label=label) for path in paths}
    for report in reports.values():
        for fault in report.faults:
            click.echo(fault)
    show(_table(reports))
    for path, report in reports.items():
        if report.others:
            click.echo(f"{path}: left out: {listed(report.others)}")
        tell_notes(f"{path}: {note}" for note in report.notes)
        if report.images and not report.boxes:
            click.echo(f"Warning: {path}: no person is labelled", err=True)
    paper = {path: column for path in paths if (column := _column(path)) is not None}
    if paper:
        show(_beside_paper(reports, paper))
    write_json(
        [
            {
                "path": path,
                **asdict(report),
                **({"paper": paper[path]._asdict()} if path in paper else {}),
            }
            for path, report in reports.items()
        ],
        json_path,
    )
    return opt.WORSE if any(report.faults for report in reports.values()) else 0


def _table(reports: dict[str, Report]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table("")
    for path in reports:
        table.add_column(escape(path), justify="right", overflow="fold")
    heights = (" / ".join(f"{h:.0f}" for h in one.heights or ()) for one in reports.values())
    rows = {
        "Images": [one.images for one in reports.values()],
        "Boxes": [one.boxes for one in reports.values()],
        "- without id": [one.unidentified for one in reports.values()],
        "- centre outside": [one.centres_outside for one in reports.values()],
        "Identities": [one.identities for one in reports.values()],
        "Height: min / median / max": heights,
        "Faults": [len(one.faults) for one in reports.values()],
    }
    for name, cells in rows.items():
        table.add_row(name, *map(str, cells))
    return table


def _column(path: str) -> TrainingSet | None:
    """The column of the paper's table 2 for the list of a training set."""
    from jdetrt.config import TABLE_2

    name, _, split = Path(path).name.partition(".")
    return TABLE_2.get(name.lower()) if split == "train" else None


def _beside_paper(reports: dict[str, Report], paper: dict[str, TrainingSet]) -> Table:
    """The counts beside the paper's, and their sums where all of its data sets are there."""
    from rich.markup import escape
    from rich.table import Table

    from jdetrt.config import TABLE_2, TABLE_2_TOTAL

    columns = {path: (reports[path], column) for path, column in paper.items()}
    table = Table("Paper's table 2", title="Thousands, ours / the paper's", title_justify="left")
    rows: dict[str, list[str]] = {"Images": [], "Boxes": [], "Identities": []}
    sums = [0, 0, 0]
    for path, (report, column) in columns.items():
        table.add_column(f"{column.name}\n{escape(Path(path).name)}", justify="right")
        counts = (report.images, report.boxes, report.identities)
        for index, (cells, ours, theirs) in enumerate(
            zip(rows.values(), counts, column[1:], strict=True)
        ):
            cells.append(_pair(ours, theirs))
            sums[index] += ours
    names = {column.name for column in TABLE_2.values()}
    if len(columns) == len(names) == len({column.name for column in paper.values()}):
        table.add_column(TABLE_2_TOTAL.name, justify="right")
        for cells, ours, theirs in zip(rows.values(), sums, TABLE_2_TOTAL[1:], strict=True):
            cells.append(_pair(ours, theirs))
    for name, cells in rows.items():
        table.add_row(name, *cells)
    return table


def _pair(ours: int, theirs: float | str | None) -> str:
    return f"{ours / 1000:.1f} / {'-' if theirs is None else f'{theirs:g}'}"
