"""Commands that know old spellings of their options. Imports no library but click."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

__all__ = ["Command", "Group"]

_OPTION_COLUMN = 22  # characters; longer options get a line of their own
_LEAST = re.compile(r"; x>=?[\d.]+(?=\])|  \[x>=?[\d.]+\]")  # click's "[default: 3; x>=1]"
_RANGE = re.compile(r"([-\d.]+)(<=?)x<=([-\d.]+)")

Renamed = Mapping[str, "str | Callable[[str], str]"]


class Command(click.Command):
    """A command that also takes old spellings of its options, with a note on stderr.

    Args:
        renamed: the new spelling by the old one, or a function that chooses it by the value.
    """

    def __init__(self, *args: Any, renamed: Renamed | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.renamed = dict(renamed or {})

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Replace old spellings, then parse."""
        return super().parse_args(ctx, list(self._current(args)))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, with most of the width for their help."""
        records = [
            (record[0], _plain_range(record[1]))
            for param in self.get_params(ctx)
            if isinstance(param, click.Option) and (record := param.get_help_record(ctx))
        ]
        with formatter.section("Options"):
            formatter.write_dl(records, col_max=_OPTION_COLUMN)

    def _current(self, args: Sequence[str]) -> Sequence[str]:
        current = list(args)
        end = current.index("--") if "--" in current else len(current)
        for index, word in enumerate(current[:end]):
            name, equals, value = word.partition("=")
            new = self.renamed.get(name)
            if new is None:
                continue
            if not isinstance(new, str):
                new = new(value if equals else "".join(current[index + 1 : index + 2]))
            current[index] = new + equals + value
            click.echo(
                f"Note: {name} is now {new}; the old spelling will stop working in the next "
                "version.",
                err=True,
            )
        return current


class Group(click.Group):
    """A group of such commands."""

    command_class = Command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, each with its whole first sentence."""
        with formatter.section("Commands"):
            formatter.write_dl(
                [
                    (name, one.get_short_help_str(1000))
                    for name, one in sorted(self.commands.items())
                ]
            )


def _plain_range(text: str) -> str:
    """Leave out a range without an upper end, and write any other in words."""
    return _RANGE.sub(_range, _LEAST.sub("", text))


def _range(match: re.Match[str]) -> str:
    low, sign, high = match.groups()
    return f"{low} to {high}" if sign == "<=" else f"above {low}, up to {high}"
