"""What the progress bars of all commands share."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import ProgressColumn

__all__ = ["Bar"]

_Self = TypeVar("_Self", bound="Bar")


class Bar:
    """Bars on stderr, shown while it is entered as a context manager.

    Nothing is shown with ``quiet``, or where stderr is not a terminal.

    Args:
        columns: of each bar.
        quiet: show nothing.
    """

    def __init__(self, *columns: ProgressColumn, quiet: bool) -> None:
        from rich.console import Console
        from rich.progress import Progress

        console = Console(stderr=True)
        self._bar = Progress(*columns, console=console, disable=quiet or not console.is_terminal)

    def __enter__(self: _Self) -> _Self:
        self._bar.start()
        self._bar.console.show_cursor(True)  # a process that is killed cannot bring it back
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()
