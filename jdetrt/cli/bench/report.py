"""``jdetrt bench report`` and ``compare``: results as pages and tables, and their changes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jdetrt.cli.bench.table import print_table, write_result
from jdetrt.cli.models import missing
from jdetrt.cli.paths import refuse_collisions

if TYPE_CHECKING:
    from jdetrt.benchmarks.compare import Change

__all__ = ["compare", "report"]

_FILE = click.Path(path_type=Path)


@click.command()
@click.argument("result", type=_FILE)
@click.option("-o", "--output", type=_FILE, metavar="FILE", help="The page (.html).")
@click.option("--markdown", type=_FILE, metavar="FILE", help="The table as Markdown.")
@click.option("--png", type=_FILE, metavar="FILE", help="The charts as an image.")
def report(result: Path, output: Path | None, markdown: Path | None, png: Path | None) -> None:
    """Make a page from RESULT, of bench sweep or bench latency.

    The page is one file that opens offline: speed against size, accuracy against speed, stages,
    power, all numbers to sort and to download, the machine and the settings.
    """
    if output is None and markdown is None and png is None:
        raise click.UsageError("name what to write: -o FILE, --markdown FILE or --png FILE")
    refuse_collisions(
        {"RESULT": [result]}, {"--output": output, "--markdown": markdown, "--png": png}
    )
    try:
        from jdetrt.benchmarks.report.page import html_report, markdown_report
        from jdetrt.benchmarks.report.png import write_png
        from jdetrt.benchmarks.result import read_result
    except ModuleNotFoundError as err:
        raise missing(err, "Reporting", "bench") from err
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


@click.command()
@click.argument("a", type=_FILE)
@click.argument("b", type=_FILE)
@click.option("--anyway", is_flag=True, help="Compare different machines or settings too.")
@click.option(
    "--least",
    type=click.FloatRange(0, 100),
    default=3.0,
    show_default=True,
    help="Percent; smaller changes are no difference.",
)
@click.option("--json", "json_path", type=_FILE, help="Write the comparison here.")
def compare(a: Path, b: Path, anyway: bool, least: float, json_path: Path | None) -> None:
    """Show changes from A to B, and whether they are more than noise.

    A and B are results of bench sweep or bench latency, of the same machine in the same state and
    with the same settings. The interval is of Welch's t-test over the runs, at 95 % for the table
    as a whole.
    """
    from jdetrt.benchmarks.compare import compare as compare_results
    from jdetrt.benchmarks.result import read_result

    refuse_collisions({"A": [a], "B": [b]}, {"--json": json_path})
    compared = compare_results(read_result(a), read_result(b), anyway=anyway, least=least / 100)
    for title in ("changed", "not_alike"):
        for line in getattr(compared, title):
            click.echo(f"{title.replace('_', ' ')}: {line}")
    print_table(
        [
            {"name": row.name, "metric": metric, **_percent(one)}
            for row in compared.rows
            for metric, one in row.metrics.items()
        ],
        name=("Configuration", ""),
        metric=("Metric", ""),
        a=("A", ".3f"),
        b=("B", ".3f"),
        change=("Change %", "+.1f"),
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
    write_result(compared, json_path)


def _percent(one: Change) -> dict[str, Any]:
    shares = {"change": one.change, "low": one.low, "high": one.high}
    percent = {name: None if share is None else 100 * share for name, share in shares.items()}
    return {"a": one.a, "b": one.b, "verdict": one.verdict, **percent}
