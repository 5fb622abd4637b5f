"""``jdetrt data``: look at training data, and prepare it."""

from __future__ import annotations

import click

from jdetrt.cli.data.anchors import anchors as anchors_command
from jdetrt.cli.data.check import check as check_command
from jdetrt.cli.data.convert import convert as convert_command


@click.group()
def command() -> None:
    """Check training data and fit anchors to it.

    PATH is a list of pictures (one a line, relative to --root), a folder with images/ and
    labels_with_ids/, a MOT sequence, a folder of these or a pattern such as 'train/MOT17-*'.
    """


command.add_command(anchors_command)
command.add_command(check_command)
command.add_command(convert_command)
