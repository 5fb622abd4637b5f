"""Results of benchmarks: printed as tables and written as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

__all__ = ["JSON", "Messages", "numbers", "print_table", "sizes", "write_result"]

JSON = click.option(
    "--json", "json_path", type=click.Path(path_type=Path), help="Write the numbers here."
)

_WIDE = 200  # characters


def numbers(text: str) -> list[int]:
    """Turn ``"1,2,4"`` into numbers; raises click.BadParameter."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise click.BadParameter(f"expected comma-separated numbers, got {text!r}") from None


def sizes(text: str) -> list[tuple[int, int]]:
    """Turn ``"1088x608,576x320"`` into sizes; raises click.BadParameter."""
    from jdetrt.cli.options import parse_size

    return [parse_size(part.strip()) for part in text.split(",")]


class Messages:
    """Progress that prints its messages on stderr, and nothing for its phases."""

    def start(self, phase: str, total: int | None = None, parent: str | None = None) -> None:
        """Show nothing."""

    def advance(self, phase: str, done: int) -> None:
        """Show nothing."""

    def finish(self, phase: str) -> None:
        """Show nothing."""

    def message(self, text: str) -> None:
        """Print a message."""
        click.echo(text, err=True)


def print_table(items: Iterable[Any], **columns: tuple[str, str]) -> None:
    """Print rows; a column is a key or attribute of a row, its title and the format of its values.

    A text is put on the left. What is None is shown as a dash.
    """
    from rich.console import Console
    from rich.table import Table

    rows = [item if isinstance(item, dict) else _values(item, columns) for item in items]
    table = Table()
    for key, (title, _) in columns.items():
        left = any(isinstance(row[key], str) for row in rows)
        table.add_column(title, justify="left" if left else "right", no_wrap=True)
    for row in rows:
        cells = ((row[key], how) for key, (_, how) in columns.items())
        table.add_row(*("-" if value is None else format(value, how) for value, how in cells))
    console = Console()
    if not console.is_terminal:  # a file or a pipe has no width
        console.width = _WIDE
    console.print(table)


def _values(item: Any, names: Iterable[str]) -> dict[str, Any]:
    return {name: getattr(item, name) for name in names}


def write_result(result: Any, path: Path | None) -> None:
    """Write a result as JSON, where a path is given."""
    from jdetrt.benchmarks.result import write_result as write

    if path is not None:
        write(path, result)
        click.echo(f"Written: {path}")
