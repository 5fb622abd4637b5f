"""Values of options: how their text is read, completed and refused."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from jdetrt.config import LabelConfig
from jdetrt.engine.triton_url import is_triton_url
from jdetrt.errors import DataError
from jdetrt.shipped import NANO, resolve, sizes
from jdetrt.size import Size

__all__ = [
    "FILE",
    "FRACTION",
    "STDOUT",
    "WORSE",
    "complete_file",
    "complete_model",
    "model_or_address",
    "names",
    "numbers",
    "parse_frame_rate",
    "parse_label",
    "parse_size",
    "parse_sizes",
    "refuse_both",
    "stdout",
    "to_stdout",
]

FILE = click.Path(path_type=Path)
FRACTION = click.FloatRange(0.0, 1.0)
STDOUT = Path("-")  # as the value of --json
WORSE = 3  # exit code of what was done, and is worse than asked for


def parse_size(text: str) -> Size:
    """Read ``1088x608`` and question ``608x1088``; raises click.BadParameter."""
    try:
        size = Size.parse(text)
    except DataError as err:
        raise click.BadParameter(str(err)) from None
    if question := size.question():
        click.echo(question, err=True)
    return size


def parse_frame_rate(text: str) -> float:
    """Read ``25``, ``29.97`` or ``30000/1001``; raises click.BadParameter."""
    from jdetrt.runtime.sources.rate import parse_rate

    try:
        return parse_rate(text)
    except DataError as err:
        raise click.BadParameter(str(err)) from None


def parse_sizes(text: str) -> list[Size]:
    """Read ``1088x608,576x320``; raises click.BadParameter."""
    return [parse_size(part) for part in names(text)]


def names(text: str) -> list[str]:
    """Split comma-separated names."""
    return [part.strip() for part in text.split(",") if part.strip()]


def numbers(text: str) -> list[int]:
    """Read ``1,2,4``; raises click.BadParameter."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise click.BadParameter(f"expected comma-separated numbers, got {text!r}") from None


def complete_file(
    _ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the name of a file or folder in the shell."""
    return [CompletionItem(incomplete, type="file")]


def complete_model(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the name of a file or of a built-in model in the shell."""
    built_in = [NANO, *(f"{NANO}:{size}" for size in sizes())]
    return [
        *(CompletionItem(name) for name in built_in if incomplete and name.startswith(incomplete)),
        *complete_file(ctx, param, incomplete),
    ]


def model_or_address(text: str) -> Path | str:
    """The file of a model, or the address of one on Triton as it is. Raises ConfigError."""
    return text if is_triton_url(text) else resolve(text)


def parse_label(text: str) -> LabelConfig:
    """Read ``2:car``; raises click.BadParameter."""
    from jdetrt.documents import convert

    number, _, name = text.partition(":")
    try:
        return convert({"id": int(number), "name": name}, LabelConfig)
    except ValueError:
        raise click.BadParameter(
            f"expected the number and the name of a class, such as 2:car, got {text!r}"
        ) from None


def refuse_both(**given: Any) -> None:
    """Raise click.UsageError where not exactly one of the options has a value.

    Args:
        given: the values by the name of the option.
    """
    if sum(map(bool, given.values())) != 1:
        options = " or ".join(f"--{name.replace('_', '-')}" for name in given)
        raise click.UsageError(f"Give either {options}.")


def to_stdout(ctx: click.Context, _: click.Parameter, value: str | Path | None) -> Path | None:
    """The path of an output; where it is ``-``, everything else goes to stderr."""
    if value is None:
        return None
    if Path(value) == STDOUT and __name__ not in ctx.meta:
        ctx.meta[__name__] = sys.stdout
        ctx.with_resource(redirect_stdout(sys.stderr))
    return Path(value)


def stdout() -> Any:
    """The standard output, where everything else was sent to stderr by ``-``."""
    return click.get_current_context().meta.get(__name__, sys.stdout)
