"""What a long command is doing, and how far it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jdetrt.cli.bar import Bar

if TYPE_CHECKING:
    from rich.progress import TaskID

__all__ = ["Steps"]


class Steps(Bar):
    """One bar a phase on stderr, while it is entered as a context manager; call it to go on.

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

    def __call__(self, what: str, done: int, steps: int | None) -> None:
        """So many steps of a phase are done; None where nobody knows how many there are."""
        if what not in self._tasks:
            self._tasks[what] = self._bar.add_task(what, total=steps)
        self._bar.update(self._tasks[what], completed=done, total=steps)
