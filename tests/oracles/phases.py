"""Progress that a test can look at afterwards."""

from __future__ import annotations

__all__ = ["Phases"]


class Phases:
    """Keeps every phase and every step of it.

    Attributes:
        totals: of each phase, as it was started last.
        steps: phase, steps done and total of each advance.
        finished: phases that ended.
    """

    def __init__(self) -> None:
        self.totals: dict[str, int | None] = {}
        self.steps: list[tuple[str, int, int | None]] = []
        self.finished: list[str] = []

    def start(self, phase: str, total: int | None = None, parent: str | None = None) -> None:
        assert parent is None or parent in self.totals
        self.totals[phase] = total

    def advance(self, phase: str, done: int) -> None:
        self.steps.append((phase, done, self.totals[phase]))

    def finish(self, phase: str) -> None:
        assert phase in self.totals
        self.finished.append(phase)

    def message(self, text: str) -> None:
        raise AssertionError(f"no message was expected: {text}")
