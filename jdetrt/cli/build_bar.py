"""The phases of a TensorRT build as bars."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from jdetrt.cli.bar import Bar

if TYPE_CHECKING:
    from rich.progress import TaskID

__all__ = ["BuildBar"]


class BuildBar(Bar):
    """One bar a phase that is running, on stderr, while it is entered as a context manager.

    Implements `jdetrt.types.Progress`. Nothing is shown with ``quiet``, or where
    stderr is not a terminal.
    """

    def __init__(self, *, quiet: bool) -> None:
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn

        self._quiet = quiet
        super().__init__(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            quiet=quiet,
        )
        self._lock = threading.Lock()
        self._tasks: dict[str, tuple[TaskID, int]] = {}  # phase -> task, depth

    def message(self, text: str) -> None:
        """Say something above the bars; also where there are none, but not with ``quiet``."""
        if not self._quiet:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def start(self, phase: str, total: int | None = None, parent: str | None = None) -> None:
        """A phase begins."""
        with self._lock:
            depth = self._tasks[parent][1] + 1 if parent in self._tasks else 0
            task = self._bar.add_task("  " * depth + phase, total=total)
            self._tasks[phase] = (task, depth)

    def advance(self, phase: str, done: int) -> None:
        """Steps of it are done."""
        with self._lock:
            if phase in self._tasks:
                self._bar.update(self._tasks[phase][0], completed=done)

    def finish(self, phase: str) -> None:
        """It ends; only a phase of the outermost level stays to be seen."""
        with self._lock:
            task, depth = self._tasks.pop(phase, (None, 0))
            if task is not None and depth:
                self._bar.remove_task(task)
