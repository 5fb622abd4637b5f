"""``jdetrt doctor``: what this machine has, what is missing and how to get it."""

from __future__ import annotations

import json

import click

_MARKS = {"ok": ("ok", "green"), "missing": ("--", "yellow"), "broken": ("!!", "bold red")}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def command(as_json: bool) -> int:
    """Say what this machine has, what is missing and how to get it.

    "ok" is there, "--" is missing but not needed for tracking on this machine, "!!" is needed and
    does not work. The exit code is 1 when there is a "!!", else 0.
    """
    from jdetrt.machine.doctor import diagnose, to_dict

    facts = diagnose()
    report = to_dict(facts)
    if as_json:
        click.echo(json.dumps(report, indent=2))
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
        click.echo("Tracking does not work here until every line marked !! is mended.")
    return 0 if report["works"] else 1
