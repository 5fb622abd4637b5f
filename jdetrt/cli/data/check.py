"""``jdetrt data check``: everything that is wrong with training data."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jdetrt.cli.paths import refuse_collisions

if TYPE_CHECKING:
    from rich.table import Table

    from jdetrt.training.data.check import Report


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("--root", type=click.Path(), help="Folder that lists of pictures are relative to.")
@click.option("--decode", is_flag=True, help="Read all pixels too, not the headers alone.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write it here too.")
def check(paths: tuple[str, ...], root: str | None, decode: bool, json_path: Path | None) -> int:
    """Name every fault in training data, with its line.

    Exits with 1 where anything is wrong. Training refuses malformed rows and missing files; it
    takes what is only doubtful: an id twice in a picture, a box twice or far outside, labels
    without a picture.
    """
    from rich.console import Console

    from jdetrt.files import write_text
    from jdetrt.training.data.check import check as check_data

    refuse_collisions({"PATH": paths}, {"--json": json_path})
    reports = {path: check_data(path, root, decode=decode) for path in paths}
    for report in reports.values():
        for fault in report.faults:
            click.echo(fault)
    Console().print(_table(reports))
    if json_path is not None:
        rows = [{"path": path, **asdict(report)} for path, report in reports.items()]
        write_text(json_path, json.dumps(rows, indent=2) + "\n")
        click.echo(f"Written: {json_path}")
    return int(any(report.faults for report in reports.values()))


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
