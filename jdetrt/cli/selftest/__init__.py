"""``jdetrt selftest``: TensorRT on this machine, as a whole."""

from __future__ import annotations

import click

from jdetrt.cli.options import Group
from jdetrt.cli.selftest.gpu import gpu
from jdetrt.cli.selftest.models import models


@click.group(cls=Group)
def command() -> None:
    """Build, verify and time TensorRT plans on this machine's GPU."""


command.add_command(gpu)
command.add_command(models)
