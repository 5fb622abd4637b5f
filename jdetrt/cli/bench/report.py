"""``jdetrt bench report`` and ``compare``: results as pages and tables, and their changes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jdetrt.cli import options as opt
from jdetrt.cli.paths import refuse_collisions
from jdetrt.cli.results import print_table, write_json
from jdetrt.errors import requiring

if TYPE_CHECKING:
    from jdetrt.benchmarks.compare import Change

__all__ = ["compare", "report"]


@click.command(cls=opt.Command)
@click.argument("result", type=opt.FILE, help="JSON file of bench sweep or bench latency.")
@opt.output("Write the report as an HTML page.", required=False)
@opt.file("--markdown", "Write the table as Markdown.")
@opt.file("--png", "Write the charts as an image.")
def report(result: Path, output: Path | None, markdown: Path | None, png: Path | None) -> None:
    """Present a result as an HTML page, a Markdown table or an image.

    The page is a single file that opens offline. It shows speed by network size, accuracy against
    speed, stages, power, the machine and the settings, and a table that can be sorted and
    downloaded.
    """
    if output is None and markdown is None and png is None:
        raise click.UsageError("Name an output: --output, --markdown or --png.")
    refuse_collisions(
        {"RESULT": [result]}, {"--output": output, "--markdown": markdown, "--png": png}
    )
    with requiring("bench", "Reporting"):
        from jdetrt.benchmarks.report.page import html_report, markdown_report
        from jdetrt.benchmarks.report.png import write_png
        from jdetrt.benchmarks.result import read_result
    from jdetrt.files import write_text

    measured = read_result(result)
    if output is not None:
        write_text(output, html_report(measured))
    if markdown is not None:
        write_text(markdown, markdown_report(measured))
    if png is not None:
        write_png(measured, png)
    for path in filter(None, (output, markdown, png)):
        click.echo(f"Written: {path}")


@click.command(cls=opt.Command, renamed={"--least": "--min-change"})
@click.argument(
    "a", type=opt.FILE, help="Result before the change: JSON of bench sweep or bench latency."
)
@click.argument("b", type=opt.FILE, help="Result after the change, of the same benchmark.")
@opt.flag("--anyway", "Also compare results of different machines or settings.")
@opt.option(
    "--min-change",
    "Ignore smaller changes, in percent.",
    type=click.FloatRange(0, 100),
    default=3.0,
    metavar="PERCENT",
)
@opt.JSON
def compare(a: Path, b: Path, anyway: bool, min_change: float, json_path: Path | None) -> None:
    """Compare two results and tell real changes from noise.

    Both must come from the same machine in the same state, with the same settings. The intervals
    come from Welch's t-test over the runs, at 95 % for the whole table.
    """
    from jdetrt.benchmarks.compare import compare as compare_results
    from jdetrt.benchmarks.result import read_result

    refuse_collisions({"A": [a], "B": [b]}, {"--json": json_path})
    compared = compare_results(
        read_result(a), read_result(b), anyway=anyway, least=min_change / 100
    )
    for title in ("changed", "not_alike"):
        for line in getattr(compared, title):
            click.echo(f"{title.replace('_', ' ')}: {line}")
    for row in compared.rows:
        click.echo(f"{row.name} (change in percent, with its interval):")
        print_table(
            [
                {"metric": metric.replace("_", " "), **_percent(one)}
                for metric, one in row.metrics.items()
            ],
            metric=("Metric", ""),
            a=("A", ""),
            b=("B", ""),
            change=("Change", "+.1f"),
            low=("From", "+.1f"),
            high=("To", "+.1f"),
            verdict=("Verdict", ""),
        )
    for row in compared.rows:
        for name, pair in row.accuracy.items():
            if pair.a != pair.b:
                click.echo(f"{row.name}: {name} {pair.a:.2f} before, {pair.b:.2f} after")
    for names, letter in ((compared.only_a, "A"), (compared.only_b, "B")):
        for name in names:
            click.echo(f"only in {letter}: {name}")
    write_json(compared, json_path)


def _percent(one: Change) -> dict[str, Any]:
    shares = {"change": one.change, "low": one.low, "high": one.high}
    percent = {name: None if share is None else 100 * share for name, share in shares.items()}
    return {"a": _number(one.a), "b": _number(one.b), "verdict": one.verdict, **percent}


def _number(value: float) -> str:
    """Four digits, and all of those before the point."""
    return f"{value:.0f}" if value >= 1000 else f"{value:.4g}"
