"""``jdetrt visualize``: pictures of what a network has learnt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from jdetrt.cli.export import parse_size
from jdetrt.cli.models import missing
from jdetrt.cli.paths import refuse_collisions
from jdetrt.errors import DataError
from jdetrt.shipped import resolve_checkpoint

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_FILE = click.Path(path_type=Path)

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels


def parse_box(text: str) -> Box:
    """Turn ``"x,y,w,h"`` into a box; raises click.BadParameter."""
    try:
        left, top, width, height = map(float, text.split(","))
    except ValueError:
        raise click.BadParameter(f"'{text}' is not LEFT,TOP,WIDTH,HEIGHT in pixels") from None
    return left, top, left + width, top + height


@click.group()
def command() -> None:
    """Draw what a network has learnt."""


@command.command()
@click.argument("checkpoint", type=resolve_checkpoint)
@click.argument("query_frame", type=_FILE)
@click.argument("target_frame", type=_FILE)
@click.option("-o", "--output", type=_FILE, required=True, help="The picture to write (.png).")
@click.option("--box", type=parse_box, metavar="X,Y,W,H", help="The person in QUERY_FRAME.")
@click.option(
    "--id", "identity", type=int, help="Or its id, where both frames are of MOT sequences."
)
@click.option(
    "--size",
    type=parse_size,
    metavar="WxH",
    help="Network width and height; default: what CHECKPOINT records.",
)
def retrieval(
    checkpoint: Path,
    query_frame: Path,
    target_frame: Path,
    output: Path,
    box: Box | None,
    identity: int | None,
    size: tuple[int, int] | None,
) -> None:
    """Look for a person of QUERY_FRAME in TARGET_FRAME by features alone (the paper's figure 4).

    CHECKPOINT is a file, or nano, which ships (a file of that name is ./nano).

    The picture shows both frames, and how similar each place of the target is to the person: by
    the features that detection is made from, and by the dense embedding.
    """
    if (box is None) == (identity is None):
        raise click.UsageError("give one of --box X,Y,W,H and --id N")
    refuse_collisions(
        {"CHECKPOINT": [checkpoint], "FRAME": [query_frame, target_frame]}, {"--output": output}
    )
    from jdetrt.runtime.sources.images import read_picture

    query, target = read_picture(query_frame), read_picture(target_frame)
    same = None
    if identity is not None:
        box = _truth(query_frame, identity)
        same = _truth(target_frame, identity)
    if box is None:
        raise DataError(f"{query_frame}: nobody with the id {identity} is in this frame")
    try:
        from jdetrt.evaluation.retrieval import draw, retrieve
        from jdetrt.export.torch_session import load_network
    except ModuleNotFoundError as err:
        raise missing(err, "Looking into a network") from err
    network, size, anchors = load_network(checkpoint, size)
    maps = retrieve(network, query, box, target, size=size, anchors=anchors)
    _save(output, draw(maps, query, box, target, target_box=same))
    click.echo(f"Written: {output}")


def _truth(frame: Path, identity: int) -> Box | None:
    """The box of a person in a frame of a MOT sequence: left, top, right, bottom."""
    import numpy as np

    from jdetrt.runtime.mot_io import read_mot

    path = frame.parent.parent / "gt" / "gt.txt"
    if not (frame.stem.isascii() and frame.stem.isdigit() and path.is_file()):
        raise DataError(
            f"{frame}: is no frame of a MOT sequence with ground truth ({path}); name the person "
            "by --box X,Y,W,H"
        )
    rows = read_mot(path)
    here = np.flatnonzero((rows.frames == int(frame.stem)) & (rows.ids == identity))
    if not len(here):
        return None
    left, top, width, height = rows.boxes[here[0]].tolist()
    return left, top, left + width, top + height


def _save(path: Path, picture: npt.NDArray[np.uint8]) -> None:
    from jdetrt.files import write_bytes
    from jdetrt.runtime.opencv import load_cv2

    write_bytes(path, load_cv2().imencode(".png", picture)[1].tobytes())
