"""``jdetrt doctor``: what this machine has, what is missing and how to get it."""

from __future__ import annotations

from pathlib import Path

import click

from jdetrt.cli import options as opt
from jdetrt.cli.results import write_json

_MARKS = {"ok": ("ok", "green"), "missing": ("--", "yellow"), "broken": ("!!", "bold red")}


@click.command(cls=opt.Command)
@opt.JSON
def command(json_path: Path | None) -> int:
    """Check this machine: what works, what is missing and how to install it.

    "ok": works; "--": missing, but not needed for tracking on this machine; "!!": needed, but does
    not work. If there is a "!!", the exit code is 1.
    """
    from jdetrt.machine.doctor import diagnose, to_dict

    facts = diagnose()
    report = to_dict(facts)
    if json_path == opt.STDOUT:
        write_json(report, json_path)
        return 0 if report["works"] else 1
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for fact in facts:
        mark, style = _MARKS[fact.status]
        value = Text(fact.value)
        if fact.hint:
            value.append(f"\n-> {fact.hint}", style="dim")
        table.add_row(Text(mark, style=style), Text(fact.name), value)
    Console().print(table)
    if not report["works"]:
        click.echo("Tracking does not work here until every line marked !! is fixed.")
    write_json(report, json_path)
    return 0 if report["works"] else 1
