"""``jdetrt fleet``: build a model on many boards, and see what runs on them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from jdetrt.cli import options as opt
from jdetrt.cli.progress import ProgressBars
from jdetrt.cli.results import print_table, write_json
from jdetrt.shipped import resolve

if TYPE_CHECKING:
    from jdetrt.deploy.fleet import BoardReport

_MODEL = click.argument(
    "model",
    type=resolve,
    shell_complete=opt.complete_model,
    help="An ONNX model from `jdetrt export`, or the built-in nano or nano:WxH.",
)
_BOARDS = click.argument(
    "boards",
    type=opt.FILE,
    shell_complete=opt.complete_file,
    help="A TOML file with a table [board.NAME] per board: host (SSH) or container, folder, "
    "command, build.",
)
_FOLDER = opt.output("Folder for the plans, one folder per board.", metavar="DIR")


@click.group(cls=opt.Group)
def command() -> None:
    """Build a model on many boards, and check what each of them runs."""


@command.command(cls=opt.Command)
@_MODEL
@_BOARDS
@_FOLDER
@opt.file("--clip", "Measure FPS on each board while it tracks this video.")
@opt.JSON
@opt.QUIET
def build(
    model: Path,
    boards: Path,
    output: Path,
    clip: Path | None,
    json_path: Path | None,
    quiet: bool,
) -> int:
    """Copy MODEL to every board, build its plan there and fetch it.

    All boards build at the same time. If one fails, the others continue and the exit code is 1.
    Boards whose plan is up to date are skipped.
    """
    from jdetrt.deploy.board import read_boards
    from jdetrt.deploy.fleet import build_fleet

    with ProgressBars(quiet=quiet) as bars:
        reports = build_fleet(model, read_boards(boards), output, clip=clip, progress=bars)
    _show(reports, json_path, quiet=quiet)
    return int(any(report.state == "failed" for report in reports))


@command.command(cls=opt.Command)
@_MODEL
@_BOARDS
@_FOLDER
@opt.JSON
@opt.QUIET
def status(model: Path, boards: Path, output: Path, json_path: Path | None, quiet: bool) -> int:
    """Compare the plans on the boards with those of MODEL.

    The exit code is 3 if a board is not up to date.
    """
    from jdetrt.deploy.board import read_boards
    from jdetrt.deploy.fleet import fleet_status

    reports = fleet_status(model, read_boards(boards), output)
    _show(reports, json_path, quiet=quiet)
    return 0 if all(report.state == "up to date" for report in reports) else opt.WORSE


def _show(reports: list[BoardReport], json_path: Path | None, *, quiet: bool) -> None:
    if not quiet:
        rows = [
            {
                "board": report.board,
                "state": report.state,
                **{name: getattr(report.result, name, None) for name in ("tensorrt", "gpu", "fps")},
            }
            for report in reports
        ]
        print_table(
            rows,
            board=("Board", ""),
            state=("State", ""),
            tensorrt=("TensorRT", ""),
            gpu=("GPU", ""),
            fps=("FPS", ".1f"),
        )
        for report in reports:
            if report.error:
                click.echo(report.error, err=True)
    write_json({"boards": reports}, json_path)
