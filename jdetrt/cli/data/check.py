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

    from jdetrt.training.data.check import Report


@click.command(cls=opt.Command)
@opt.PATHS
@opt.ROOT
@click.option("--decode", is_flag=True, help="Decode whole images, not only their headers.")
@opt.JSON
def check(paths: tuple[str, ...], root: Path | None, decode: bool, json_path: Path | None) -> int:
    """List every fault of training data, with its line.

    If there are any, the exit code is 3. Training refuses malformed rows and missing files, but it
    accepts doubtful data: a repeated id or box in an image, a box far outside the image, labels
    without an image.
    """
    from jdetrt.training.data.check import check as check_data

    refuse_collisions({"PATH": paths}, {"--json": json_path})
    reports = {path: check_data(path, root, decode=decode) for path in paths}
    for report in reports.values():
        for fault in report.faults:
            click.echo(fault)
    show(_table(reports))
    for path, report in reports.items():
        if report.others:
            click.echo(f"{path}: left out: {listed(report.others)}")
        tell_notes(f"{path}: {note}" for note in report.notes)
        if report.images and not report.boxes:
            click.echo(f"Warning: {path}: nobody to find is labelled", err=True)
    write_json([{"path": path, **asdict(report)} for path, report in reports.items()], json_path)
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
