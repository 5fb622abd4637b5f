"""How results of benchmarks are printed, written and asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

__all__ = ["JSON", "numbers", "print_table", "sizes", "write_result"]

JSON = click.option(
    "--json", "json_path", type=click.Path(path_type=Path), help="Write the numbers here."
)

_WIDE = 200  # characters


def numbers(text: str) -> list[int]:
    """Turn ``"1,2,4"`` into numbers; raises click.BadParameter."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise click.BadParameter(
            f"expected numbers with commas between them, got {text!r}"
        ) from None


def sizes(text: str) -> list[tuple[int, int]]:
    """Turn ``"1088x608,576x320"`` into sizes; raises click.BadParameter."""
    from jdetrt.cli.export import parse_size

    return [parse_size(part.strip()) for part in text.split(",")]


def print_table(rows: list[dict[str, Any]], **columns: tuple[str, str]) -> None:
    """Print rows; a column is the key in a row with its title and the format of its values.

    A text is put on the left. What is None is shown as a dash.
    """
    from rich.console import Console
    from rich.table import Table

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


def write_result(result: Mapping[str, Any], path: Path | None) -> None:
    """Write a result as JSON, where a path is given."""
    from jdetrt.files import write_text

    if path is not None:
        write_text(path, json.dumps(result, indent=2) + "\n")
        click.echo(f"Written: {path}")
