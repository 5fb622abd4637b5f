"""Output of commands: tables, summaries, JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jdetrt.account import counted as plural
from jdetrt.cli.options import STDOUT, stdout

if TYPE_CHECKING:
    from rich.table import Table

    from jdetrt.engine.tensorrt.session import MemoryUse
    from jdetrt.runtime.timing import RunReport
    from jdetrt.types import TensorSpec

__all__ = [
    "plural",
    "print_regions",
    "print_run",
    "print_streams",
    "print_table",
    "shapes",
    "show",
    "tell_notes",
    "write_json",
]

_WIDE = 200  # characters


def shapes(specs: Iterable[TensorSpec]) -> str:
    """Names, shapes and dtypes on one line."""
    return ", ".join(
        f"{spec.name} [{', '.join('N' if d == -1 else str(d) for d in spec.shape)}] {spec.dtype}"
        for spec in specs
    )


def write_json(result: Any, path: Path | None) -> None:
    """Write the result of a command where ``--json`` says, if it says so.

    Args:
        result: of the kinds that JSON has, dataclasses or msgspec structs.
        path: a file, or `STDOUT`.
    """
    import msgspec

    from jdetrt.files import write_text

    if path is None:
        return
    text = json.dumps(result, indent=2, default=msgspec.to_builtins) + "\n"
    if path == STDOUT:
        stdout().write(text)
        return
    write_text(path, text)
    click.echo(f"Written: {path}")


def tell_notes(notes: Iterable[str]) -> None:
    """Print on stderr what was assumed."""
    for note in notes:
        click.echo(f"Note: {note}", err=True)


def show(table: Table) -> None:
    """Print a table; as wide as it needs where the output is no terminal."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:  # a file or a pipe has no width
        console.width = _WIDE
    console.print(table)


def print_table(items: Iterable[Any], **columns: tuple[str, str]) -> None:
    """Print rows; a column is a key or attribute of a row, its title and the format of its values.

    Text is aligned to the left; None becomes a dash. Columns for which the terminal (or else 80
    characters) is not wide enough follow in a further table that begins with the first column too.
    """
    from rich.console import Console
    from rich.table import Table

    rows = [
        item if isinstance(item, dict) else {name: getattr(item, name) for name in columns}
        for item in items
    ]
    cells = {
        key: ["-" if row[key] is None else format(row[key], form) for row in rows]
        for key, (_, form) in columns.items()
    }
    console = Console()
    widths = {key: 3 + max(map(len, (columns[key][0], *texts))) for key, texts in cells.items()}
    for keys in _fitting(widths, console.width - 1):
        table = Table()
        for key in keys:
            left = any(isinstance(row[key], str) for row in rows)
            table.add_column(columns[key][0], justify="left" if left else "right", no_wrap=True)
        for line in zip(*(cells[key] for key in keys), strict=True):
            table.add_row(*line)
        console.print(table)


def _fitting(widths: dict[str, int], room: int) -> list[list[str]]:
    """Keys of columns by table: each table has the first column and fits, if two columns do."""
    first, *others = widths
    tables = [[first]]
    for key in others:
        if len(tables[-1]) > 1 and sum(widths[one] for one in (*tables[-1], key)) > room:
            tables.append([first])
        tables[-1].append(key)
    return tables


