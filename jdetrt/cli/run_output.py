"""What a tracking run shows: its progress while it goes on, and a summary at its end."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jdetrt.cli.bar import Bar

if TYPE_CHECKING:
    from rich.progress import Task

    from jdetrt.engine.tensorrt.session import MemoryUse
    from jdetrt.runtime.timing import RunReport
    from jdetrt.types import Frame, Tracks

__all__ = ["ProgressBar", "print_summary"]


class ProgressBar(Bar):
    """A bar with frames and FPS on stderr, shown while it is entered as a context manager.

    Nothing is shown with ``quiet``, or where stderr is not a terminal.
    """

    def __init__(self, title: str, total: int | None, *, quiet: bool) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            ProgressColumn,
            TextColumn,
            TimeRemainingColumn,
        )
        from rich.text import Text

        class Fps(ProgressColumn):
            def render(self, task: Task) -> Text:
                return Text(f"{task.speed:.1f} FPS" if task.speed else "")

        super().__init__(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            Fps(),
            TimeRemainingColumn(),
            quiet=quiet,
        )
        self._task = self._bar.add_task(title, total=total)

    def advance(self, frame: Frame, tracks: Tracks) -> None:
        """One frame more; an ``OnFrame``."""
        self._bar.advance(self._task)


def print_summary(
    report: RunReport, title: str, written: Iterable[Path], memory: MemoryUse | None = None
) -> None:
    """Print frames, tracks, the three FPS, stages, GPU memory, and where the files are."""
    dropped = f", {report.dropped} dropped" if report.dropped else ""
    click.echo(
        f"{title}: {report.frames} frames{dropped}, {report.tracks} tracks "
        f"in {report.seconds:.1f} s"
    )
    click.echo(f"  system      {report.system_fps:9.1f} FPS   everything, reading to writing")
    if report.network_fps is not None:
        click.echo(f"  network     {report.network_fps:9.1f} FPS   FPSD, the network alone")
    if report.association_fps is not None:
        click.echo(f"  association {report.association_fps:9.1f} FPS   FPSA, the association alone")
    click.echo("  stage            mean       p50       p99   ms a frame, stages overlap")
    for name, times in report.stages.items():
        click.echo(f"  {name:<11}{times.mean:10.2f}{times.p50:10.2f}{times.p99:10.2f}")
    if memory is not None:
        click.echo(
            f"  GPU memory  {memory.used / 1e6:9.1f} MB    at most {memory.peak / 1e6:.1f} MB; "
            "with what other programs took meanwhile"
        )
    files = list(written)
    for path in files:
        click.echo(f"Written: {path}")
    if not files:
        click.echo("Nothing was written; name an output, such as --mot FILE or --video FILE.")
