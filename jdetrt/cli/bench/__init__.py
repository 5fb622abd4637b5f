"""``jdetrt bench``: speed, power and accuracy, printed and written as JSON."""

from __future__ import annotations

import click

from jdetrt.cli.bench.association import association, peers, trackers
from jdetrt.cli.bench.latency import latency, system
from jdetrt.cli.bench.paper import density, losses, table1
from jdetrt.cli.bench.rates import camera_motion, rates
from jdetrt.cli.bench.report import compare, report
from jdetrt.cli.bench.streams import streams
from jdetrt.cli.bench.sweep import sweep
from jdetrt.cli.options import Group


@click.group(cls=Group)
def command() -> None:
    """Measure speed, power and accuracy on this machine.

    Start with latency (one model) or sweep (many configurations), then report. The JSON results
    name the machine and the versions of all libraries.
    """


for _command in (
    *(latency, sweep, report, compare, streams, system),
    *(association, trackers, rates, camera_motion, peers, table1, density, losses),
):
    command.add_command(_command)
