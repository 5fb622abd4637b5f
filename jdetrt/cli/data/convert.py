"""``jdetrt data convert``: raw data sets in JDE's form."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

if TYPE_CHECKING:
    from jdetrt.training.convert.writer import Link

# As in jdetrt.training.convert.datasets, which loads numpy and more.
_NAMES = ("ethz", "citypersons", "caltech", "mot16", "mot17", "cuhk-sysu", "prw")


@click.command()
@click.argument("name", type=click.Choice(_NAMES))
@click.argument("raw_dir", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    "out_dir",
    type=click.Path(path_type=Path),
    required=True,
    help="The folder that all data sets share.",
)
@click.option(
    "--split",
    type=click.Choice(["train", "val", "test"]),
    default="train",
    show_default=True,
    help="Not every data set has all of them.",
)
@click.option(
    "--link",
    type=click.Choice(["symlink", "hard", "copy"]),
    default="symlink",
    show_default=True,
    help="How the pictures get there.",
)
def convert(name: str, raw_dir: Path, out_dir: Path, split: str, link: str) -> None:
    """Bring a downloaded data set into the form that training reads.

    RAW_DIR is laid out as docs/guide/data.md shows. OUT_DIR gets the list NAME.SPLIT of the
    pictures and what it lists; a second run replaces what the first wrote.
    """
    from jdetrt.training.convert.datasets import convert as convert_data_set

    done = convert_data_set(name, raw_dir, out_dir, split=split, link=cast("Link", link))
    click.echo(
        f"Written: {done.listing} ({done.images} images, {done.boxes} boxes, "
        f"{done.identities} identities)"
    )
