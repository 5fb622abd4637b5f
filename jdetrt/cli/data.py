"""``jdetrt data``: look at training data, and prepare it."""

from __future__ import annotations

import click

from jdetrt.cli.data_anchors import anchors
from jdetrt.cli.data_check import check
from jdetrt.cli.data_convert import convert


@click.group()
def command() -> None:
    """Check training data and fit anchors to it.

    PATH is a list of pictures (one a line, relative to --root), a folder with images/ and
    labels_with_ids/, a MOT sequence, a folder of these or a pattern such as 'train/MOT17-*'.
    """


command.add_command(anchors)
command.add_command(check)
command.add_command(convert)
