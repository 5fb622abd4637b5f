"""State of a live source: how often it was away, for how long, and what changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Say", "SourceStatus", "silent"]

Say = Callable[[str], None]  # gets one line for the user; called from any thread


def silent(_: str) -> None:
    """Say nothing."""


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """State of a live source.

    Attributes:
        connected: whether frames come now.
        captured: frames that came, taken or not.
        outages: times it was away: it ended, failed or stalled.
        stalls: those of them in which it fell silent without an error.
        away_seconds: how long it was away in all, an outage that lasts included.
        size_changes: times its frames changed their size.
        reason: why it is away, or was away last; "" if it never was.
    """

    connected: bool
    captured: int = 0
    outages: int = 0
    stalls: int = 0
    away_seconds: float = 0.0
    size_changes: int = 0
    reason: str = ""
