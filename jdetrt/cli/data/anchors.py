"""``jdetrt data anchors``: anchor sizes for one's own data."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from jdetrt.cli.export import parse_size
from jdetrt.config import STRIDES

if TYPE_CHECKING:
    from rich.table import Table


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option(
    "--size",
    type=parse_size,
    metavar="WxH",
    required=True,
    help="Network width and height, multiples of 32.",
)
@click.option("--root", type=click.Path(), help="Folder that lists of pictures are relative to.")
@click.option(
    "--min-visibility",
    type=click.FloatRange(0.0, 1.0),
    default=0.0,
    show_default=True,
    help="Leave out people of MOT sequences of whom less can be seen.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--json", "form", flag_value="json", help="Print JSON.")
@click.option("--toml", "form", flag_value="toml", help="Print them as a recipe takes them.")
def anchors(
    paths: tuple[str, ...],
    size: tuple[int, int],
    root: str | None,
    min_visibility: float,
    seed: int,
    form: str | None,
) -> None:
    """Fit twelve anchors to the people of data sets.

    K-means over the widths and heights that they have in the network's input. A person whose best
    anchor IoU is 0.5 or less has no positive anchor in training. If the default anchors cover
    nearly everybody, keep them: the published weights were trained with those.
    """
    from rich.console import Console

    from jdetrt.errors import DataError
    from jdetrt.training.data.datasets import labelled_images
    from jdetrt.training.network.anchors import anchor_sizes
    from jdetrt.training.network.fit_anchors import fit, network_shapes, recluster

    data_sets = [labelled_images(path, root, min_visibility=min_visibility) for path in paths]
    shapes = network_shapes(data_sets, size)
    if not len(shapes):
        raise DataError(f"{', '.join(paths)}: nobody is labelled in these pictures")
    found = {
        name: {"anchors": sizes.astype(int).tolist(), **asdict(fit(shapes, sizes))}
        for name, sizes in (("fitted", recluster(shapes, seed)), ("default", anchor_sizes(*size)))
    }
    if form == "json":
        click.echo(json.dumps({"size": size, "boxes": len(shapes), **found}))
    elif form == "toml":
        click.echo(_toml(size, found["fitted"]["anchors"]))
    else:
        Console().print(_table(len(shapes), found))


def _toml(size: tuple[int, int], heads: list[list[list[int]]]) -> str:
    rows = "".join(f"    {head},\n" for head in heads)
    return f"[network]\nsize = {list(size)}\nanchors = [  # heads /32, /16, /8\n{rows}]"


def _table(boxes: int, found: dict[str, dict[str, Any]]) -> Table:
    from rich.table import Table

    table = Table("", *found, title=f"Anchors for {boxes} boxes")
    for head, stride in enumerate(STRIDES):
        cells = (
            "  ".join(f"{width},{height}" for width, height in one["anchors"][head])
            for one in found.values()
        )
        table.add_row(f"head /{stride}", *cells)
    table.add_row("mean best IoU", *(f"{one['mean_iou']:.3f}" for one in found.values()))
    table.add_row("best IoU > 0.5", *(f"{one['covered']:.1%}" for one in found.values()))
    return table
