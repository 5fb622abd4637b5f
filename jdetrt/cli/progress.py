"""Progress of long work, as bars on the terminal."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from jdetrt.progress import Progress

if TYPE_CHECKING:
    from rich.progress import ProgressColumn, Task, TaskID
    from rich.table import Table

    from jdetrt.types import Frame, Tracks

__all__ = ["OnFrame", "ProgressBars", "phase", "watched"]

_FINISHED_BARS = 6  # more of them would fill the screen
_T = TypeVar("_T")


@dataclass(slots=True)
class _Phase:
    task: TaskID
    depth: int
    total: int | None
    done: int = 0


class ProgressBars:
    """One bar per phase on stderr, shown while it is entered as a context manager.

    Implements `jdetrt.progress.Progress`. A bar shows the time left, or the time passed
    where the total is unknown. Bars of phases within another phase vanish when they finish. No bars
    are shown with ``quiet`` or where stderr is not a terminal; messages are, unless ``quiet``.

    Args:
        quiet: show nothing.
        rate: unit of the speed to show beside the bars, such as ``"FPS"``; "" for none.
        calm: draw once a second, so as not to disturb measurements.
    """

    def __init__(self, *, quiet: bool = False, rate: str = "", calm: bool = False) -> None:
        from rich.console import Console, RenderableType
        from rich.progress import Progress as Bars

        above: list[RenderableType] = []

        class BarsBelow(Bars):
            def get_renderables(self) -> Iterator[RenderableType]:
                yield from above
                yield from super().get_renderables()

        console = Console(stderr=True)
        self._quiet = quiet
        self._above = above
        self._bars = BarsBelow(
            *_columns(rate),
            console=console,
            disable=quiet or not console.is_terminal,
            refresh_per_second=1 if calm else 10,
        )
        self._lock = threading.Lock()
        self._phases: dict[str, _Phase] = {}
        self._finished: deque[TaskID] = deque()

    def __enter__(self) -> ProgressBars:
        self._bars.start()
        self._bars.console.show_cursor(True)  # a process that is killed cannot bring it back
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def start(self, phase: str, total: int | None = None, parent: str | None = None) -> None:
        """Show a bar; one that is there already begins again."""
        with self._lock:
            depth = self._phases[parent].depth + 1 if parent in self._phases else 0
            if (known := self._phases.get(phase)) is not None:
                self._bars.remove_task(known.task)
            task = self._bars.add_task("  " * depth + phase, total=total)
            self._phases[phase] = _Phase(task, depth, total)

    def advance(self, phase: str, done: int) -> None:
        """Move a bar."""
        with self._lock:
            if (one := self._phases.get(phase)) is not None:
                one.done = done
                self._bars.update(one.task, completed=done)

    def finish(self, phase: str) -> None:
        """Fill a bar and stop its clock; remove it if it is within another phase."""
        with self._lock:
            if (one := self._phases.pop(phase, None)) is None:
                return
            if one.depth:
                self._bars.remove_task(one.task)
                return
            total = one.total or one.done or 1
            self._bars.update(one.task, total=total, completed=total)
            self._finished.append(one.task)
            if len(self._finished) > _FINISHED_BARS:
                self._bars.remove_task(self._finished.popleft())

    @property
    def shown(self) -> bool:
        """True if there is a terminal to show bars on."""
        return not self._bars.disable

    def show_above(self, table: Table) -> None:
        """Show a table above the bars, in place of the one before."""
        self._above[:] = [table]

    def message(self, text: str) -> None:
        """Print a line above the bars."""
        if not self._quiet:
            self._bars.console.print(text, markup=False, highlight=False, soft_wrap=True)


def _columns(rate: str) -> tuple[ProgressColumn, ...]:
    from rich.progress import BarColumn, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Count(ProgressColumn):
        def render(self, task: Task) -> Text:
            done = int(task.completed)
            total = f"/{int(task.total)}" if task.total is not None else ""
            return Text(f"{done}{total}" if done or total else "")

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{speed:.1f} {rate}" if speed and rate else "")

    class Time(TimeRemainingColumn):
        def render(self, task: Task) -> Text:
            if task.finished or task.total is None:
                seconds = int(task.finished_time or task.elapsed or 0)
                minutes, seconds = divmod(seconds, 60)
                hours, minutes = divmod(minutes, 60)
                return Text(f"{hours}:{minutes:02}:{seconds:02}", style="progress.elapsed")
            return Text("ETA ").append_text(super().render(task))

    name = TextColumn("{task.description}", markup=False)
    return name, BarColumn(), Count(), Rate(), Time()


@contextmanager
def phase(
    progress: Progress, name: str, total: int | None = None, parent: str | None = None
) -> Iterator[None]:
    """Show a phase for as long as the block runs."""
    progress.start(name, total, parent)
    yield
    progress.finish(name)


def watched(
    progress: Progress, name: str, items: Iterable[_T], total: int | None = None
) -> Iterator[_T]:
    """Give the items, with a phase that counts them."""
    with phase(progress, name, total):
        for done, item in enumerate(items, start=1):
            yield item
            progress.advance(name, done)


class OnFrame:
    """Counts finished frames in a phase; an ``on_frame`` of a pipeline."""

    def __init__(self, progress: Progress, phase: str) -> None:
        self._progress, self._phase, self._done = progress, phase, 0

    def __call__(self, frame: Frame, tracks: Tracks) -> None:
        """Count a frame."""
        self._done += 1
        self._progress.advance(self._phase, self._done)
