"""``jdetrt data``: check and prepare training data."""

from __future__ import annotations

import click

from jdetrt.cli.data.anchors import anchors as anchors_command
from jdetrt.cli.data.check import check as check_command
from jdetrt.cli.data.convert import convert as convert_command
from jdetrt.cli.options import Group


@click.group(cls=Group)
def command() -> None:
    """Convert and check training data, and fit anchors to it."""


command.add_command(anchors_command)
command.add_command(check_command)
command.add_command(convert_command)
