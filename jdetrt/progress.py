"""Progress of long work: the protocol, and progress that nobody watches."""

from __future__ import annotations

from typing import Protocol

__all__ = ["NO_PROGRESS", "Progress", "SilentProgress"]


class Progress(Protocol):
    """Receives the progress of long work; methods may be called from any thread.

    A phase is named by its text. A caller starts a phase, advances it, and finishes it; work that
    ends by an exception leaves its phase unfinished.
    """

    def start(self, phase: str, total: int | None = None, parent: str | None = None) -> None:
        """Begin a phase of ``total`` steps, or of an unknown number; within another, or not."""

    def advance(self, phase: str, done: int) -> None:
        """Report how many steps of a phase are done so far."""

    def finish(self, phase: str) -> None:
        """End a phase."""

    def message(self, text: str) -> None:
        """Tell the user something that does not belong to a phase."""


class SilentProgress:
    """Progress that nobody watches; a base for those that watch a part of it."""

    def start(self, phase: str, total: int | None = None, parent: str | None = None) -> None:
        """Ignore it."""

    def advance(self, phase: str, done: int) -> None:
        """Ignore it."""

    def finish(self, phase: str) -> None:
        """Ignore it."""

    def message(self, text: str) -> None:
        """Ignore it."""


NO_PROGRESS: Progress = SilentProgress()