def print_run(report: RunReport, title: str, memory: MemoryUse | None = None) -> None:
    """Print frames, tracks, the three FPS, stages and GPU memory."""
    word = "missing" if report.source is None else "dropped"  # of a file, or of a camera
    dropped = f", {report.dropped} {word}" if report.dropped else ""
    click.echo(
        f"{title}: {plural(report.frames, 'frame')}{dropped}, {plural(report.tracks, 'track')} "
        f"in {report.seconds:.1f} s"
    )
    rates = (
        ("system", report.system_fps, "end to end, from reading to writing"),
        ("network", report.network_fps, "FPSD, the network alone"),
        ("association", report.association_fps, "FPSA, the association alone"),
    )
    for name, fps, meaning in rates:
        if fps is not None:
            click.echo(f"  {name:<11} {fps:9.1f} FPS   {meaning}")
    _print_source(report)
    click.echo("  stage            mean       p50       p99   ms per frame; stages overlap")
    for name, times in report.stages.items():
        click.echo(f"  {name:<11}{times.mean:10.2f}{times.p50:10.2f}{times.p99:10.2f}")
    if memory is not None:
        click.echo(
            f"  GPU memory  {memory.used / 1e6:9.1f} MB    peak {memory.peak / 1e6:.1f} MB; "
            "includes other programs' use"
        )
    for count, noun, outcome in (
        (report.gaps, "gap", "longer than the buffer of lost tracks: new ids after each"),
        (report.restarts, "time", "the timestamps went back: new ids from there"),
        (report.repeats, "frame", "with the timestamp of the frame before: nothing moves there"),
    ):
        if count:
            click.echo(f"  {plural(count, noun)} {outcome}")
    if report.full:
        click.echo(
            f"  {plural(report.full, 'frame')} with all candidates of the model above the score "
            "threshold: there may be more, so export it with a larger --top-k"
        )
    if report.unshaped:
        click.echo(
            f"  {plural(report.unshaped, 'box', 'boxes')} of tracks left out, too small or too flat"
        )


def _print_source(report: RunReport) -> None:
    """Print the age of results and the outages of a live source."""
    if report.age is not None:
        click.echo(
            f"  age        {report.age.p50:10.1f} ms    median from capture to result; "
            f"p99 {report.age.p99:.1f} ms"
        )
    source = report.source
    if source is not None and source.outages:
        stalls = f", {plural(source.stalls, 'stall')} among them" if source.stalls else ""
        click.echo(
            f"  {plural(source.outages, 'outage')}{stalls}, away for {source.away_seconds:.1f} s"
        )
    if source is not None and source.size_changes:
        click.echo(f"  {plural(source.size_changes, 'change')} of the frame size")


def print_streams(reports: Mapping[str, RunReport]) -> None:
    """Print one row a stream, and the streams together."""
    rows = [
        {
            "name": name,
            "frames": report.frames,
            "dropped": report.dropped,
            "fps": report.system_fps,
            "tracks": report.tracks,
            "p50": report.age and report.age.p50,
            "p99": report.age and report.age.p99,
            "outages": report.source and report.source.outages,
            "away": report.source and report.source.away_seconds,
        }
        for name, report in reports.items()
    ]
    print_table(
        rows,
        name=("stream", "s"),
        frames=("frames", "d"),
        dropped=("dropped", "d"),
        fps=("FPS", ".1f"),
        tracks=("tracks", "d"),
        p50=("age ms", ".0f"),
        p99=("p99", ".0f"),
        outages=("outages", "d"),
        away=("away s", ".0f"),
    )


def print_regions(state: Mapping[str, Any], name: str = "") -> None:
    """Print the counts of lines and zones.

    Args:
        state: of `jdetrt.runtime.events.counter.EventCounter.state`.
        name: of the stream, where there are several.
    """
    prefix = f"{name}, " if name else ""
    for line, count in state["lines"].items():
        crossings = ", ".join(f"{way} {number}" for way, number in count["crossings"].items())
        click.echo(f"{prefix}line {line}: {crossings}")
    for zone, count in state["zones"].items():
        mean = f", {count['seconds'] / count['exits']:.1f} s on average" if count["exits"] else ""
        click.echo(
            f"{prefix}zone {zone}: {plural(count['entries'], 'entry', 'entries')}{mean}, "
            f"{count['occupancy']} in it at the end, at most {count['peak']}"
        )
    if state["masked_detections"]:
        click.echo(f"{prefix}masks left out {plural(state['masked_detections'], 'detection')}")
