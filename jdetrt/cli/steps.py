"""Progress of a long command: a bar for each phase."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jdetrt.cli.bar import Bar

if TYPE_CHECKING:
    from rich.progress import TaskID

__all__ = ["Steps"]


class Steps(Bar):
    """One bar a phase on stderr, while it is entered as a context manager: a `Progress`.

    Nothing is shown with ``quiet``, or where stderr is not a terminal.
    """

    def __init__(self, *, quiet: bool) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        super().__init__(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            quiet=quiet,
        )
        self._tasks: dict[str, TaskID] = {}

    def start(self, phase: str, total: int | None = None, parent: str | None = None) -> None:
        """Show the bar of a phase; it pulses where the total is unknown."""
        self._tasks[phase] = self._bar.add_task(phase, total=total)

    def advance(self, phase: str, done: int) -> None:
        """Move the bar of a phase."""
        self._bar.update(self._tasks[phase], completed=done)

    def finish(self, phase: str) -> None:
        """Stop the bar of a phase where it is."""
        task = self._bar.tasks[self._tasks[phase]]
        self._bar.update(task.id, total=task.completed, refresh=True)
        self._bar.stop_task(task.id)

    def message(self, text: str) -> None:
        """Print a line above the bars."""
        self._bar.console.print(text, markup=False)
