"""``jdetrt data convert``: downloaded data sets in the format that training reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from jdetrt.account import listed
from jdetrt.cli import options as opt
from jdetrt.cli.results import plural

if TYPE_CHECKING:
    from jdetrt.training.convert.writer import Link

# As in jdetrt.training.convert.datasets, which loads numpy and more.
_NAMES = ("ethz", "citypersons", "caltech", "mot16", "mot17", "cuhk-sysu", "prw")


@click.command(cls=opt.Command)
@click.argument(
    "name",
    type=click.Choice(_NAMES),
    metavar="DATASET",
    help=f"Data set to convert: {', '.join(_NAMES[:-1])} or {_NAMES[-1]}.",
)
@click.argument(
    "raw_dir",
    type=opt.FILE,
    help="Folder of the downloaded data set, laid out as in docs/guide/data.md.",
)
@opt.output(
    "Folder for all converted data sets; it gets the list of images, such as mot17.train.",
    metavar="DIR",
)
@opt.choice(
    "--split",
    "Part of the data set; not every data set has all three.",
    ["train", "val", "test"],
    default="train",
)
@opt.choice(
    "--link",
    "How images get into the folder: symbolic links, hard links or copies.",
    ["symlink", "hard", "copy"],
    default="symlink",
)
def convert(name: str, raw_dir: Path, output: Path, split: str, link: str) -> None:
    """Convert a downloaded data set to the format that training reads.

    A second run replaces what the first one wrote.
    """
    from jdetrt.training.convert.datasets import convert as convert_data_set

    done = convert_data_set(name, raw_dir, output, split=split, link=cast("Link", link))
    click.echo(
        f"Written: {done.listing} ({plural(done.images, 'image')}, "
        f"{plural(done.boxes, 'box', 'boxes')}, "
        f"{plural(done.identities, 'identity', 'identities')})"
    )
    if done.left_out:
        click.echo(f"Left out: {listed(done.left_out)}")
    if not done.boxes:
        click.echo(f"Warning: {done.listing}: no person is labelled in any image", err=True)
