"""``jdetrt visualize``: images of what a network has learnt."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jdetrt.cli import options as opt
from jdetrt.cli.evaluate import conclude, labelled, opened, refuse
from jdetrt.cli.paths import refuse_collisions
from jdetrt.cli.progress import ProgressBars, phase
from jdetrt.errors import DataError, requiring
from jdetrt.shipped import name_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from jdetrt.size import Size

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels


def parse_box(text: str) -> Box:
    """Turn ``"x,y,w,h"`` into a box; raises click.BadParameter."""
    try:
        left, top, width, height = map(float, text.split(","))
    except ValueError:
        raise click.BadParameter(
            f"expected X,Y,W,H in pixels (left, top, width, height), got '{text}'"
        ) from None
    return left, top, left + width, top + height


@click.group(cls=opt.Group)
def command() -> None:
    """Draw what a network has learnt."""


@command.command()
@opt.CHECKPOINT
@click.argument(
    "query_frame",
    type=opt.FILE,
    help="Image with the person to search for, given by --box or --id.",
)
@click.argument("target_frame", type=opt.FILE, help="Image to search for the person.")
@opt.output("The PNG image to write.")
@opt.option("--box", "Box of the person, in pixels.", type=parse_box, metavar="X,Y,W,H")
@opt.option(
    "--id",
    "Identity of the person, if both frames are from MOT sequences with ground truth.",
    to="identity",
    type=int,
    metavar="N",
)
@opt.SIZE
@opt.TRAINED_SIZE
def retrieval(
    checkpoint: Path,
    query_frame: Path,
    target_frame: Path,
    output: Path,
    box: Box | None,
    identity: int | None,
    size: Size | None,
    trained_size: Size | None,
) -> None:
    """Search a frame for a person of another frame by appearance (the paper's figure 4).

    The image shows both frames, and two maps of how similar each location of the target is to the
    person: one by the features used for detection, one by the dense embedding.
    """
    if (box is None) == (identity is None):
        raise click.UsageError("Give either --box or --id.")
    refuse_collisions(
        {"CHECKPOINT": [checkpoint], "FRAME": [query_frame, target_frame]}, {"--output": output}
    )
    from jdetrt.runtime.sources.images import read_image

    query, target = read_image(query_frame), read_image(target_frame)
    same = None
    if identity is not None:
        box = _truth(query_frame, identity)
        same = _truth(target_frame, identity)
        if same is None:
            click.echo(f"Note: {target_frame} has nobody with the id {identity}", err=True)
    if box is None:
        raise DataError(f"{query_frame}: has no person with the id {identity}")
    with requiring("export", "Looking into a network"):
        from jdetrt.evaluation.retrieval import draw, retrieve
        from jdetrt.export.torch_session import load_network
    network, network_size, anchors = load_network(checkpoint, size, trained_size)
    maps = retrieve(network, query, box, target, size=network_size, anchors=anchors)
    _save(output, draw(maps, query, box, target, target_box=same))
    click.echo(f"Written: {output}")


@command.command()
@opt.ANY_MODEL
@opt.PATHS
@opt.output("The HTML page to write.")
@opt.number("--worst", "Number of misses, and of false alarms, to show.", most=1000, default=50)
@opt.share(
    "--score-threshold", "Score above which a detection counts.", default=0.5, metavar="SCORE"
)
@opt.MIN_VISIBILITY
@opt.ROOT
@opt.SIZE
@opt.TRAINED_SIZE
@opt.PROVIDER
@opt.DEVICE
@opt.THREADS
def mistakes(
    model: Path,
    paths: tuple[str, ...],
    output: Path,
    worst: int,
    score_threshold: float,
    min_visibility: float,
    root: Path | None,
    size: Size | None,
    trained_size: Size | None,
    provider: str,
    threads: int | None,
) -> int:
    """Show the worst misses and false alarms of a model on labelled data.

    The page has a crop of each: of the tallest people without a detection, and of the detections
    of nobody with the highest scores. A mistake that lasts several frames is shown once. Images
    that cannot be read are left out and counted; the exit code is then 3.
    """
    refuse(model, paths, None, outputs={"--output": output})
    with opened(model, size, trained_size, provider, threads) as session:
        from jdetrt.evaluation.mistakes import find_mistakes
        from jdetrt.evaluation.mistakes_page import write_mistakes

        data, files, accounts = labelled(paths, root, min_visibility)
        names = ["/".join(path.parts[-3:]) for path in files]
        with ProgressBars() as bars, phase(bars, "Evaluating", len(data)):
            found = find_mistakes(
                session,
                data,
                names,
                size=size,
                score_threshold=score_threshold,
                worst=worst,
                images=accounts[1],
                on_image=partial(bars.advance, "Evaluating"),
            )
    write_mistakes(output, found, f"Mistakes of {name_of(model)}")
    for kind, what in ((found.misses, "missed"), (found.false_alarms, "with nobody in them")):
        click.echo(f"Boxes {what}: {kind.boxes}, {kind.separate} separate")
    click.echo(f"Written: {output}")
    return conclude({}, accounts, None)


def _truth(frame: Path, identity: int) -> Box | None:
    """The box of a person in a frame of a MOT sequence: left, top, right, bottom."""
    import numpy as np

    from jdetrt.runtime.mot.files import read_mot

    path = frame.parent.parent / "gt" / "gt.txt"
    if not (frame.stem.isascii() and frame.stem.isdigit() and path.is_file()):
        raise DataError(
            f"{frame}: is not a frame of a MOT sequence with ground truth ({path}); name "
            "the person by --box X,Y,W,H"
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
