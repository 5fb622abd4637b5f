"""``jdetrt selftest models``: the models that ``selftest gpu`` measures."""

from __future__ import annotations

from pathlib import Path

import click

from jdetrt.cli import options as opt
from jdetrt.cli.paths import refuse_collisions, source_files
from jdetrt.cli.progress import ProgressBars
from jdetrt.errors import requiring

__all__ = ["NETWORKS", "models"]

NETWORKS = opt.option(
    "--networks",
    "Networks with their sizes, the most important first, such as nano-576x320. Default: "
    "nano and Darknet-53 at two sizes each.",
    type=opt.names,
    metavar="NAME,...",
)


@click.command(cls=opt.Command)
@click.argument("folder", type=opt.FILE, help="Folder to write the models into.")
@opt.source(
    "--source",
    "Video, folder of images or MOT sequence to calibrate INT8 on.",
    required=True,
)
@NETWORKS
def models(folder: Path, source: str, networks: list[str] | None) -> None:
    """Make the models that `selftest gpu` measures, where torch and onnx are installed.

    For each network: a checkpoint, ONNX models in float32, float16 and INT8, and a calibration
    cache. Files that are there already stay. Darknet-53 has random weights, which do for speed.
    """
    with requiring("export", "Making models"):
        from jdetrt.benchmarks.selftest.networks import NETWORKS as ALL
        from jdetrt.benchmarks.selftest.networks import make_models

        refuse_collisions({"--source": source_files(source)}, {"FOLDER": folder})
        with ProgressBars() as bars:
            files = make_models(folder, source, networks or ALL, progress=bars)
    for path in files:
        click.echo(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
