"""``jdetrt data anchors``: anchor sizes for your own data."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jdetrt.cli import options as opt
from jdetrt.cli.paths import refuse_collisions
from jdetrt.cli.results import show, write_json
from jdetrt.config import STRIDES

if TYPE_CHECKING:
    from rich.table import Table

    from jdetrt.config import LabelConfig
    from jdetrt.size import Size


@click.command(cls=opt.Command)
@opt.PATHS
@opt.option(
    "--size",
    "Network input size, multiples of 32.",
    type=opt.parse_size,
    metavar="WxH",
    required=True,
)
@opt.ROOT
@opt.LABEL
@opt.MIN_VISIBILITY
@opt.seed("k-means")
@opt.flag("--toml", "Print the anchors in the format of a recipe.")
@opt.JSON
def anchors(
    paths: tuple[str, ...],
    size: Size,
    root: Path | None,
    label: LabelConfig | None,
    min_visibility: float,
    seed: int,
    json_path: Path | None,
    toml: bool,
) -> None:
    """Fit twelve anchors to the people of data sets.

    Runs k-means on their widths and heights in the network input. A person whose best anchor IoU is
    0.5 or less has no positive anchor in training. If the default anchors cover nearly everybody,
    keep them: the published weights were trained with those.
    """
    from jdetrt.errors import DataError
    from jdetrt.training.data.datasets import labelled_images
    from jdetrt.training.network.anchors import anchor_sizes
    from jdetrt.training.network.fit_anchors import fit, network_shapes, recluster

    refuse_collisions({"PATH": paths}, {"--json": json_path})
    data_sets = [
        labelled_images(path, root, min_visibility=min_visibility, label=label) for path in paths
    ]
    shapes = network_shapes(data_sets, size)
    if not len(shapes):
        raise DataError(f"{', '.join(paths)}: no person is labelled in these images")
    fits = {
        name: {"anchors": sizes.astype(int).tolist(), **asdict(fit(shapes, sizes))}
        for name, sizes in (("fitted", recluster(shapes, seed)), ("default", anchor_sizes(*size)))
    }
    if toml:
        click.echo(_toml(size, fits["fitted"]["anchors"]))
    elif json_path != opt.STDOUT:
        show(_table(len(shapes), fits))
    write_json({"size": size, "boxes": len(shapes), **fits}, json_path)


def _toml(size: Size, heads: list[list[list[int]]]) -> str:
    rows = "".join(f"    {head},\n" for head in heads)
    return f"[network]\nsize = {list(size)}\nanchors = [  # heads /32, /16, /8\n{rows}]"


def _table(boxes: int, fits: dict[str, dict[str, Any]]) -> Table:
    from rich.table import Table

    table = Table("", *fits, title=f"Anchors for {boxes} boxes")
    for head, stride in enumerate(STRIDES):
        cells = (
            "  ".join(f"{width},{height}" for width, height in one["anchors"][head])
            for one in fits.values()
        )
        table.add_row(f"head /{stride}", *cells)
    table.add_row("mean best IoU", *(f"{one['mean_iou']:.3f}" for one in fits.values()))
    table.add_row("best IoU > 0.5", *(f"{one['covered']:.1%}" for one in fits.values()))
    return table
